// A sample in figures: location, spread, outliers, and a 95 % interval of the mean.
#ifndef WATTLAW_STATS_DESCRIBE_H
#define WATTLAW_STATS_DESCRIBE_H

#include <stddef.h>

#include "base/err.h"

// The MAD times this estimates the standard deviation of a normal sample: 1 / Phi^-1(3/4).
#define STATS_MAD_TO_SD 1.4826022185056018
// |x - median| above this many MAD-based standard deviations is an outlier.
#define STATS_OUTLIER_SDS 3.5

struct stats_interval {
    double low;
    double high;
};

struct stats_summary {
    size_t n;
    double mean;
    double median;
    double sd; // n-1 in the denominator; NaN for n < 2
    double min;
    double max;
    double quartile1;
    double quartile3;
    double mad;                      // median |x - median|, not scaled
    size_t n_outliers;               // counted, never removed; 0 when the MAD is 0
    struct stats_interval ci95_mean; // NaN for n < 3
};

// The interval: Student's t for every n >= 3. (A percentile bootstrap for n < 10, as is often
// advised, covers the truth in only 75-90 % of cases there; tests/unit/test_stats_describe.c shows
// both.) INPUT: n = 0 or a value that is not finite; MEMORY.
enum wl_status stats_describe(const double *values, size_t n, struct stats_summary *out,
                              struct wl_err *err);

// Type 7 (linear between order statistics, R's and NumPy's default) of an ascending array; NaN for
// n = 0.
double stats_quantile_sorted(const double *sorted, size_t n, double share);
// Sorts ascending, in place. NaN must not occur.
void stats_sort(double *values, size_t n);
double stats_mean(const double *values, size_t n);      // NaN for n = 0
double stats_sd(const double *values, size_t n);        // NaN for n < 2
double stats_median_in_place(double *values, size_t n); // sorts; NaN for n = 0
double stats_mad_in_place(double *values, size_t n);    // destroys the values; NaN for n = 0
// Mean after removing floor(share * n) values at each end of an ascending array: the study's
// symmetric trimming. 0 <= share < 0.5.
double stats_trimmed_mean_sorted(const double *sorted, size_t n, double share);

#endif
