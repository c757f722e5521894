// One measurement in the simulator, as the tool makes it: idle, a window that a load fills, idle
// again; readings go through meter_total, the idle baseline through series_baseline.
#ifndef WATTLAW_TESTS_TRIAL_H
#define WATTLAW_TESTS_TRIAL_H

#include "meter/meter_total.h"
#include "sim/plant.h"
#include "sim/sources.h"

struct trial_spec {
    const struct sim_source *source;
    double window_s;
    double split_share; // where the first phase ends; 0: drawn
    double load_w;      // 0: drawn
    double idle_w;      // 0: drawn
    bool is_plain;      // nothing about the load is drawn (plant_spec)
    bool is_padded;     // the window asked for takes in idle time on both sides
    bool has_reset;     // a counter starts anew within the window
};

struct trial_value {
    double truth_j, value_j;
    double random_sd_j; // shrinks with repeats
    double sd_j;        // gain and offset joined
};

struct trial {
    struct trial_value gross, net;
    double first_j, second_j; // the two phases of the window
    uint32_t flags;
    double coverage;
    bool is_known; // false: the readings do not reach around the window
};

void trial_run(const struct trial_spec *spec, uint64_t seed, struct trial *out);

static inline bool trial_covers(const struct trial_value *value) {
    double error_j = value->value_j - value->truth_j;
    return (error_j < 0 ? -error_j : error_j) <= 1.96 * value->sd_j;
}

// The word instead of the number.
static inline bool trial_is_unresolved(const struct trial_value *value) {
    return !(1.96 * value->sd_j < value->value_j);
}

#endif
