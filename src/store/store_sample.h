// Raw samples: what the sampler and the primary energy source read during one record or one idle
// stretch. They are written together with their owner, in its transaction, and read back here.
#ifndef WATTLAW_STORE_STORE_SAMPLE_H
#define WATTLAW_STORE_STORE_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

#define STORE_ABSENT INT64_MIN // an integer that was not read; doubles use NaN

struct store_sample {
    int64_t t_ns;   // CLOCK_MONOTONIC
    int64_t cpu_ns; // CPU time of the engine so far
    int64_t pss_kib;
    int64_t rss_kib;
    int64_t machine_busy_ticks; // all cores, since boot
    int64_t machine_total_ticks;
    int64_t steal_ticks;
    double freq_mhz;
    double temp_c;
    double joules; // unwrapped total of the primary source; any zero point
};

// All fields absent, t_ns 0.
void store_sample_init(struct store_sample *sample);

// In the order of time; free(*out). None is success with *n = 0 and *out = NULL.
enum wl_status store_sample_list_record(struct store *store, int64_t record_id,
                                        struct store_sample **out, size_t *n, struct wl_err *err);
enum wl_status store_sample_list_idle(struct store *store, int64_t idle_id,
                                      struct store_sample **out, size_t *n, struct wl_err *err);

#endif
