// Intervals by resampling, from a stated seed.
#ifndef WATTLAW_STATS_BOOTSTRAP_H
#define WATTLAW_STATS_BOOTSTRAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "stats/describe.h"

enum { STATS_BOOTSTRAP_DRAWS = 2000 };

enum stats_bootstrap_method {
    STATS_BOOTSTRAP_PERCENTILE,
    STATS_BOOTSTRAP_EXPANDED, // percentile, its tails widened to Student's t for small n
                              // (Hesterberg 2015, arXiv 1411.5279, section 5.3)
    STATS_BOOTSTRAP_BCA,      // bias-corrected and accelerated (Efron 1987)
};

struct stats_estimate {
    double value;
    struct stats_interval ci95;
};

// `statistic` sees n row numbers (with repetition) and the caller's context, and returns its value;
// paired or multi-column data stay paired that way.
// INPUT: n < 3 or a statistic that is not finite on the whole sample; MEMORY. Draws on which the
// statistic is not finite are skipped; INPUT when more than half are.
enum wl_status stats_bootstrap(size_t n,
                               double (*statistic)(const size_t *rows, size_t n, void *context),
                               void *context, enum stats_bootstrap_method method, size_t n_draws,
                               uint64_t seed, struct stats_estimate *out, struct wl_err *err);

#endif
