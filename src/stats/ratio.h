// How much one quantity is of another, with an interval: the ratio of two interleaved
// configurations, and Fieller's interval for any two estimates.
#ifndef WATTLAW_STATS_RATIO_H
#define WATTLAW_STATS_RATIO_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "stats/describe.h"

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

struct stats_moment_pair {
    double base; // two estimates and their (co)variances
    double changed;
    double var_base;
    double var_changed;
    double covariance;
};

// Fieller (1954): all ratios R for which changed - R*base is not significantly different from 0 by
// a t test with dof degrees of freedom. NaN when base itself is not different from 0.
struct stats_interval stats_fieller(const struct stats_moment_pair *pair, double dof);

#endif
