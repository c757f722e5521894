// The idle baseline: CPU and power of the machine with the model loaded and nothing asked, before
// and after the runs. Net figures are above it; drift or a busy machine is flagged.
#ifndef WATTLAW_MEASURE_IDLE_H
#define WATTLAW_MEASURE_IDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "measure/subject.h"
#include "series/baseline.h"

// Samples above this much machine CPU % are not idle; more than a tenth of them is a busy machine.
#define IDLE_MAX_CPU_PCT 5.0

struct idle_power {
    char source[RECORD_NAME_BYTES];
    struct series_baseline watts;
    bool is_valid; // enough readings to speak of
};

struct idle {
    int64_t wall_ns;
    int64_t t0_ns, t1_ns;
    struct series_baseline cpu_pct; // of the machine, all cores = 100
    double engine_core_s_per_s;     // what the loaded engine burns while waiting; 0 with passive
    struct idle_power power[RECORD_MAX_ENERGIES]; // same order as subject->meters
    size_t n_powers;
    uint32_t flags; // RECORD_BUSY, RECORD_IDLE_DRIFT
};

// Sleeps and samples for `seconds` (at least 1, and longer where a slow meter needs it: 16 of its
// periods, at most 90 s). INTERRUPTED on Ctrl-C.
enum wl_status idle_measure(struct subject *subject, double seconds, struct idle *out,
                            struct wl_err *err);

// Idle power of source `index` at time t, from the baseline before and (may be NULL) after.
// For a model it is the model's own. NaN value when the source gave no baseline.
struct series_baseline_level idle_power_at(const struct subject *subject, size_t index,
                                           const struct idle *before, const struct idle *after,
                                           int64_t t_ns);

#endif
