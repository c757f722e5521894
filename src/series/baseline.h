// The idle baseline: what a machine takes while it does nothing, how sure that is, and whether it
// moved between the stretch before a run and the one after it.
#ifndef WATTLAW_SERIES_BASELINE_H
#define WATTLAW_SERIES_BASELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "series/series.h"

// A drift over the stretch, or a difference between before and after, above these shares of the
// level is reported.
#define SERIES_BASELINE_MAX_DRIFT 0.02
#define SERIES_BASELINE_MAX_DIFFERENCE 0.03

struct series_baseline {
    size_t n;
    int64_t t0_ns; // first and last sample
    int64_t t1_ns;
    double level; // the baseline: the median
    double mean;
    double sd;
    double autocorrelation; // lag 1, corrected for small samples, kept within 0..0.95
    double n_effective;     // n*(1-r)/(1+r), at least 1
    double sd_of_mean;      // sd / sqrt(n_effective)
    double sd_of_level;     // of the median: 1.2533 * sd_of_mean (normal noise)
    double slope_per_s;     // Theil-Sen: median of all pairwise slopes
    double drift;           // slope times the stretch's length, in the signal's unit
    bool is_drifting;       // |drift| > 2 % of |level|, and twice what noise alone would show
};

// At least 5 points. For the slope, more than 512 points are first averaged in 512 equal bins.
// INPUT: too few points, or all at one time; MEMORY.
enum wl_status series_baseline_find(const struct series_point *points, size_t n,
                                    struct series_baseline *out, struct wl_err *err);

// Share 0..1 of the points above `threshold`: the busy check on an idle stretch's CPU %.
// 0 for no points.
double series_share_above(const struct series_point *points, size_t n, double threshold);

struct series_baseline_level {
    double value;
    double sd;
    bool has_moved; // before and after differ by more than 3 %: interpolated, wider sd
};

// The baseline at time t from the stretch before a run and the one after (`after` may be NULL).
// Where the two agree within 3 %, `value` is their mean weighted by n_effective; where not, it lies
// on the line between their middles (held outside). When and how the level moved between them is
// unknown: the sd also carries difference/sqrt(12). A single drifting stretch carries
// drift/sqrt(12) too.
void series_baseline_at(const struct series_baseline *before, const struct series_baseline *after,
                        int64_t t_ns, struct series_baseline_level *out);

#endif
