// A meter whose true power is known at every instant, so that tests and simulations know the true
// joules. It shows this truth through a device's faults: quantum, refresh period with its phase,
// lag, wrap, noise, gain, gaps.
#ifndef WATTLAW_METER_SYNTHETIC_H
#define WATTLAW_METER_SYNTHETIC_H

#include <stdint.h>

#include "meter/meter.h"

enum { METER_SYNTHETIC_MAX_KNOTS = 64 };

// True power is linear between knots (two knots at one time make a step) and constant outside.
struct meter_synthetic_knot {
    int64_t t_ns;
    double power_w;
};

struct meter_synthetic {
    struct meter_synthetic_knot knot[METER_SYNTHETIC_MAX_KNOTS];
    size_t n_knots;       // at least 1, ascending in time
    enum meter_kind kind; // counter (uJ) or gauge (W)
    enum meter_scope scope;
    int64_t period_ns;            // refresh; 0 = continuous
    int64_t phase_ns;             // refreshes happen at phase + k * period
    int64_t lag_ns;               // true lag; info.lag_ns repeats it
    uint64_t quantum_uj;          // counter step; 0 and 1 are one uJ
    double quantum_w;             // gauge step; 0 = none
    double noise_sd_w;            // gauge: drawn anew at each refresh
    double gain;                  // shown = gain * truth; 0 is taken as 1
    double gain_error_rel;        // what info claims
    uint64_t range_uj;            // wrap; 0 = none
    uint64_t start_uj;            // counter value at t = 0 ns
    int64_t reset_t_ns;           // the counter restarts at 0 then; 0 = never
    int64_t gap_t0_ns, gap_t1_ns; // readings in here are invalid
    uint64_t seed;
};

// True joules in [t0, t1], exactly.
double meter_synthetic_joules(const struct meter_synthetic *truth, int64_t t0_ns, int64_t t1_ns);
double meter_synthetic_power_w(const struct meter_synthetic *truth, int64_t t_ns);

#endif
