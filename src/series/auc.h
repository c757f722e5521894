// Area under a gauge signal above a baseline, over an exact window: the study's AUC, and joules
// when the signal is watts. Trapezoid rule on the real time stamps; the window's edges are
// interpolated.
#ifndef WATTLAW_SERIES_AUC_H
#define WATTLAW_SERIES_AUC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "series/series.h"

struct series_area {
    double area_value_s; // integral of (value - baseline), in the signal's unit times seconds
    double mean;         // mean over time of the value itself (the baseline is not subtracted)
    double peak;         // largest value in the window, interpolated edges included
    size_t n_samples;    // samples with t0 <= t <= t1
    double coverage;    // 0..1: share of the window that lies in no gap and not outside the samples
    size_t n_gaps;      // sample intervals > 3 nominal periods that touch the window, plus each end
                        // of the window that no sample reaches
    int64_t max_gap_ns; // longest of those (the whole interval, not only its part in the window)
    double error_bound; // see below, same unit as area_value_s
    double error_sd;    // see below
    bool has_gap;       // n_gaps > 0: the area is partly a guess
};

// The samples are not clamped to the baseline one by one: noise around it must cancel.
//
// Window edges: a straight line between the two samples around the edge. Where the window begins
// before the first sample (or ends after the last) that sample's value is held for at most
// 1.5 nominal periods; what lies farther out adds nothing to the area and lowers the coverage.
// Intervals longer than 3 nominal periods are integrated by a straight line too, but counted as
// gaps and not as covered.
//
// Error of the trapezoid: in a sample interval of length d with values u and v the signal is taken
// as monotone (a step at an unknown time is the worst case), so the whole interval errs by at most
// d/2*|v-u|, and a part f of it that a window edge cuts off by at most f*(1-f/2)*d*|v-u|.
// error_bound is the sum of these plus h*|value-baseline| for h seconds of holding: never exceeded
// by a signal that is monotone between its samples. error_sd is the same with each step's time
// uniform and independent: sqrt of the sum of squares, each term divided by sqrt(3)
// (a step in a whole interval: d*|v-u|/sqrt(12)).
//
// INPUT: t1_ns <= t0_ns, nominal_period_ns <= 0, baseline not finite, points not in order.
// NOT_FOUND: no sample in the window or near enough to hold. *out is zeroed on failure.
enum wl_status series_auc(const struct series_point *points, size_t n, int64_t t0_ns, int64_t t1_ns,
                          double baseline, int64_t nominal_period_ns, struct series_area *out,
                          struct wl_err *err);

#endif
