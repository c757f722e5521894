// The energy model as a source: joules so far, computed from elapsed time, exact CPU time and, when
// the caller counts them, memory traffic and operations. For machines without any meter; labelled
// an estimate, or calibrated once its terms were fitted on this machine.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "base/units.h"
#include "meter/calibration.h"
#include "meter/cpu_time.h"
#include "meter/estimate.h"
#include "meter/kept_file.h"
#include "meter/platform.h"
#include "meter/source.h"

// A growing input: what it read last and its sum. A step back means that it began anew.
struct growing {
    bool has_reading;
    double last;
    double sum;
};

struct estimate {
    struct meter_env env;
    struct meter_estimate_params params;
    struct kept_file stat_file; // /proc/stat, or <root>/proc/<pid>/stat under a foreign root
    int64_t t0_ns;
    struct growing core_s, bytes, flops;
    double last_uj;
};

static void machine_params(const struct meter_env *env, struct meter_estimate_params *out) {
    if (env->estimate) {
        *out = *env->estimate;
    } else {
        meter_estimate_params_for(env->root, out);
    }
    if (!out->is_calibrated) {
        meter_estimate_apply(meter_calibration_find(env->calibrations, "estimate"), out);
    }
}

static enum record_label label_of(const struct meter_estimate_params *params) {
    return params->is_calibrated ? LABEL_CALIBRATED : LABEL_ESTIMATED;
}

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    struct meter_estimate_params params;
    machine_params(env, &params);
    out->availability = METER_AVAILABLE;
    out->scope = params.scope;
    out->label = label_of(&params);
    snprintf(out->reason, sizeof out->reason,
             "a model, not a measurement: class '%s' (%s), idle %.3g W, %.3g W per busy core, "
             "+-%.0f %% (1 sigma)%s",
             params.class_name, params.reason, params.idle_w, params.core_w,
             params.net_rel_sd * 100, params.is_class_known ? "" : ", a guess");
    if (!params.is_calibrated) {
        str_copy(out->fix, sizeof out->fix,
                 "fit it to any meter, even one read by hand: wattlaw calibrate");
    }
}

static void open_stat(struct estimate *state) {
    char inner[64], path[OS_PATH_BYTES];
    kept_file_release(&state->stat_file);
    bool needs_file = state->env.pid == 0 || !platform_is_machine_root(state->env.root);
    if (!needs_file) {
        return;
    }
    if (state->env.pid == 0) {
        snprintf(inner, sizeof inner, "/proc/stat");
    } else {
        snprintf(inner, sizeof inner, "/proc/%ld/stat", (long)state->env.pid);
    }
    if (platform_path(path, state->env.root, inner, NULL) == WL_OK) {
        kept_file_open(&state->stat_file, path, NULL); // a missing file shows as a gap
    }
}

static bool read_core_seconds(struct estimate *state, double *out) {
    if (state->env.pid != 0 && platform_is_machine_root(state->env.root)) {
        int64_t cpu_ns;
        if (os_process_cpu_ns(state->env.pid, &cpu_ns, NULL) != WL_OK) {
            return false;
        }
        *out = (double)cpu_ns / (double)UNITS_NS_PER_S;
        return true;
    }
    char text[1024];
    size_t len;
    struct cpu_ticks ticks;
    struct cpu_process process;
    if (kept_file_read(&state->stat_file, text, sizeof text, &len) != 0) {
        return false;
    }
    if (state->env.pid == 0) {
        bool is_read = cpu_time_parse_machine(text, len, &ticks);
        *out = is_read ? cpu_ticks_busy_s(&ticks) : 0;
        return is_read;
    }
    bool is_read = cpu_time_parse_process(text, len, &process);
    *out = is_read ? (double)(process.user_ticks + process.system_ticks) / CPU_TIME_USER_HZ : 0;
    return is_read;
}

static void grow(struct growing *input, double value) {
    if (!isfinite(value)) {
        return;
    }
    if (input->has_reading && value > input->last) {
        input->sum += value - input->last;
    }
    input->has_reading = true;
    input->last = value;
}

static void describe(const struct estimate *state, struct meter_info *info) {
    const struct meter_estimate_params *params = &state->params;
    snprintf(info->title, sizeof info->title, "model of a %s", params->class_name);
    info->kind = METER_MODEL;
    info->scope = params->scope;
    info->unit = "uJ";
    // /proc/stat counts in ticks; the CPU clock of a process is exact at every read.
    info->native_period_ns = state->env.pid == 0 ? UNITS_NS_PER_S / CPU_TIME_USER_HZ : 0;
    info->quantum = 1e-6;
    info->includes_dram = true;
    info->gain_error_rel = params->net_rel_sd;
    info->offset_error_w = params->idle_sd_w;
    info->max_power_w = params->max_power_w;
    info->label = label_of(params);
    info->n_channels = 1;
    info->channel[0] =
        (struct meter_channel){.scale = 1e-6, .is_counted = true, .parent = -1, .name = "model"};
}

static void close_state(void *state_) {
    struct estimate *state = state_;
    if (state) {
        kept_file_release(&state->stat_file);
        free(state);
    }
}

static enum wl_status choose_params(const struct meter_env *env, const char *argument,
                                    struct meter_estimate_params *out, struct wl_err *err) {
    if (argument) { // the user knows better than any calibration
        struct platform platform;
        platform_read(env->root, &platform);
        return meter_estimate_params_by_class(argument, platform.n_physical, out, err);
    }
    machine_params(env, out);
    return WL_OK;
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    struct estimate *state = calloc(1, sizeof *state);
    if (!state) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    state->stat_file = (struct kept_file)KEPT_FILE_INIT;
    state->env = *env;
    enum wl_status status = choose_params(env, argument, &state->params, err);
    if (status != WL_OK) {
        free(state);
        return status;
    }
    const struct os_clock *clock = meter_env_clock(env);
    state->t0_ns = clock->now_ns(clock->context);
    open_stat(state);
    double core_s;
    if (read_core_seconds(state, &core_s)) {
        grow(&state->core_s, core_s);
    }
    describe(state, info);
    *out = state;
    return WL_OK;
}

static enum wl_status read_source(void *state_, struct meter_reading *out, struct wl_err *err) {
    (void)err;
    struct estimate *state = state_;
    const struct meter_env *env = &state->env;
    const struct os_clock *clock = meter_env_clock(env);
    out->t_before_ns = clock->now_ns(clock->context);
    double core_s;
    bool is_read = read_core_seconds(state, &core_s);
    out->t_after_ns = clock->now_ns(clock->context);
    if (!is_read) {
        return WL_OK; // the process has ended: a gap
    }
    grow(&state->core_s, core_s);
    if (env->traffic_bytes) {
        grow(&state->bytes, env->traffic_bytes(env->work_context));
    }
    if (env->flops) {
        grow(&state->flops, env->flops(env->work_context));
    }
    // At the midpoint, which is the time that the reading will be given.
    int64_t t_ns = out->t_before_ns + (out->t_after_ns - out->t_before_ns) / 2;
    struct meter_estimate_energy energy;
    meter_estimate_energy(&state->params, (double)(t_ns - state->t0_ns) * 1e-9, state->core_s.sum,
                          state->bytes.sum, state->flops.sum, &energy);
    state->last_uj = fmax(state->last_uj, energy.gross_j * 1e6);
    out->channel[0].raw = (uint64_t)fmin(state->last_uj, 1.8e19);
    out->channel[0].is_valid = true;
    return WL_OK;
}

static void set_pid(void *state_, pid_t pid) {
    struct estimate *state = state_;
    state->env.pid = pid;
    state->core_s.has_reading = false; // what the new process has used before is not ours
    open_stat(state);
    double core_s;
    if (read_core_seconds(state, &core_s)) {
        grow(&state->core_s, core_s);
    }
}

const struct meter_source meter_source_estimate = {.name = "estimate",
                                                   .title = "energy model (no meter)",
                                                   .probe = probe,
                                                   .open = open_source,
                                                   .read = read_source,
                                                   .close = close_state,
                                                   .set_pid = set_pid};
