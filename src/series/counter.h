// Counters that wrap and reset (energy_uj, CPU ticks): raw readings in, an ever growing total out,
// and the difference over a window with its error.
#ifndef WATTLAW_SERIES_COUNTER_H
#define WATTLAW_SERIES_COUNTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "series/series.h"

// Holes beyond this many are merged into the last one, which then covers the time between them too.
enum { SERIES_COUNTER_MAX_HOLES = 32 };

struct series_counter_spec {
    uint64_t range;           // what a wrap adds (RAPL: max_energy_range_uj); 0 = never wraps
    double max_rate_per_s;    // counter units per second no sane device exceeds; 0 = no such cap
    int64_t update_period_ns; // the device refreshes the counter this often; 0 = at every read
    double quantum;           // smallest step in counter units; 0 = 1
};

struct series_hole {
    int64_t t0_ns;
    int64_t t1_ns;
};

struct series_counter {
    struct series_counter_spec spec;
    bool has_reading;
    uint64_t last_raw;
    int64_t last_t_ns;
    uint64_t total; // counter units since the first reading
    uint32_t n_wraps;
    uint32_t n_resets;
    size_t n_holes;
    struct series_hole holes[SERIES_COUNTER_MAX_HOLES]; // ascending; discarded intervals
};

enum series_counter_event {
    SERIES_COUNTER_FIRST,
    SERIES_COUNTER_ADVANCED, // also when it stood still
    SERIES_COUNTER_WRAPPED,
    SERIES_COUNTER_RESET, // the interval was discarded: it adds nothing and is a hole
};

void series_counter_init(struct series_counter *counter, const struct series_counter_spec *spec);

// One wrap at most per step is assumed (see series_counter_max_poll_ns). A step, with or without a
// wrap, that would need more than max_rate_per_s * (dt + update period) + quantum is a reset, and
// so is any step down when range is 0 or exceeds the range.
// `out` (may be NULL) receives (t_ns, total) for series_push; `event` may be NULL.
// INPUT: time goes backwards, or raw > range > 0 (the reading is refused, nothing changes).
// LIMIT: the total would exceed 64 bits.
enum wl_status series_counter_feed(struct series_counter *counter, uint64_t raw, int64_t t_ns,
                                   struct series_point *out, enum series_counter_event *event,
                                   struct wl_err *err);

// The longest pause between two readings that still reads twice per wrap at max_rate:
// range / max_rate / 2. INT64_MAX when range or max_rate is 0.
int64_t series_counter_max_poll_ns(uint64_t range, double max_rate_per_s);

struct series_delta {
    double delta;           // counter units in the window, holes adding nothing
    double mean_rate_per_s; // over the covered part of the window
    double coverage;        // 0..1: share of the window outside holes
    size_t n_readings;      // readings with t0 <= t <= t1
    double sd;              // standard deviation of delta, see below
    double error_bound;     // see below
    bool is_interpolated;   // an edge lies between two readings
    bool has_hole;          // a reset lies in the window
};

// The total at `t_ns` between two readings: where the rate of their interval lies between those of
// the intervals before and after, the one moment at which the rate can have changed is solved for
// (a window that begins with the load is then exact); else a straight line.
// NOT_FOUND when t_ns lies outside the readings: a counter is never extrapolated.
enum wl_status series_counter_at(const struct series_point *totals, size_t n, int64_t t_ns,
                                 double *out, struct wl_err *err);

// Difference of the total over [t0_ns, t1_ns]; `totals` are the points that feed gave, `counter`
// the one that made them (for its holes, quantum and update period).
// Errors, r0 and r1 being the rate around the two edges, T the update period, q the quantum:
//   staleness  a reading is 0..T old, uniformly: sd T*sqrt(r0^2+r1^2)/sqrt(12), which is 0.41*T*r
//              for equal rates; bound T*max(r0, r1). On average T/2 old: a window that begins idle
//              and ends busy misses T/2*(difference of the rates before its edges), which joins
//              the sd (delta stays the plain difference)
//   rounding   sd q/sqrt(6), bound q
//   edge at a share f of a reading interval d in whose neighbourhood the rate changes by D: a
//              straight line errs by up to f*(1-f)*d*D for one change of rate; that is the bound,
//              and sd is that / sqrt(12)
// sd adds these in squares, error_bound linearly.
// INPUT: t1_ns <= t0_ns; NOT_FOUND: the readings do not reach around the window.
enum wl_status series_counter_window(const struct series_point *totals, size_t n,
                                     const struct series_counter *counter, int64_t t0_ns,
                                     int64_t t1_ns, struct series_delta *out, struct wl_err *err);

#endif
