// From a fine series to a coarse one, so that the study's 5 Hz can be had from finer samples.
#ifndef WATTLAW_SERIES_RESAMPLE_H
#define WATTLAW_SERIES_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "series/series.h"

// Gauge: the mean of the samples in each bin [t0 + k*period, t0 + (k+1)*period), t0 being the first
// sample's time. Bins without a sample give no point (a gap stays a gap). Points are stamped with
// the end of their bin, as a sampler that reports the past interval would. The last bin, which no
// later sample closes, gives none. `out` must be initialised; points are appended. INPUT: period_ns
// <= 0; LIMIT and MEMORY from the push.
enum wl_status series_resample_gauge(const struct series_point *points, size_t n, int64_t period_ns,
                                     struct series *out, struct wl_err *err);

// Counter totals: the rate per second over each bin, the total at the bin's ends being
// interpolated; `scale` is multiplied in (100 / cores gives CPU % from core-seconds). Stamped with
// the bin's end. A reading interval longer than 3 periods gives no points.
enum wl_status series_resample_counter(const struct series_point *totals, size_t n,
                                       int64_t period_ns, double scale, struct series *out,
                                       struct wl_err *err);

#endif
