#include "sim/trial.h"

#include <math.h>
#include <stdlib.h>

#include "series/baseline.h"

// The stretches of one trial, in seconds.
struct times {
    double idle0_s, idle1_s; // before
    double t0_s, t1_s, split_s;
    double from_s, to_s;     // the window that is asked for
    double idle2_s, idle3_s; // after
    double end_s;
};

static struct times plan(const struct trial_spec *spec, struct rng *rng) {
    const struct meter_info *info = &spec->source->info;
    double period_s = fmax((double)info->native_period_ns * 1e-9, spec->source->period_s);
    double delay_s = (double)(info->lag_ns + 4 * info->lag_sd_ns + 8 * info->smoothing_ns) * 1e-9;
    double idle_s = fmax(10, 12 * period_s), settle_s = 1 + delay_s + 2 * period_s;
    struct times t = {.idle0_s = settle_s, .idle1_s = settle_s + idle_s};
    t.t0_s = t.idle1_s + settle_s + period_s * rng_uniform(rng);
    t.t1_s = t.t0_s + spec->window_s;
    t.idle2_s = t.t1_s + settle_s;
    t.idle3_s = t.idle2_s + idle_s;
    t.end_s = t.idle3_s + settle_s;
    double share = spec->split_share > 0 ? spec->split_share : 0.1 + 0.5 * rng_uniform(rng);
    t.split_s = t.t0_s + share * spec->window_s;
    double pad_s =
        spec->is_padded ? 2e-9 * (double)meter_reach_ns(info, (int64_t)(period_s * 1e9)) : 0;
    t.from_s = t.t0_s - pad_s;
    t.to_s = t.t1_s + pad_s;
    return t;
}

// Power in an idle stretch, averaged in bins of half a second at least: a point per bin.
struct idle {
    double from_s, to_s, bin_s;
    double sum_w, n, bin_from_s;
    struct series points;
};

static void idle_add(struct idle *idle, const struct meter_total_sample *sample) {
    double t_s = (double)sample->t_ns * 1e-9;
    if (!sample->is_valid || !isfinite(sample->power_w) || t_s < idle->from_s || t_s > idle->to_s) {
        return;
    }
    if (idle->n > 0 && t_s >= idle->bin_from_s + idle->bin_s) {
        series_push(&idle->points, (int64_t)(idle->bin_from_s * 1e9), idle->sum_w / idle->n, NULL);
        idle->n = idle->sum_w = 0;
    }
    idle->bin_from_s = idle->n > 0 ? idle->bin_from_s : t_s;
    idle->sum_w += sample->power_w;
    idle->n++;
}

struct run {
    const struct plant *plant;
    const struct plant_device *device;
    struct meter_total *total;
    struct idle idle[2];
    struct rng *rng;
};

static void take(struct run *run, double t_s) {
    struct meter_reading reading;
    struct meter_total_sample sample;
    plant_device_read(run->device, run->plant, t_s, run->rng, &reading);
    if (meter_total_feed(run->total, &reading, &sample, NULL) == WL_OK) {
        idle_add(&run->idle[0], &sample);
        idle_add(&run->idle[1], &sample);
    }
}

static void read_all(struct run *run, const struct sim_source *source, const struct times *times) {
    double mark_s[] = {times->t0_s, times->split_s, times->t1_s, HUGE_VAL};
    size_t mark = 0;
    double due_s = source->period_s * rng_uniform(run->rng), last_s = -1;
    for (; due_s < times->end_s; due_s += source->period_s) {
        bool is_late = rng_uniform(run->rng) < source->habit.late_share;
        double t_s = due_s + (is_late ? source->period_s * rng_uniform(run->rng) : 0);
        while (source->habit.is_marked && mark_s[mark] < t_s) {
            take(run, mark_s[mark]);
            last_s = mark_s[mark++] + source->habit.read_s;
        }
        if (t_s > last_s) {
            take(run, t_s);
            last_s = t_s + source->habit.read_s;
        }
    }
}

static void find_net(struct run *run, const struct meter_info *info, const struct times *times,
                     const struct meter_energy *energy, struct trial *out) {
    struct series_baseline before, after;
    struct series_baseline_level level;
    if (series_baseline_find(run->idle[0].points.points, run->idle[0].points.n, &before, NULL) ||
        series_baseline_find(run->idle[1].points.points, run->idle[1].points.n, &after, NULL)) {
        abort();
    }
    series_baseline_at(&before, &after, (int64_t)((times->from_s + times->to_s) / 2 * 1e9), &level);
    struct meter_net net;
    meter_energy_net(info, energy, times->to_s - times->from_s, level.value, level.sd, &net);
    out->net.value_j = net.net_j;
    out->net.random_sd_j = net.sd_j;
    out->net.sd_j = hypot(net.sd_j, info->gain_error_rel * net.net_j);
}

static void find_window(struct run *run, const struct meter_info *info, const struct times *times,
                        struct trial *out) {
    int64_t t0_ns = (int64_t)(times->from_s * 1e9), t1_ns = (int64_t)(times->to_s * 1e9);
    int64_t split_ns = (int64_t)(times->split_s * 1e9);
    struct meter_energy energy, part;
    if (meter_total_window(run->total, t0_ns, t1_ns, &energy, NULL) != WL_OK) {
        return;
    }
    out->is_known = true;
    out->flags = energy.flags;
    out->coverage = energy.coverage;
    out->gross.value_j = energy.gross_j;
    out->gross.random_sd_j = energy.sd_j;
    double gain_j = info->gain_error_rel * energy.gross_j;
    double offset_j = info->offset_error_w * (times->to_s - times->from_s);
    out->gross.sd_j = hypot(energy.sd_j, hypot(gain_j, offset_j));
    find_net(run, info, times, &energy, out);
    if (meter_total_window(run->total, t0_ns, split_ns, &part, NULL) == WL_OK) {
        out->first_j = part.gross_j;
    }
    if (meter_total_window(run->total, split_ns, t1_ns, &part, NULL) == WL_OK) {
        out->second_j = part.gross_j;
    }
}

void trial_run(const struct trial_spec *spec, uint64_t seed, struct trial *out) {
    static struct plant plant; // large; tests run on one thread
    struct rng rng;
    rng_seed(&rng, seed * 7919 + 17);
    *out = (struct trial){0};
    struct times times = plan(spec, &rng);
    struct plant_spec load = {.end_s = times.end_s,
                              .t0_s = times.t0_s,
                              .t1_s = times.t1_s,
                              .split_share = (times.split_s - times.t0_s) / spec->window_s,
                              .idle_w = spec->idle_w > 0 ? spec->idle_w : 3 + rng_uniform(&rng),
                              .load_w = spec->load_w > 0 ? spec->load_w : 7 + 4 * rng_uniform(&rng),
                              .is_plain = spec->is_plain,
                              .drift_share = 0.02,
                              .noise_share = 0.02};
    plant_make(&plant, &load, &rng);
    struct plant_device device;
    plant_device_draw(&device, &spec->source->info, &spec->source->habit, &rng);
    plant_smooth(&plant, device.tau_s);
    if (spec->has_reset) {
        device.reset_s = times.t0_s + spec->window_s * (0.2 + 0.6 * rng_uniform(&rng));
    }
    double bin_s = fmax(0.5, spec->source->period_s);
    struct run run = {.plant = &plant,
                      .device = &device,
                      .idle = {{.from_s = times.idle0_s, .to_s = times.idle1_s, .bin_s = bin_s},
                               {.from_s = times.idle2_s, .to_s = times.idle3_s, .bin_s = bin_s}},
                      .rng = &rng};
    struct meter_total_options options = {.period_ns = (int64_t)(spec->source->period_s * 1e9)};
    if (meter_total_new(&spec->source->info, &options, &run.total, NULL) != WL_OK) {
        abort();
    }
    series_init(&run.idle[0].points, 10000);
    series_init(&run.idle[1].points, 10000);
    read_all(&run, spec->source, &times);
    out->gross.truth_j = plant_energy_j(&plant, times.to_s) - plant_energy_j(&plant, times.from_s);
    out->net.truth_j = out->gross.truth_j - plant_idle_j(&plant, times.from_s, times.to_s);
    find_window(&run, &spec->source->info, &times, out);
    series_release(&run.idle[0].points);
    series_release(&run.idle[1].points);
    meter_total_free(run.total);
}
