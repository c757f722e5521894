// A time series: (time, value) points in the order of time, growable up to a mandatory maximum.
// Times are CLOCK_MONOTONIC nanoseconds that the caller read; nothing here asks a clock.
#ifndef WATTLAW_SERIES_SERIES_H
#define WATTLAW_SERIES_SERIES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct series_point {
    int64_t t_ns;
    double value;
};

struct series {
    struct series_point *points; // borrowed view: valid until the next push, clear or release
    size_t n;
    size_t capacity;
    size_t max_points;
};

void series_init(struct series *series, size_t max_points);
void series_release(struct series *series); // frees the points; the struct may be used again
void series_clear(struct series *series);   // empties, keeps the memory
// INPUT: time goes backwards (equal times are accepted) or the value is not finite; LIMIT: the
// series has max_points already; MEMORY. After a failure the series is as it was.
enum wl_status series_push(struct series *series, int64_t t_ns, double value, struct wl_err *err);

// Index of the first point with t_ns >= t (n when there is none). Points ascend in time.
size_t series_first_at_or_after(const struct series_point *points, size_t n, int64_t t_ns);
// The points with t0_ns <= t <= t1_ns as a borrowed view; returns their number.
size_t series_slice(const struct series_point *points, size_t n, int64_t t0_ns, int64_t t1_ns,
                    const struct series_point **out);
// The median interval between neighbouring points, 0 for fewer than two points or without memory.
// It is the nominal period of a series whose period nobody stated.
int64_t series_median_period_ns(const struct series_point *points, size_t n);
// b - a in seconds; correct for any two times (no overflow).
double series_seconds(int64_t a_ns, int64_t b_ns);

#endif
