// The inside of a sampler, for sampler.c (which fills it) and sampler_query.c (which answers from
// it).
#ifndef WATTLAW_SAMPLER_SAMPLER_STATE_H
#define WATTLAW_SAMPLER_SAMPLER_STATE_H

#include <pthread.h>

#include "sampler/sampler_source.h"

// In the order in which they are read. A new one gets its line here and in the table of sampler.c.
enum sampler_slot {
    SAMPLER_SLOT_PROCESS,
    SAMPLER_SLOT_MACHINE,
    SAMPLER_SLOT_PSS,
    SAMPLER_SLOT_FREQ,
    SAMPLER_SLOT_TEMP,
    SAMPLER_SLOT_THROTTLE,
    SAMPLER_N_SLOTS,
};

struct slot {
    void *state; // NULL: nothing to read
    int64_t next_ns;
    int64_t cost_ns;
    int64_t period_ns;
};

struct meter_slot {
    struct meter *meter;
    struct meter_total *total;
    int64_t next_ns;
};

struct sampler {
    struct sampler_env env;
    const struct os_clock *clock;
    bool has_real_clock;
    int64_t (*thread_cpu_ns)(void);
    int64_t period_ns;
    char *root;

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; // guards all below
    pthread_cond_t wake;  // CLOCK_MONOTONIC; is_stopping was set
    bool is_stopping, is_stopped;

    struct slot slot[SAMPLER_N_SLOTS];
    struct meter_slot meter[SAMPLER_MAX_METERS];
    size_t n_meters;
    void (*on_reading)(void *context, size_t index, const struct meter_reading *reading);
    void *on_reading_context;

    struct sampler_row *rows;
    size_t n_rows, capacity, max_rows;
    uint64_t last_seq;

    int64_t t_start_ns, t_stop_ns, t_next_ns;
    int64_t thread_total_ns; // CPU clock of the thread after its last row
    int64_t other_total_ns;  // rows taken on callers' threads
    uint64_t n_missed, n_dropped, n_failed_reads;
    int64_t max_late_ns;
};

// A row on a thread that is not the sampler's own; the lock is held.
enum wl_status sampler_take_row(struct sampler *s, uint32_t flags, bool is_full,
                                struct sampler_row *out, struct wl_err *err);

#endif
