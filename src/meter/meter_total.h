// From raw readings to joules: every counted channel is unwrapped (counters) or integrated
// (gauges), and the energy of any window can be asked with its error. Not thread-safe.
#ifndef WATTLAW_METER_METER_TOTAL_H
#define WATTLAW_METER_METER_TOTAL_H

#include "meter/meter.h"

struct meter_total;

struct meter_total_options {
    // How often readings come. A pause of more than 3 of these is a gap. 0: 100 ms.
    int64_t period_ns;
    size_t max_points; // kept per channel; the oldest half is dropped when full. 0: 20000
};

enum wl_status meter_total_new(const struct meter_info *info,
                               const struct meter_total_options *options, struct meter_total **out,
                               struct wl_err *err);
void meter_total_free(struct meter_total *total); // NULL is fine

struct meter_total_sample {
    int64_t t_ns;          // midpoint of the read, minus the source's lag (and a gauge's mean age)
    int64_t half_width_ns; // the read took place within t_ns +- this
    double total_j;        // since the first reading
    double power_w;        // since the previous reading (counter) or now (gauge); NaN when unknown
    uint32_t flags;        // RECORD_GAP, RECORD_WRAP, RECORD_RESET that happened in this step
    bool is_valid;         // every counted channel was read
};

// Readings must come in the order of time. `out` may be NULL. INPUT when they do not. An empty
// reading changes nothing; its sample is not valid.
enum wl_status meter_total_feed(struct meter_total *total, const struct meter_reading *reading,
                                struct meter_total_sample *out, struct wl_err *err);

struct meter_energy {
    double gross_j;
    double sd_j;          // 1 sigma, random: quantum, staleness, edges, noise, time stamps, lag
    double error_bound_j; // never exceeded by the quantum, staleness and edge part
    double mean_w;        // over the covered part
    double coverage;      // 0..1: share of the window that was observed
    size_t n_readings;
    uint32_t flags; // RECORD_GAP, RECORD_WRAP, RECORD_RESET, RECORD_SHORT
    // Systematic, copied from the source; gain_sd_j = gain x gross.
    double gain_error_rel;
    double offset_error_w;
};

// Energy in [t0_ns, t1_ns]. Edges between two readings are interpolated, and their uncertainty is
// in sd_j: take a reading at the edge itself where possible (sampler_mark). A gauge's smoothing is
// undone and what its edges lose on average is put back (meter_total_gauge.c); windows that follow
// each other still add up exactly to the window around them. RECORD_SHORT: the window is shorter
// than meter_min_window_ns.
// NOT_FOUND: the readings do not reach around the window (yet, for a source with a lag).
// INPUT: t1_ns <= t0_ns.
enum wl_status meter_total_window(const struct meter_total *total, int64_t t0_ns, int64_t t1_ns,
                                  struct meter_energy *out, struct wl_err *err);

struct meter_net {
    double net_j; // may be negative within its error: nothing was above idle
    double sd_j;  // 1 sigma, random: the window's and the idle level's
};

// Net = gross - idle power x time, `idle_w` being what the same source showed while idle, and
// idle_sd_w its random 1 sigma. The source's offset cancels; its gain is a share of net_j. An idle
// level that a gauge shows without noise is no better known than a step of the gauge allows.
void meter_energy_net(const struct meter_info *info, const struct meter_energy *gross,
                      double window_s, double idle_w, double idle_sd_w, struct meter_net *out);

// The times between which windows can be asked; INT64_MAX and INT64_MIN before the first reading.
int64_t meter_total_known_from_ns(const struct meter_total *total);
int64_t meter_total_known_until_ns(const struct meter_total *total);

#endif
