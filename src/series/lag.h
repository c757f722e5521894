// How late and how smoothed a meter shows power: its readings against a signal of known time (the
// machine's utilisation during a train of busy pulses).
#ifndef WATTLAW_SERIES_LAG_H
#define WATTLAW_SERIES_LAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "series/series.h"

struct series_lag {
    int64_t lag_ns; // the meter's dead time: it shows the power of this long ago; may be negative
    int64_t lag_sd_ns;    // 1 sigma
    int64_t smoothing_ns; // time constant of first-order smoothing; 0 = none
    double correlation;   // of the meter with the delayed, smoothed signal
    bool is_found;        // correlated, not at the edge of the search, with steps to tell it by
};

// `signal` is utilisation (any unit), `power` the meter's readings, one point per refresh. Points
// are stamped with the middle of what they average. Model: power = a + b * smooth(signal, tau)(t -
// lag); lag in -1..+6 s and tau in 0..4 s maximise the correlation (least squares over a and b),
// first on a grid, then by pattern search. lag_sd: curvature of the sum of squares with the
// residuals' autocorrelation, and the periods of both, uniform.
// INPUT: fewer than 10 points in either, or not in order; MEMORY. A search that ends without a
// clear lag is success with is_found = false.
enum wl_status series_find_lag(const struct series_point *signal, size_t n_signal,
                               const struct series_point *power, size_t n_power,
                               struct series_lag *out, struct wl_err *err);

#endif
