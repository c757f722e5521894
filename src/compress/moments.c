#include "compress/moments.h"

#include <math.h>
#include <stdlib.h>

static const double LEAST_SHARE = 1e-4; // of the mean

enum wl_status moments_init(struct moments *moments, size_t width, struct wl_err *err) {
    *moments = (struct moments){.width = width, .sums = calloc(width, sizeof *moments->sums)};
    return moments->sums ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for %zu moments", width);
}

void moments_release(struct moments *moments) {
    free(moments->sums);
    *moments = (struct moments){0};
}

void moments_add(struct moments *moments, const float *x, size_t n_rows) {
    for (size_t row = 0; row < n_rows; row++) {
        const float *from = x + row * moments->width;
        for (size_t i = 0; i < moments->width; i++) {
            moments->sums[i] += (double)from[i] * (double)from[i];
        }
    }
    moments->n_rows += n_rows;
}

void moments_add_normed(struct moments *moments, const float *x, size_t n_rows, float eps,
                        const float *factor) {
    size_t width = moments->width;
    for (size_t row = 0; row < n_rows; row++) {
        const float *from = x + row * width;
        double squares = 0;
        for (size_t i = 0; i < width; i++) {
            squares += (double)from[i] * (double)from[i];
        }
        double scale = 1 / (squares / (double)width + (double)eps);
        for (size_t i = 0; i < width; i++) {
            double value = (double)from[i] * (double)factor[i];
            moments->sums[i] += scale * value * value;
        }
    }
    moments->n_rows += n_rows;
}

void moments_mean(const struct moments *moments, float *out) {
    double sum = 0, n = moments->n_rows ? (double)moments->n_rows : 1;
    for (size_t i = 0; i < moments->width; i++) {
        sum += moments->sums[i] / n;
    }
    double mean = sum / (double)moments->width;
    for (size_t i = 0; i < moments->width; i++) {
        out[i] =
            mean > 0 && isfinite(mean) ? (float)fmax(moments->sums[i] / n, LEAST_SHARE * mean) : 1;
    }
}
