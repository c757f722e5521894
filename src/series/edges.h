// Paper mode: the windows in which a foreign process was busy, found afterwards from the gradient
// of the machine's CPU % at 5 Hz, as the study did. Exact windows need none of this.
#ifndef WATTLAW_SERIES_EDGES_H
#define WATTLAW_SERIES_EDGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "series/series.h"

struct series_window {
    int64_t t0_ns; // best estimate of start and end: where the signal crosses half of the window's
    int64_t t1_ns; // own height above the baseline, interpolated
    int64_t foot0_ns; // where the rise begins and the fall ends: integrate the area between these,
    int64_t foot1_ns; // so that a sample that is half idle, half busy is not cut
    double height;    // the window's median above the baseline
};

struct series_edges_options {
    size_t median_width;   // moving median, 1, 3 or 5
    double threshold_mads; // a gradient above this many MADs of the idle gradient is an edge
    double release_share;  // hysteresis: a window ends below baseline + this share of its height
    int64_t merge_gap_ns;  // windows closer than this are one
    int64_t min_window_ns; // shorter windows are dropped
    int64_t lag_ns;        // subtracted from t0 and t1 (not from the feet, which are for use with
                           // the same samples): half a period when each sample is the mean of the
                           // interval that ends at its time stamp
    double min_height;     // windows lower than this above the baseline are dropped
};

// 3, 6, 0.25, 1 s, 2 s, 0, 2 (percent).
void series_edges_options_init(struct series_edges_options *options);

struct series_edges {
    double baseline;  // mean of the samples outside all windows, 10 % trimmed at each end
    double idle_mad;  // their median absolute deviation
    double threshold; // gradient per sample that made an edge
    bool used_levels; // the gradient could not be used: windows come from level crossings
    size_t n_windows;
    size_t n_dropped;  // too short or too low
    size_t n_open;     // of n_windows: begin before the first or end after the last sample
    bool is_truncated; // more windows than max_windows
};

// How: moving median; baseline and noise from the lowest stable stretch of 2 s, then twice more
// from all samples outside the windows found so far. A central difference above the threshold in
// two neighbouring samples begins a window once the level is up too; it ends where the level has
// fallen to the release level (hysteresis). When the idle noise is practically zero (quantised
// signals) or so large that no gradient stands out, level crossings alone decide. `windows` takes
// up to max_windows, ascending. Finding none is success. INPUT: fewer than 8 points, a median width
// other than 1, 3, 5; MEMORY.
enum wl_status series_edges_find(const struct series_point *points, size_t n,
                                 const struct series_edges_options *options,
                                 struct series_window *windows, size_t max_windows,
                                 struct series_edges *out, struct wl_err *err);

#endif
