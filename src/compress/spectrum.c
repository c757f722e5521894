#include "compress/spectrum.h"

#include <math.h>
#include <stdlib.h>

void spectrum_release(struct spectrum *spectrum) {
    free(spectrum->values);
    *spectrum = (struct spectrum){0};
}

static size_t n_unknown(const struct spectrum *s) {
    return s->n_all > s->n ? s->n_all - s->n : 0;
}

// What the unknown values sum up to.
static double unknown(const struct spectrum *s) {
    if (n_unknown(s) == 0) {
        return 0;
    }
    double sum = 0;
    for (size_t i = s->n; i-- > 0;) {
        sum += s->values[i];
    }
    return fmax(s->total - sum, 0);
}

static double surprise(double p) {
    return p > 0 ? -p * log(p) : 0;
}

double spectrum_entropy(const struct spectrum *spectrum) {
    if (!(spectrum->total > 0)) {
        return 0;
    }
    double sum = 0;
    for (size_t i = spectrum->n; i-- > 0;) {
        sum += surprise(spectrum->values[i] / spectrum->total);
    }
    double n = (double)n_unknown(spectrum);
    return n > 0 ? sum + n * surprise(unknown(spectrum) / spectrum->total / n) : sum;
}

double spectrum_tail(const struct spectrum *spectrum, size_t rank) {
    size_t n = spectrum->n, rest = n_unknown(spectrum);
    if (!(spectrum->total > 0) || rank >= n + rest) {
        return 0;
    }
    double lost = unknown(spectrum);
    if (rank > n) {
        lost *= (double)(n + rest - rank) / (double)rest;
    }
    for (size_t i = n; i-- > rank;) {
        lost += spectrum->values[i];
    }
    return fmin(lost / spectrum->total, 1);
}

size_t spectrum_rank(const struct spectrum *spectrum, double share) {
    size_t n = spectrum->n, rest = n_unknown(spectrum);
    if (!(spectrum->total > 0)) {
        return 0;
    }
    double lost = unknown(spectrum), total = spectrum->total;
    if (!(lost / total <= share)) {
        double dropped = floor(fmax(share, 0) * total / lost * (double)rest);
        return n + rest - (size_t)fmin(dropped, (double)rest);
    }
    size_t rank = n;
    while (rank > 0 && fmin((lost + spectrum->values[rank - 1]) / total, 1) <= share) {
        lost += spectrum->values[--rank];
    }
    return rank;
}
