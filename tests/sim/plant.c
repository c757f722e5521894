#include "sim/plant.h"

#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

// --- the true power -----------------------------------------------------------------------------

struct level {
    double t_s, power_w; // from here on
};

// Steps of the load, ascending; the last one is back to idle.
static size_t draw_levels(const struct plant_spec *spec, struct rng *rng, struct level *level) {
    double length_s = spec->t1_s - spec->t0_s;
    double split = spec->split_share > 0 ? spec->split_share : 0.1 + 0.5 * rng_uniform(rng);
    double high_w = spec->load_w * (1 + 0.3 * rng_uniform(rng));
    double low_w = spec->load_w * (0.8 + 0.2 * rng_uniform(rng));
    bool is_throttled = rng_uniform(rng) < 0.3 && !spec->is_plain;
    if (spec->is_plain) {
        high_w = spec->load_w;
        low_w = 0.8 * spec->load_w;
    }
    size_t n = 0;
    level[n++] = (struct level){spec->t0_s, high_w};
    level[n++] = (struct level){spec->t0_s + split * length_s, low_w};
    if (is_throttled) {
        double from = split + (1 - split) * 0.6 * rng_uniform(rng);
        level[n++] = (struct level){spec->t0_s + from * length_s, 0.7 * low_w};
        level[n++] = (struct level){spec->t0_s + (from + (1 - from) * 0.5) * length_s, low_w};
    }
    level[n++] = (struct level){spec->t1_s, 0};
    return n;
}

static void add_knot(struct plant *plant, double t_s, double power_w) {
    if (plant->n < PLANT_MAX_KNOTS) {
        plant->knot[plant->n++] = (struct plant_knot){.t_s = t_s, .power_w = fmax(power_w, 0)};
    }
}

static double idle_at(const struct plant *plant, double t_s) {
    double share = t_s / plant->end_s;
    return plant->idle_w + plant->idle_slope_w * (share - 0.5) +
           plant->idle_swing_w * sin(2 * PI * (share + plant->idle_phase));
}

double plant_idle_j(const struct plant *plant, double t0_s, double t1_s) {
    enum { STEPS = 64 };
    double sum_w = 0;
    for (int i = 0; i < STEPS; i++) {
        sum_w += idle_at(plant, t0_s + (t1_s - t0_s) * (i + 0.5) / STEPS);
    }
    return sum_w / STEPS * (t1_s - t0_s);
}

static void draw_idle(struct plant *plant, const struct plant_spec *spec, struct rng *rng) {
    plant->end_s = spec->end_s;
    plant->idle_w = spec->idle_w;
    plant->idle_slope_w = spec->idle_w * spec->drift_share * (2 * rng_uniform(rng) - 1);
    plant->idle_swing_w = spec->idle_w * spec->drift_share * 0.3;
    plant->idle_phase = rng_uniform(rng);
}

static void integrate(struct plant *plant) {
    for (size_t i = 1; i < plant->n; i++) {
        const struct plant_knot *before = &plant->knot[i - 1];
        struct plant_knot *knot = &plant->knot[i];
        knot->energy_j =
            before->energy_j + (before->power_w + knot->power_w) / 2 * (knot->t_s - before->t_s);
    }
}

void plant_make(struct plant *plant, const struct plant_spec *spec, struct rng *rng) {
    struct level level[PLANT_MAX_LEVELS];
    size_t n_levels = draw_levels(spec, rng, level), next = 0;
    draw_idle(plant, spec, rng);
    double step_s = fmax(0.05, spec->end_s / (PLANT_MAX_KNOTS / 4));
    double keep = exp(-step_s / 0.2), stir = sqrt(1 - keep * keep);
    double noise = rng_normal(rng), above_w = 0;
    plant->n = 0;
    for (double t_s = 0; t_s <= spec->end_s; t_s += step_s) {
        double factor = 1 + spec->noise_share * noise;
        while (next < n_levels && level[next].t_s <= t_s) {
            double at_s = level[next].t_s, idle_w = idle_at(plant, at_s);
            add_knot(plant, at_s, (idle_w + above_w) * factor);
            double power_w = level[next++].power_w;
            above_w = power_w > 0 ? power_w - spec->idle_w : 0;
            add_knot(plant, at_s, (idle_w + above_w) * factor);
        }
        noise = keep * noise + stir * rng_normal(rng);
        factor = 1 + spec->noise_share * noise;
        add_knot(plant, t_s, (idle_at(plant, t_s) + above_w) * factor);
    }
    integrate(plant);
    plant_smooth(plant, 0);
}

// --- smoothed -----------------------------------------------------------------------------------

// The first-order lag of a straight line p0 + s*t that stands at y0 when it begins.
static double lagged(double p0, double slope, double y0, double tau_s, double t_s) {
    return p0 + slope * t_s - tau_s * slope + (y0 - p0 + tau_s * slope) * exp(-t_s / tau_s);
}

static double slope_after(const struct plant *plant, size_t i) {
    double length_s = i + 1 < plant->n ? plant->knot[i + 1].t_s - plant->knot[i].t_s : 0;
    return length_s > 0 ? (plant->knot[i + 1].power_w - plant->knot[i].power_w) / length_s : 0;
}

void plant_smooth(struct plant *plant, double tau_s) {
    plant->tau_s = tau_s;
    for (size_t i = 0; i < plant->n && tau_s > 0; i++) {
        struct plant_knot *knot = &plant->knot[i];
        if (i == 0) {
            knot->smoothed_w = knot->power_w;
            continue;
        }
        const struct plant_knot *before = knot - 1;
        knot->smoothed_w = lagged(before->power_w, slope_after(plant, i - 1), before->smoothed_w,
                                  tau_s, knot->t_s - before->t_s);
    }
}

// Index of the last knot at or before t_s; 0 when there is none.
static size_t find(const struct plant *plant, double t_s) {
    size_t low = 0, high = plant->n;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (plant->knot[middle].t_s <= t_s) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

double plant_energy_j(const struct plant *plant, double t_s) {
    size_t i = find(plant, t_s);
    double d_s = t_s - plant->knot[i].t_s;
    return plant->knot[i].energy_j +
           d_s * (plant->knot[i].power_w + slope_after(plant, i) * d_s / 2);
}

double plant_shown_w(const struct plant *plant, double t_s) {
    size_t i = find(plant, t_s);
    const struct plant_knot *knot = &plant->knot[i];
    double slope = slope_after(plant, i), d_s = t_s - knot->t_s;
    if (!(plant->tau_s > 0) || d_s < 0) {
        return knot->power_w + slope * d_s;
    }
    return lagged(knot->power_w, slope, knot->smoothed_w, plant->tau_s, d_s);
}

// From y + tau y' = p: what is shown trails what was by tau times the change of what is shown.
double plant_shown_j(const struct plant *plant, double t_s) {
    double energy_j = plant_energy_j(plant, t_s);
    return plant->tau_s > 0 ? energy_j - plant->tau_s * plant_shown_w(plant, t_s) : energy_j;
}

// --- devices ------------------------------------------------------------------------------------

void plant_device_draw(struct plant_device *device, const struct meter_info *info,
                       const struct plant_habit *habit, struct rng *rng) {
    *device = (struct plant_device){.info = *info, .habit = *habit, .reset_s = -1};
    device->gain = fmax(1 + info->gain_error_rel * rng_normal(rng), 0.05);
    device->offset_w = info->offset_error_w * rng_normal(rng);
    device->lag_s = ((double)info->lag_ns + (double)info->lag_sd_ns * rng_normal(rng)) * 1e-9;
    device->tau_s = (double)info->smoothing_ns * 1e-9 * fmax(1 + 0.2 * rng_normal(rng), 0.1);
    device->phase_s = rng_uniform(rng) * (double)info->native_period_ns * 1e-9;
    device->start_j = rng_uniform(rng) * 1e4;
    device->seed = rng_next(rng);
}

// A number of the refresh that is the same however often it is read.
static struct rng rng_of(const struct plant_device *device, double k, uint64_t salt) {
    struct rng rng;
    rng_seed(&rng, device->seed ^ (uint64_t)(int64_t)k * 0x9E3779B97F4A7C15U ^ salt);
    return rng;
}

static double refresh_time_s(const struct plant_device *device, double period_s, double k) {
    struct rng rng = rng_of(device, k, 1);
    double jitter = device->habit.refresh_jitter * (2 * rng_uniform(&rng) - 1);
    return device->phase_s + (k + jitter) * period_s;
}

// The last refresh at or before t_s: its number, and its time.
static double last_refresh(const struct plant_device *device, double t_s, double *at_s) {
    double period_s = (double)device->info.native_period_ns * 1e-9;
    if (!(period_s > 0)) {
        *at_s = t_s;
        return floor(t_s * 1e6);
    }
    double k = floor((t_s - device->phase_s) / period_s) + 1;
    for (*at_s = refresh_time_s(device, period_s, k); *at_s > t_s;) {
        *at_s = refresh_time_s(device, period_s, --k);
    }
    return k;
}

static double counter_j(const struct plant_device *device, const struct plant *plant, double at_s) {
    double from_s = device->reset_s >= 0 && at_s >= device->reset_s ? device->reset_s : 0;
    double start_j = from_s > 0 ? 0 : device->start_j;
    double energy_j = plant_energy_j(plant, at_s) - plant_energy_j(plant, from_s);
    return start_j + device->gain * energy_j + device->offset_w * (at_s - from_s);
}

static uint64_t counter_raw(const struct plant_device *device, double energy_j) {
    const struct meter_channel *channel = &device->info.channel[0];
    double quantum_j = fmax(device->info.quantum, channel->scale);
    uint64_t raw = (uint64_t)(floor(fmax(energy_j, 0) / quantum_j) * quantum_j / channel->scale);
    return channel->range ? raw % channel->range : raw;
}

static double gauge_w(const struct plant_device *device, const struct plant *plant, double k,
                      double at_s) {
    double period_s = (double)device->info.native_period_ns * 1e-9;
    double power_w = plant_shown_w(plant, at_s);
    if (device->info.kind == METER_GAUGE_AVERAGED && period_s > 0) {
        double from_s =
            device->info.is_stamped ? at_s - period_s : refresh_time_s(device, period_s, k - 1);
        power_w = (plant_shown_j(plant, at_s) - plant_shown_j(plant, from_s)) / (at_s - from_s);
    }
    struct rng rng = rng_of(device, k, 2);
    double noise_w = hypot(device->info.noise_sd_w, device->habit.unstated_noise_w);
    power_w = device->gain * power_w + device->offset_w + noise_w * rng_normal(&rng);
    double quantum_w = device->info.quantum;
    return quantum_w > 0 ? round(power_w / quantum_w) * quantum_w : power_w;
}

void plant_device_read(const struct plant_device *device, const struct plant *plant, double t_s,
                       struct rng *rng, struct meter_reading *out) {
    double at_s, moment_s = t_s + device->habit.read_s * rng_uniform(rng);
    double k = last_refresh(device, moment_s - device->lag_s, &at_s);
    if (device->info.is_stamped) {
        at_s = moment_s - device->lag_s;
    }
    *out = (struct meter_reading){.t_before_ns = (int64_t)(t_s * 1e9),
                                  .t_after_ns = (int64_t)((t_s + device->habit.read_s) * 1e9)};
    out->channel[0].is_valid = rng_uniform(rng) >= device->habit.missing_share;
    if (meter_kind_is_counter(device->info.kind)) {
        out->channel[0].raw = counter_raw(device, counter_j(device, plant, at_s));
    } else {
        out->channel[0].value = gauge_w(device, plant, k, at_s) / device->info.channel[0].scale;
    }
}
