// The guided run: pulses, then the blocks, each watched by all meters.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "measure/calibrate.h"
#include "measure/idle.h"
#include "measure/pulse.h"
#include "measure/settle.h"
#include "os/clock.h"

#define MAX_LOADED_OTHER_PCT 10.0 // as in a window
static const double MIN_COVERAGE = 0.9;
static const double SLICE_S = 5, IDLE_SLICE_S = 0.5; // of work between two looks at progress
static const int64_t WAIT_STEP_NS = 100000000;
static const int64_t SIGNAL_BIN_NS = 100000000;
static const double MAX_IDLE_DRIFT = 0.1; // of the span of powers

struct run {
    const struct calibrate_options *options;
    const struct calibrate_events *events;
    struct calibrate_result *result;
    const struct os_clock *clock;
    struct sampler *sampler;
    struct meter *meter[SAMPLER_MAX_METERS]; // the targets, then the reference
    size_t n_meters;
    int64_t shift_ns[SAMPLER_MAX_METERS]; // lags found, beyond those stated
    double done_s, total_s;
};

const char *calibrate_kind_name(enum calibrate_kind kind) {
    static const char *const NAMES[] = {"idle", "decode, 1 thread", "decode, all threads",
                                        "prefill, all threads", "idle again"};
    return kind < CALIBRATE_N_BLOCKS ? NAMES[kind] : "unknown";
}

static int64_t now_ns(const struct run *run) {
    return run->clock->now_ns(run->clock->context);
}

static void show(const struct run *run, const char *what) {
    if (run->events->on_progress) {
        double done = run->total_s > 0 ? fmin(run->done_s / run->total_s, 1) : 0;
        run->events->on_progress(run->events->context, done, fmax(run->total_s - run->done_s, 0),
                                 what);
    }
}

static void warn(const struct run *run, const char *message) {
    if (run->events->on_warning) {
        run->events->on_warning(run->events->context, message);
    }
}

// --- meters -------------------------------------------------------------------------------------

static enum wl_status choose_meters(struct run *run, struct wl_err *err) {
    const struct calibrate_options *o = run->options;
    struct calibrate_result *result = run->result;
    const struct meter_info *reference = o->reference ? meter_info(o->reference) : NULL;
    for (size_t i = 0; i < o->n_targets; i++) {
        const struct meter_info *info = meter_info(o->targets[i]);
        bool is_same = reference && strcmp(info->name, reference->name) == 0;
        if (info->kind == METER_MODEL || is_same) {
            continue;
        }
        if (run->n_meters + (reference != NULL) == SAMPLER_MAX_METERS) {
            return wl_err_set(err, WL_LIMIT, "at most %d energy sources at once",
                              SAMPLER_MAX_METERS);
        }
        result->target[result->n_targets++] = info;
        run->meter[run->n_meters++] = o->targets[i];
    }
    if (result->n_targets == 0 && !o->prior) {
        return wl_err_set(err, WL_NOT_FOUND, "there is no other source to calibrate");
    }
    str_copy(result->reference, sizeof result->reference, o->reference_name);
    result->scope = reference ? reference->scope : o->asked_scope;
    result->reference_error_rel = reference ? reference->gain_error_rel : o->asked_error_rel;
    if (reference) {
        result->reference_offset_error_w = reference->offset_error_w;
        result->reference_info = reference;
        run->meter[run->n_meters++] = o->reference;
    }
    return WL_OK;
}

static bool is_reference(const struct run *run, size_t index) {
    return index == run->result->n_targets;
}

// --- lags ---------------------------------------------------------------------------------------

// Utilisation 0..1 between rows, stamped with the middle.
static void fill_signal(const struct run *run, const struct sampler_row *rows, size_t n,
                        struct series *out) {
    size_t last = 0;
    for (size_t i = 1; i < n; i++) {
        int64_t step_ns = rows[i].t_ns - rows[last].t_ns;
        if (!(rows[i].flags & rows[last].flags & SAMPLER_HAS_MACHINE) ||
            step_ns < SIGNAL_BIN_NS * 8 / 10) {
            last = rows[last].flags & SAMPLER_HAS_MACHINE ? last : i;
            continue;
        }
        double busy_s = rows[i].machine_busy_s - rows[last].machine_busy_s;
        series_push(out, rows[last].t_ns + step_ns / 2,
                    busy_s / ((double)step_ns * 1e-9) / run->options->n_cores, NULL);
        last = i;
    }
}

// Mean power in bins of the meter's own period, on the time that its stated lag gives.
static void fill_power(const struct run *run, size_t index, int64_t t0_ns, int64_t t1_ns,
                       struct series *out) {
    const struct meter_info *info = meter_info(run->meter[index]);
    int64_t bin_ns = SIGNAL_BIN_NS;
    bin_ns = info->native_period_ns > bin_ns ? info->native_period_ns : bin_ns;
    bin_ns = info->poll_period_ns > bin_ns ? info->poll_period_ns : bin_ns;
    for (int64_t t_ns = t0_ns; t_ns + bin_ns <= t1_ns; t_ns += bin_ns) {
        struct meter_energy energy;
        if (sampler_energy(run->sampler, index, t_ns, t_ns + bin_ns, &energy, NULL) == WL_OK &&
            energy.coverage > MIN_COVERAGE) {
            series_push(out, t_ns + bin_ns / 2, energy.mean_w, NULL);
        }
    }
}

static bool is_lag_worth_finding(const struct meter_info *info) {
    return !meter_kind_is_counter(info->kind) || info->lag_sd_ns > 0;
}

static void find_lag(struct run *run, size_t index, const struct series *signal, int64_t t0_ns,
                     int64_t t1_ns) {
    const struct meter_info *info = meter_info(run->meter[index]);
    struct series power;
    struct series_lag lag = {0};
    series_init(&power, 4096);
    fill_power(run, index, t0_ns, t1_ns, &power);
    enum wl_status status =
        series_find_lag(signal->points, signal->n, power.points, power.n, &lag, NULL);
    series_release(&power);
    if (status != WL_OK || !lag.is_found) {
        char message[256];
        snprintf(message, sizeof message,
                 "%s does not follow the pulses (correlation %.2f): its stated lag is kept; does "
                 "it meter this machine?",
                 info->name, lag.correlation);
        warn(run, message);
        lag.is_found = false;
    }
    run->shift_ns[index] = lag.is_found ? lag.lag_ns : 0;
    if (is_reference(run, index)) {
        run->result->reference_lag = lag;
    } else {
        run->result->target_lag[index] = lag;
    }
}

static enum wl_status find_lags(struct run *run, struct wl_err *err) {
    bool is_needed = false;
    for (size_t i = 0; i < run->n_meters; i++) {
        is_needed = is_needed || is_lag_worth_finding(meter_info(run->meter[i]));
    }
    if (!is_needed || !run->options->is_pulsed) {
        return WL_OK;
    }
    show(run, "pulses, to find the meters' lag");
    int64_t t0_ns = now_ns(run);
    enum wl_status status = run->options->work->pulse(run->options->work->context, err);
    int64_t t1_ns = now_ns(run);
    struct sampler_row *rows = NULL;
    size_t n = 0;
    if (status == WL_OK) {
        status = sampler_copy_window(run->sampler, t0_ns, t1_ns, &rows, &n, err);
    }
    if (status == WL_OK) {
        struct series signal;
        series_init(&signal, n + 1);
        fill_signal(run, rows, n, &signal);
        for (size_t i = 0; i < run->n_meters; i++) {
            if (is_lag_worth_finding(meter_info(run->meter[i]))) {
                find_lag(run, i, &signal, t0_ns, t1_ns);
            }
        }
        series_release(&signal);
    }
    free(rows);
    run->done_s += PULSE_SECONDS;
    return status;
}

// --- blocks -------------------------------------------------------------------------------------

static enum wl_status work_for(struct run *run, enum calibrate_kind kind, double seconds,
                               struct calibrate_amounts *amounts, struct wl_err *err) {
    const struct calibrate_work *work = run->options->work;
    int64_t end_ns = now_ns(run) + (int64_t)(seconds * (double)UNITS_NS_PER_S);
    double slice_s = calibrate_kind_is_idle(kind) ? IDLE_SLICE_S : SLICE_S;
    enum wl_status status = WL_OK;
    while (status == WL_OK && now_ns(run) < end_ns) {
        int64_t before_ns = now_ns(run);
        int64_t slice_ns = (int64_t)(slice_s * (double)UNITS_NS_PER_S);
        show(run, calibrate_kind_name(kind));
        int64_t until_ns = end_ns - before_ns > slice_ns ? before_ns + slice_ns : end_ns;
        status = work->run(work->context, kind, until_ns, amounts, err);
        run->done_s += (double)(now_ns(run) - before_ns) * 1e-9;
    }
    return status;
}

// Until every meter has shown t_ns, shifted by its lag, or had ample time to.
static enum wl_status wait_for_meters(struct run *run, int64_t t_ns, struct wl_err *err) {
    const struct calibrate_work *work = run->options->work;
    struct calibrate_amounts ignored = {0};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < run->n_meters && status == WL_OK; i++) {
        int64_t need_ns = t_ns + run->shift_ns[i];
        int64_t deadline_ns = need_ns + settle_delay_ns(meter_info(run->meter[i]));
        while (status == WL_OK && sampler_known_until_ns(run->sampler, i) < need_ns &&
               now_ns(run) < deadline_ns) {
            status = work->run(work->context, CALIBRATE_IDLE_AFTER, now_ns(run) + WAIT_STEP_NS,
                               &ignored, err);
        }
    }
    return status;
}

static void read_powers(const struct run *run, struct calibrate_block *block) {
    for (size_t i = 0; i < run->n_meters; i++) {
        struct calibrate_power *power =
            is_reference(run, i) ? &block->reference : &block->target[i];
        struct meter_energy energy;
        int64_t shift_ns = run->shift_ns[i];
        double seconds = series_seconds(block->t0_ns, block->t1_ns);
        if (sampler_energy(run->sampler, i, block->t0_ns + shift_ns, block->t1_ns + shift_ns,
                           &energy, NULL) == WL_OK &&
            energy.coverage >= MIN_COVERAGE) {
            *power = (struct calibrate_power){energy.mean_w, energy.sd_j / seconds, true};
        }
    }
}

// CPU % that neither the engine nor idleness took, from the rows inside the block.
static void read_others(const struct run *run, struct calibrate_block *block) {
    struct sampler_row *rows;
    size_t n;
    if (sampler_copy_window(run->sampler, block->t0_ns, block->t1_ns, &rows, &n, NULL) != WL_OK) {
        return;
    }
    const struct sampler_row *first = NULL, *last = NULL;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].flags & SAMPLER_HAS_MACHINE) {
            first = first ? first : &rows[i];
            last = &rows[i];
        }
    }
    if (first && last->t_ns > first->t_ns) {
        double seconds = series_seconds(first->t_ns, last->t_ns);
        double share = seconds / series_seconds(block->t0_ns, block->t1_ns);
        double others_s =
            last->machine_busy_s - first->machine_busy_s - block->amounts.core_s * share;
        block->other_cpu_pct = fmax(100 * others_s / seconds / run->options->n_cores, 0);
    }
    free(rows);
}

static enum wl_status check_others(const struct run *run, const struct calibrate_block *block,
                                   struct wl_err *err) {
    if (calibrate_kind_is_idle(block->kind) && block->other_cpu_pct > IDLE_MAX_CPU_PCT) {
        return wl_err_set(err, WL_UNTRUSTED,
                          "the machine was not idle in block '%s': other programs took %.0f %% of "
                          "the CPU, expected at most %.0f %%; stop them and calibrate again",
                          calibrate_kind_name(block->kind), block->other_cpu_pct, IDLE_MAX_CPU_PCT);
    }
    if (block->other_cpu_pct > MAX_LOADED_OTHER_PCT) {
        char message[256];
        snprintf(message, sizeof message,
                 "other programs took %.0f %% of the CPU in block '%s': the model's terms suffer",
                 block->other_cpu_pct, calibrate_kind_name(block->kind));
        warn(run, message);
    }
    return WL_OK;
}

static enum wl_status run_block(struct run *run, enum calibrate_kind kind, struct wl_err *err) {
    const struct calibrate_options *o = run->options;
    struct calibrate_block *block = &run->result->block[run->result->n_blocks];
    struct calibrate_amounts ignored = {0};
    *block = (struct calibrate_block){.kind = kind};
    enum wl_status status = o->work->prepare(o->work->context, kind, err);
    if (status == WL_OK) {
        status = work_for(run, kind, o->ramp_s, &ignored, err);
    }
    block->t0_ns = now_ns(run);
    if (status == WL_OK) {
        status = work_for(run, kind, o->block_s, &block->amounts, err);
    }
    block->t1_ns = now_ns(run);
    if (status == WL_OK) {
        status = wait_for_meters(run, block->t1_ns, err);
    }
    if (status != WL_OK) {
        return status;
    }
    read_powers(run, block);
    read_others(run, block);
    status = check_others(run, block, err);
    if (status == WL_OK && !o->reference) {
        status = run->events->ask(run->events->context, block, &block->reference, err);
    }
    run->result->n_blocks += status == WL_OK;
    return status;
}

static void check_drift(const struct run *run) {
    const struct calibrate_block *block = run->result->block;
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < run->result->n_blocks; i++) {
        low = fmin(low, block[i].reference.power_w);
        high = fmax(high, block[i].reference.power_w);
    }
    double drift_w =
        block[run->result->n_blocks - 1].reference.power_w - block[0].reference.power_w;
    if (fabs(drift_w) > MAX_IDLE_DRIFT * (high - low)) {
        char message[256];
        snprintf(message, sizeof message,
                 "idle power moved by %+.2g W from the first block to the last: warm the machine "
                 "up and calibrate again for a better result",
                 drift_w);
        warn(run, message);
    }
}

static enum wl_status run_blocks(struct run *run, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (int kind = 0; kind < CALIBRATE_N_BLOCKS && status == WL_OK; kind++) {
        if (kind != CALIBRATE_DECODE_ONE || !run->options->has_one_thread) {
            status = run_block(run, (enum calibrate_kind)kind, err);
        }
    }
    if (status == WL_OK) {
        check_drift(run);
    }
    return status;
}

enum wl_status calibrate_run(const struct calibrate_options *options,
                             const struct calibrate_events *events, struct calibrate_result *out,
                             struct wl_err *err) {
    *out = (struct calibrate_result){0};
    struct run run = {.options = options,
                      .events = events,
                      .result = out,
                      .clock = options->sampler.clock ? options->sampler.clock : &OS_CLOCK_REAL};
    int n_blocks = CALIBRATE_N_BLOCKS - options->has_one_thread;
    run.total_s =
        n_blocks * (options->block_s + options->ramp_s) + (options->is_pulsed ? PULSE_SECONDS : 0);
    enum wl_status status = choose_meters(&run, err);
    if (status != WL_OK) {
        return status;
    }
    struct sampler_options sampler_options = options->sampler;
    sampler_options.meters = run.meter;
    sampler_options.n_meters = run.n_meters;
    status = sampler_start(&sampler_options, &run.sampler, err);
    if (status != WL_OK) {
        return status;
    }
    if (options->work->on_start) {
        options->work->on_start(options->work->context, run.sampler);
    }
    status = find_lags(&run, err);
    status = status == WL_OK ? run_blocks(&run, err) : status;
    sampler_free(run.sampler);
    out->wall_ns = os_wall_ns();
    return status == WL_OK ? calibrate_solve(options, out, err) : status;
}
