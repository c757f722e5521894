// macOS: the energy that the kernel has charged to one process (ri_energy_nj of proc_pid_rusage,
// processor cores only). The only per-process counter on any edge machine; Apple models it from
// activity, nothing is sensed. An ordinary user may read it for processes of his own. It stays zero
// on Intel Macs and on systems before macOS 13.
// Never run on hardware so far: checked against declarations only (tests/darwin_stubs).
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "meter/platform.h"
#include "meter/source.h"

#ifdef __APPLE__
#include <libproc.h>
#endif

static const int64_t SCHEDULER_PERIOD_NS = 10000000; // charged at context switches and ticks
static const double MAX_POWER_W = 300;
// Nobody has published how far Apple's model is from the power drawn; taken as for a model.
static const double GAIN_ERROR = 0.15;

struct rusage_meter {
    const struct os_clock *clock;
    pid_t pid;
    uint64_t base_nj;  // what processes before this one used while they were counted
    uint64_t first_nj; // of this process, when counting began
    uint64_t last_nj;
};

static bool read_energy_nj(pid_t pid, uint64_t *out) {
#ifdef __APPLE__
    struct rusage_info_v6 usage;
    if (proc_pid_rusage(pid, RUSAGE_INFO_V6, (rusage_info_t *)&usage) != 0) {
        return false;
    }
    *out = usage.ri_energy_nj;
    return true;
#else
    (void)pid, (void)out;
    return false;
#endif
}

#ifdef __APPLE__
static const bool IS_MACOS = true;
#else
static const bool IS_MACOS = false;
#endif

static const char *why_not(const struct meter_env *env) {
    uint64_t own_nj = 0;
    if (!IS_MACOS || !platform_is_machine_root(env->root)) {
        return "only macOS counts energy per process";
    }
    // This process has certainly used some.
    if (!read_energy_nj(getpid(), &own_nj) || own_nj == 0) {
        return "this Mac counts no energy per process: it takes Apple silicon and macOS 13";
    }
    return NULL;
}

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    const char *obstacle = why_not(env);
    out->scope = METER_SCOPE_CPU;
    out->label = LABEL_MEASURED;
    out->availability = obstacle ? METER_WRONG_HARDWARE : METER_AVAILABLE;
    str_copy(out->reason, sizeof out->reason,
             obstacle ? obstacle
                      : "counts the processor energy of the measured process alone, without memory "
                        "and the rest of the machine");
}

static void describe(pid_t pid, struct meter_info *info) {
    snprintf(info->title, sizeof info->title, "macOS energy of process %d", (int)pid);
    info->kind = METER_COUNTER;
    info->scope = METER_SCOPE_CPU;
    info->unit = "nJ";
    info->native_period_ns = SCHEDULER_PERIOD_NS;
    info->quantum = 1e-9;
    info->gain_error_rel = GAIN_ERROR;
    info->max_power_w = MAX_POWER_W;
    info->label = LABEL_MEASURED;
    info->n_channels = 1;
    info->channel[0] = (struct meter_channel){.scale = 1e-9, .is_counted = true, .parent = -1};
    str_copy(info->channel[0].name, METER_NAME_BYTES, "process");
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    const char *obstacle = why_not(env);
    if (argument) {
        return wl_err_set(err, WL_USAGE, "rusage takes no argument, found '%s'", argument);
    }
    if (obstacle) {
        return wl_err_set(err, WL_NOT_FOUND, "%s", obstacle);
    }
    pid_t pid = env->pid ? env->pid : getpid();
    uint64_t energy_nj;
    if (!read_energy_nj(pid, &energy_nj)) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "cannot read the energy of process %d: it has ended, or belongs to "
                          "another user",
                          (int)pid);
    }
    struct rusage_meter *state = calloc(1, sizeof *state);
    if (!state) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    *state = (struct rusage_meter){
        .clock = meter_env_clock(env), .pid = pid, .first_nj = energy_nj, .last_nj = energy_nj};
    describe(pid, info);
    *out = state;
    return WL_OK;
}

static enum wl_status read_source(void *state_, struct meter_reading *out, struct wl_err *err) {
    (void)err; // a process that has ended is a gap: another one may follow it (set_pid)
    struct rusage_meter *state = state_;
    uint64_t energy_nj;
    out->t_before_ns = state->clock->now_ns(state->clock->context);
    bool is_read = read_energy_nj(state->pid, &energy_nj);
    out->t_after_ns = state->clock->now_ns(state->clock->context);
    if (is_read && energy_nj >= state->last_nj) { // less is another process of the same number
        state->last_nj = energy_nj;
        out->channel[0].raw = state->base_nj + (energy_nj - state->first_nj);
        out->channel[0].is_valid = true;
    }
    return WL_OK;
}

static void set_pid(void *state_, pid_t pid) {
    struct rusage_meter *state = state_;
    uint64_t energy_nj = 0;
    state->base_nj += state->last_nj - state->first_nj;
    state->pid = pid ? pid : getpid();
    read_energy_nj(state->pid, &energy_nj);
    state->first_nj = state->last_nj = energy_nj;
}

static void close_state(void *state) {
    free(state);
}

const struct meter_source meter_source_rusage = {.name = "rusage",
                                                 .title = "macOS energy of one process",
                                                 .probe = probe,
                                                 .open = open_source,
                                                 .read = read_source,
                                                 .close = close_state,
                                                 .set_pid = set_pid};
