#include "support/contrast.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "support/stage.h"

enum { BLOCK = 20, N_DRAWS = 1000, SEED = 20261122 };

struct drawn {
    const double *first, *second;
    size_t n;
    double share;
    enum contrast_what what;
    double *a, *b; // room for the rows that were drawn
};

// ---- one value from the blocks that were drawn ----

static size_t fill(const struct drawn *d, const size_t *blocks, size_t n_blocks) {
    size_t n = 0;
    for (size_t i = 0; i < n_blocks; i++) {
        for (size_t row = blocks[i] * BLOCK; row < (blocks[i] + 1) * BLOCK && row < d->n; row++) {
            d->a[n] = d->what == CONTRAST_PAIRED ? d->second[row] - d->first[row] : d->first[row];
            d->b[n++] = d->second[row];
        }
    }
    return n;
}

static double quantile(double *values, size_t n, double share) {
    stats_sort(values, n);
    return stats_quantile_sorted(values, n, share);
}

static double statistic(const size_t *blocks, size_t n_blocks, void *context) {
    const struct drawn *d = context;
    size_t n = fill(d, blocks, n_blocks);
    switch (d->what) {
    case CONTRAST_FIRST:
    case CONTRAST_PAIRED: return quantile(d->a, n, d->share);
    case CONTRAST_SECOND: return quantile(d->b, n, d->share);
    case CONTRAST_SHIFT: return quantile(d->b, n, d->share) - quantile(d->a, n, d->share);
    default: return quantile(d->b, n, d->share) / quantile(d->a, n, d->share);
    }
}

void contrast_make(const double *first, const double *second, size_t n, double share,
                   struct contrast *out) {
    size_t n_blocks = (n + BLOCK - 1) / BLOCK, room = n_blocks * BLOCK;
    struct drawn d = {.first = first, .second = second, .n = n, .share = share};
    struct wl_err err = {0};
    d.a = calloc(room, sizeof *d.a);
    d.b = calloc(room, sizeof *d.b);
    *out = (struct contrast){.n = n, .share = share};
    for (int what = 0; d.a && d.b && what < CONTRAST_N; what++) {
        d.what = (enum contrast_what)what;
        if (stats_bootstrap(n_blocks, statistic, &d, STATS_BOOTSTRAP_PERCENTILE, N_DRAWS, SEED,
                            &out->of[what], &err) != WL_OK) {
            stage_fail("too few turns for an interval: %s", err.message);
        }
    }
    free(d.a);
    free(d.b);
}

// ---- few values ----

static double median_of_rows(const size_t *rows, size_t n, void *context) {
    const double *values = context;
    double picked[256];
    n = n < 256 ? n : 256;
    for (size_t i = 0; i < n; i++) {
        picked[i] = values[rows[i]];
    }
    return stats_median_in_place(picked, n);
}

struct stats_estimate contrast_median(const double *values, size_t n) {
    struct stats_estimate out = {(double)NAN, {(double)NAN, (double)NAN}};
    double copy[256];
    n = n < 256 ? n : 256;
    for (size_t i = 0; i < n; i++) {
        copy[i] = values[i];
    }
    if (stats_bootstrap(n, median_of_rows, copy, STATS_BOOTSTRAP_EXPANDED, STATS_BOOTSTRAP_DRAWS,
                        SEED, &out, NULL) != WL_OK) {
        out.value = stats_median_in_place(copy, n);
    }
    return out;
}

// ---- JSON ----

json_t *contrast_estimate_json(const struct stats_estimate *e) {
    return json_pack("{s:o, s:[o,o]}", "value", wl_json_real(e->value), "ci95",
                     wl_json_real(e->ci95.low), wl_json_real(e->ci95.high));
}

json_t *contrast_json(const struct contrast *contrast) {
    static const char *const NAMES[CONTRAST_N] = {"first", "second", "shift", "paired", "ratio"};
    json_t *out = json_pack("{s:I, s:f}", "n", (json_int_t)contrast->n, "share", contrast->share);
    for (int what = 0; what < CONTRAST_N; what++) {
        json_object_set_new(out, NAMES[what], contrast_estimate_json(&contrast->of[what]));
    }
    return out;
}
