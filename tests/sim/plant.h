// The simulator: one true power over time, exact joules of any stretch of it, and devices that show
// it as real meters do (refresh, phase, jitter, lag, smoothing, quantum, gain, offset, noise,
// wraps, resets, readings that are missing). All of it follows from a seed. Times in seconds since
// the plant's start; readings carry nanoseconds, as the sampler's do.
#ifndef WATTLAW_TESTS_PLANT_H
#define WATTLAW_TESTS_PLANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "meter/meter.h"

enum { PLANT_MAX_KNOTS = 16384, PLANT_MAX_LEVELS = 8 };

struct plant_knot {
    double t_s, power_w;
    double energy_j;   // of the power, from the start to here
    double smoothed_w; // the power behind a first-order lag of the plant's tau
};

struct plant {
    size_t n;
    double tau_s;
    struct plant_knot knot[PLANT_MAX_KNOTS]; // straight lines between; two at one time are a step
    double idle_w, idle_slope_w, idle_swing_w, idle_phase, end_s; // true idle, noise left out
};

// Idle with slow drift and noise; from t0_s to t1_s a load: a high level (prefill), a lower one
// (decode), one second of ramp where it fits, and sometimes a dip as throttling makes it.
struct plant_spec {
    double end_s, t0_s, t1_s; // of the load
    double split_share;       // where in the load the first level ends; 0: drawn
    double idle_w, load_w;
    double drift_share; // of idle, over the whole time
    bool is_plain;      // load_w, then 0.8 of it: nothing drawn, no dips
    double noise_share; // of the power, sd, correlated over ~0.2 s
};

void plant_make(struct plant *plant, const struct plant_spec *spec, struct rng *rng);
void plant_smooth(struct plant *plant, double tau_s); // for devices with a time constant; 0: none

double plant_idle_j(const struct plant *plant, double t0_s, double t1_s);
double plant_energy_j(const struct plant *plant, double t_s); // from the start to t_s
double plant_shown_w(const struct plant *plant, double t_s);  // smoothed power
double plant_shown_j(const struct plant *plant, double t_s);  // its integral

// What a device does beyond what its meter_info says.
struct plant_habit {
    double refresh_jitter;   // share of the period by which refreshes scatter, uniform +-
    double missing_share;    // of the readings
    double late_share;       // of the readings: up to one period late
    double read_s;           // a read takes this long; the value is of a moment within
    double unstated_noise_w; // sd that meter_info does not state: it must be seen in the readings
    bool is_marked;          // the sampler takes a reading at the window's edges
};

struct plant_device {
    struct meter_info info;
    struct plant_habit habit;
    double gain, offset_w, lag_s, tau_s, phase_s; // the truth, drawn from what info states
    double start_j;                               // of a counter
    double reset_s;                               // a counter starts anew here; < 0: never
    uint64_t seed;
};

void plant_device_draw(struct plant_device *device, const struct meter_info *info,
                       const struct plant_habit *habit, struct rng *rng);
void plant_device_read(const struct plant_device *device, const struct plant *plant, double t_s,
                       struct rng *rng, struct meter_reading *out);

#endif
