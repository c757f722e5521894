// Idle baselines: what the machine took while it did nothing, before, between and after the runs.
#ifndef WATTLAW_STORE_STORE_IDLE_H
#define WATTLAW_STORE_STORE_IDLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "record/record.h"
#include "store/store.h"
#include "store/store_sample.h"

struct store_idle_power {
    char source[RECORD_NAME_BYTES];
    double mean_w;
    double sd_w;
};

struct store_idle {
    int64_t id;
    int64_t study_id;
    int64_t wall_ns; // CLOCK_REALTIME at t0
    int64_t t0_ns;   // CLOCK_MONOTONIC
    int64_t t1_ns;
    double cpu_pct_mean;
    double cpu_pct_sd;
    uint32_t flags; // enum record_flag
    struct store_idle_power power[RECORD_MAX_ENERGIES];
    uint32_t n_powers;
    char
        *doc_json; // anything else worth keeping; NULL counts as "{}"; owned when a store filled it
};

void store_idle_free_list(struct store_idle *idles, size_t n);
// Sets idle->id. One transaction, durable.
enum wl_status store_idle_add(struct store *store, struct store_idle *idle,
                              const struct store_sample *samples, size_t n_samples,
                              struct wl_err *err);
// In the order of time.
enum wl_status store_idle_list(struct store *store, int64_t study_id, struct store_idle **out,
                               size_t *n, struct wl_err *err);

#endif
