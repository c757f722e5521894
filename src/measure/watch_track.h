// The samples of one watching, in bounded memory: rows of the sampler and of the process tree on
// one thread, sums that stay right when old rows are dropped.
#ifndef WATTLAW_MEASURE_WATCH_TRACK_H
#define WATTLAW_MEASURE_WATCH_TRACK_H

#include "measure/watch.h"
#include "meter/replay_writer.h"
#include "sampler/process_tree.h"
#include "series/series.h"

struct watch_point {
    int64_t t_ns;
    int64_t tree_cpu_ns;
    double machine_busy_s;
    double ram_mib; // latest reading; NaN before the first
};

// Energy of a growing span, summed in pieces: the sampler forgets old readings.
struct watch_sum {
    int64_t from_ns, until_ns; // until: what is in the sums
    double gross_j, variance_j2, covered_s;
    uint32_t flags;
    double last_j, start_j; // of the sampler's running total, for the live figures
    int64_t last_ns;
    double mark_j, power_w;
    int64_t mark_ns;
};

// Area and peak of a memory figure.
struct watch_ram {
    bool has_reading;
    bool is_over; // no process is left
    int64_t t_ns;
    double mib, auc_mib_s, peak_mib;
};

struct watch_track {
    struct meter_set *meters; // borrowed
    struct sampler *sampler;
    struct process_tree *tree; // NULL in the idle stage
    const struct os_clock *clock;
    int64_t period_ns, t0_ns;
    uint64_t last_seq;
    struct watch_point *point;
    size_t n_points, capacity, max_points;
    struct watch_sum sum[RECORD_MAX_ENERGIES];
    struct watch_ram pss, rss;
    struct replay_writer *trace; // borrowed
    bool has_refused_pss, is_ended;
    int64_t next_pss_ns;
    struct sampler_row first, last; // of the watched time, with machine figures
    struct process_tree_sample now;
    uint32_t n_most;
    double freq_sum, temp_max;
    uint64_t n_freq;
    uint32_t row_flags;
    struct watch_point live_point; // where the live figures were taken last
    double live_tree_pct, live_machine_pct;
};

struct watch_track_options {
    const char *root;
    struct meter_set *meters; // borrowed
    int64_t period_ns;
    size_t max_rows;
    const struct os_clock *clock;   // NULL: OS_CLOCK_REAL
    int64_t (*thread_cpu_ns)(void); // NULL: real
    struct replay_writer *trace;    // gets what the primary source reads; NULL: none
};

enum wl_status watch_track_open(struct watch_track *track,
                                const struct watch_track_options *options, struct wl_err *err);
void watch_track_close(struct watch_track *track); // a zeroed one is fine

// The start, at t0_ns, right after a full sample: from now on the tree (handed over) is watched.
void watch_track_begin(struct watch_track *track, struct process_tree *tree, int64_t t0_ns);
// One sample; a full one reads everything (at the edges).
enum wl_status watch_track_tick(struct watch_track *track, bool is_full, struct wl_err *err);

// Further samples serve the energy sources only.
void watch_track_end(struct watch_track *track);
// The end of the watched time is t1_ns; sums up what is left. Readings of slow sources may come
// later: sample on for watch_track_slack_ns before this. out->idle is there already.
void watch_track_finish(struct watch_track *track, int64_t t1_ns, struct watch_result *out);
// The longest time after an event until every source shows it, at most 5 s.
int64_t watch_track_slack_ns(const struct watch_track *track);
void watch_track_live(const struct watch_track *track, struct watch_sample *out);

// Index of the first point at or after t_ns.
size_t watch_track_point_at(const struct watch_track *track, int64_t t_ns);
void watch_energy_name(const struct meter_info *info, struct watch_energy *out); // all unknown
// Gross energy and net of the idle power, with all errors.
void watch_energy_fill(const struct meter_info *info, const struct meter_energy *energy,
                       double seconds, double idle_w, double idle_sd_w, struct watch_energy *out);

#endif
