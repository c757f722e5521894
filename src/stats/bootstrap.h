// Intervals by resampling, from a stated seed, and the ratio of two interleaved configurations.
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

struct stats_ratio {
    size_t n;
    double mean_ratio; // mean(changed) / mean(base)
    struct stats_interval mean_ci95;
    double median_ratio; // median over pairs of changed/base: shrugs off outliers
    struct stats_interval median_ci95;
    double p_equal;    // two-sided, of "the means are equal", from the paired differences
    size_t n_outliers; // pairs whose log ratio is an outlier by the MAD rule; counted, kept
};

// base[i] and changed[i] were measured next to each other (A/B/A/B), so drift cancels in the pair.
// mean_ci95 is Fieller's interval for paired samples with Student's t; median_ci95 the expanded
// bootstrap of the median log ratio (2000 draws from `seed`). All values must be > 0.
// INPUT: n < 3, or a value that is not finite and positive; MEMORY.
enum wl_status stats_paired_ratio(const double *base, const double *changed, size_t n,
                                  uint64_t seed, struct stats_ratio *out, struct wl_err *err);

#endif
