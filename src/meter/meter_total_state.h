// What meter_total.c gathers and meter_total_{window,counter,gauge}.c read. For those files only.
#ifndef WATTLAW_METER_METER_TOTAL_STATE_H
#define WATTLAW_METER_METER_TOTAL_STATE_H

#include "meter/meter_total.h"
#include "series/counter.h"
#include "series/series.h"

enum { METER_TOTAL_MAX_EVENTS = 64 };

// What happened in a step between two readings and matters for windows that touch it.
struct meter_event {
    int64_t t0_ns, t1_ns;
    uint32_t flags;
    bool is_unknown; // the counter may have wrapped unseen: its step means nothing
};

struct meter_total_channel {
    size_t index;                  // in meter_info
    struct series_counter counter; // counters only
    struct series points;          // counter units since the first reading, or watts
    double total_j;
};

struct meter_total {
    struct meter_info info;
    int64_t period_ns;
    size_t n;
    struct meter_total_channel channel[METER_MAX_CHANNELS]; // the counted ones
    struct meter_event event[METER_TOTAL_MAX_EVENTS];       // ring
    size_t n_events;                                        // ever
    bool has_reading;
    int64_t first_t_ns, last_t_ns;
    size_t n_readings;
    double sum_width_s2; // squares of the half-widths of all reads
};

// The rate of a counter before an edge is taken over at least this many refreshes of the device:
// over one it would be the counter's jitter and not the power.
enum { METER_RATE_REFRESHES = 4 };

// Energy of one channel in a window. What several channels share (time stamps, lag) is added later.
struct meter_part {
    double gross_j;
    double variance; // J^2, random
    double bound_j;
    double coverage;
    size_t n_readings;
};

enum wl_status meter_total_counter_part(const struct meter_total *total,
                                        const struct meter_total_channel *channel, int64_t t0_ns,
                                        int64_t t1_ns, struct meter_part *out, struct wl_err *err);
enum wl_status meter_total_gauge_part(const struct meter_total *total,
                                      const struct meter_total_channel *channel, int64_t t0_ns,
                                      int64_t t1_ns, struct meter_part *out, struct wl_err *err);

// Power just before and just after a time, as far as the device can tell: beyond what it smears.
struct meter_levels {
    double before_w, after_w;
};
void meter_total_counter_levels(const struct meter_total *total,
                                const struct meter_total_channel *channel, int64_t t_ns,
                                struct meter_levels *out);
void meter_total_gauge_levels(const struct meter_total *total,
                              const struct meter_total_channel *channel, int64_t t_ns,
                              struct meter_levels *out);

// Half-width of a typical read, s (root mean square).
double meter_total_stamp_s(const struct meter_total *total);

#endif
