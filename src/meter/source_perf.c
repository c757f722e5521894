// RAPL through the kernel's `power` perf events: the same counters as powercap, for users who may
// use perf but not read powercap (one capability instead of a udev rule). The kernel keeps 64 bits
// and so never wraps. Total = packages + DRAM; cores and GPU lie inside the package, psys around
// it: they are read and shown, never added. "perf:psys" counts the platform counter alone.
// The counters per core of newer AMD kernels (PMU power_core) are not opened: reading one wakes
// its core, and an idle machine that is woken on every core is not idle any more.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/perf_event.h>
#endif

#include "base/str.h"
#include "meter/device.h"
#include "meter/perf_pmu.h"
#include "meter/platform.h"
#include "meter/source.h"

// As source_powercap.c: the counters are the same.
static const double GAIN_ERROR_INTEL = 0.05, GAIN_ERROR_AMD = 0.10;
static const double MAX_POWER_W = 1000;
// The hardware's step: 2^-14 J, on some processors 2^-16 J; the scale is far finer than that.
static const double QUANTUM_J = 61.03515625e-6;

struct perf {
    const struct os_clock *clock;
    size_t n;
    int fd[METER_MAX_CHANNELS];
};

static void say(struct meter_verdict *out, enum meter_availability availability, const char *reason,
                const char *fix) {
    out->availability = availability;
    str_copy(out->reason, sizeof out->reason, reason);
    str_copy(out->fix, sizeof out->fix, fix);
}

// --- events -------------------------------------------------------------------------------------

static int open_event(const struct meter_env *env, uint32_t type, uint64_t config, unsigned cpu) {
    // The event numbers of a tree copied from elsewhere mean something else on this machine.
    if (!env->devices && !platform_is_machine_root(env->root)) {
        errno = ENODEV;
        return -1;
    }
#ifdef __linux__
    const struct meter_device_ops *devices = env->devices ? env->devices : &METER_DEVICE_REAL;
    if (!devices->perf_event_open) {
        errno = ENOSYS;
        return -1;
    }
    struct perf_event_attr attr = {.type = type, .size = sizeof attr, .config = config};
    return devices->perf_event_open(devices->context, &attr, -1, (int)cpu);
#else
    (void)type, (void)config, (void)cpu;
    errno = ENOSYS;
    return -1;
#endif
}

// A package that two dies show (old AMD Threadripper) counts once. Intel's dies have counters of
// their own.
static bool is_twin(const struct perf_pmu *pmu, size_t index, bool is_amd) {
    for (size_t i = 0; is_amd && i < index; i++) {
        if (pmu->cpu[i].package >= 0 && pmu->cpu[i].package == pmu->cpu[index].package) {
            return true;
        }
    }
    return false;
}

static bool is_counted(enum perf_domain domain, bool is_psys) {
    return is_psys ? domain == PERF_PSYS : domain == PERF_PACKAGE || domain == PERF_DRAM;
}

// --- probe --------------------------------------------------------------------------------------

static const char PERMISSION_FIX[] =
    "until the next boot, for every user:\n"
    "  sudo sysctl kernel.perf_event_paranoid=0\n"
    "for good:\n"
    "  echo 'kernel.perf_event_paranoid=0' | sudo tee /etc/sysctl.d/70-wattlaw.conf\n"
    "or for this program alone:\n"
    "  sudo setcap cap_perfmon+ep \"$(command -v wattlaw)\"\n"
    "in a container its seccomp profile must allow perf_event_open, too (docker run "
    "--cap-add=PERFMON --security-opt seccomp=unconfined)";

static void explain_missing(const struct meter_env *env, struct meter_verdict *out) {
    struct platform platform;
    platform_read(env->root, &platform);
    if (platform.arch == PLATFORM_ARCH_ARM) {
        say(out, METER_WRONG_HARDWARE,
            "the kernel's power events exist on Intel and AMD processors only; this is an ARM "
            "machine",
            "");
    } else if (platform_is_virtual(&platform)) {
        say(out, METER_MISSING,
            "this is a virtual machine: its hypervisor passes no RAPL counters to guests", "");
    } else {
        say(out, METER_MISSING,
            "no PMU named 'power' under /sys/bus/event_source/devices: the driver is not loaded, "
            "or the processor has no RAPL",
            platform.arch == PLATFORM_ARCH_X86 ? "sudo modprobe rapl" : "");
    }
}

static void explain_refusal(const struct meter_env *env, int error, struct meter_verdict *out) {
    char level[32];
    if (!platform_line(env->root, "/proc/sys/kernel/perf_event_paranoid", level, sizeof level)) {
        str_copy(level, sizeof level, "unknown");
    }
    if (error == EACCES || error == EPERM) {
        say(out, METER_PERMISSION, "", PERMISSION_FIX);
        snprintf(out->reason, sizeof out->reason,
                 "the kernel refuses power events to this user: perf_event_paranoid is %s, and "
                 "without CAP_PERFMON it must be 0 or less%s",
                 level, error == EPERM ? " (in a container, seccomp may forbid the call)" : "");
    } else if (error == ENODEV && !env->devices && !platform_is_machine_root(env->root)) {
        say(out, METER_MISSING,
            "power events are there, but can be opened only on the machine itself (not with "
            "--root)",
            "");
    } else {
        say(out, METER_MISSING, "", "");
        snprintf(out->reason, sizeof out->reason, "the kernel's power events cannot be opened: %s",
                 strerror(error));
    }
}

static void judge(const struct meter_env *env, bool is_psys, struct perf_pmu *pmu,
                  struct meter_verdict *out) {
    struct wl_err err;
    enum wl_status status = perf_pmu_read(env->root, pmu, &err);
    enum perf_domain first = is_psys ? PERF_PSYS : PERF_PACKAGE;
    if (status == WL_NOT_FOUND) {
        explain_missing(env, out);
    } else if (status != WL_OK) {
        say(out, METER_WRONG_HARDWARE, err.message, "");
    } else if (!pmu->event[first].exists) {
        say(out, METER_MISSING,
            is_psys ? "this processor has no platform counter (energy-psys)"
                    : "this processor has no package counter (energy-pkg)",
            "");
    } else {
        int fd = open_event(env, pmu->type, pmu->event[first].config, pmu->cpu[0].cpu);
        if (fd < 0) {
            explain_refusal(env, errno, out);
            return;
        }
        close(fd);
        say(out, METER_AVAILABLE, "", "");
        snprintf(out->reason, sizeof out->reason, "counts %s%s through perf events",
                 is_psys ? "psys" : "packages",
                 !is_psys && pmu->event[PERF_DRAM].exists ? " and DRAM" : "");
    }
}

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    struct perf_pmu pmu;
    out->scope = METER_SCOPE_CPU;
    out->label = LABEL_MEASURED;
    out->same_as = "powercap";
    judge(env, false, &pmu, out);
}

// --- open ---------------------------------------------------------------------------------------

struct opening {
    const struct meter_env *env;
    const struct perf_pmu *pmu;
    bool is_amd, is_psys;
    struct meter_info *info;
    struct perf *state;
    int package_channel[PERF_PMU_MAX_CPUS];
};

static void name_channel(const struct opening *opening, size_t cpu_index, enum perf_domain domain,
                         char out[METER_NAME_BYTES]) {
    static const char *const NAMES[PERF_N_DOMAINS] = {[PERF_PACKAGE] = "package",
                                                      [PERF_DRAM] = "dram",
                                                      [PERF_CORES] = "core",
                                                      [PERF_GPU] = "uncore",
                                                      [PERF_PSYS] = "psys"};
    if (domain == PERF_PACKAGE) {
        snprintf(out, METER_NAME_BYTES, "package-%zu", cpu_index);
    } else if (opening->pmu->n_cpus == 1) {
        snprintf(out, METER_NAME_BYTES, "%s", NAMES[domain]);
    } else {
        snprintf(out, METER_NAME_BYTES, "package-%zu/%s", cpu_index, NAMES[domain]);
    }
}

static enum wl_status add_channel(struct opening *opening, size_t cpu_index,
                                  enum perf_domain domain, struct wl_err *err) {
    struct perf *state = opening->state;
    const struct perf_pmu_event *event = &opening->pmu->event[domain];
    unsigned cpu = opening->pmu->cpu[cpu_index].cpu;
    int fd = open_event(opening->env, opening->pmu->type, event->config, cpu);
    if (fd < 0) {
        return wl_err_errno(err, errno, "cannot open a power event on CPU %u", cpu);
    }
    struct meter_channel *channel = &opening->info->channel[state->n];
    *channel = (struct meter_channel){
        .scale = event->scale, .is_counted = is_counted(domain, opening->is_psys), .parent = -1};
    name_channel(opening, cpu_index, domain, channel->name);
    if (domain == PERF_PACKAGE) {
        opening->package_channel[cpu_index] = (int)state->n;
    } else if (domain == PERF_CORES || domain == PERF_GPU) {
        channel->parent = opening->package_channel[cpu_index];
    }
    opening->info->includes_dram |=
        channel->is_counted && (domain == PERF_DRAM || domain == PERF_PSYS);
    state->fd[state->n++] = fd;
    opening->info->n_channels = state->n;
    return WL_OK;
}

// The counted ones first: those must open; the others are shown where they can be.
static enum wl_status add_channels(struct opening *opening, struct wl_err *err) {
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < opening->pmu->n_cpus; i++) {
            for (enum perf_domain domain = 0; domain < PERF_N_DOMAINS; domain++) {
                bool is_wanted = is_counted(domain, opening->is_psys) == (pass == 0) &&
                                 opening->pmu->event[domain].exists &&
                                 !is_twin(opening->pmu, i, opening->is_amd);
                // psys is one counter, whichever package is asked.
                if (!is_wanted || (domain == PERF_PSYS && i > 0)) {
                    continue;
                }
                if (opening->state->n == METER_MAX_CHANNELS) {
                    return pass == 1 ? WL_OK
                                     : wl_err_set(err, WL_LIMIT, "more than %d RAPL counters",
                                                  METER_MAX_CHANNELS);
                }
                enum wl_status status = add_channel(opening, i, domain, err);
                if (status != WL_OK && pass == 0) {
                    return status;
                }
            }
        }
    }
    return WL_OK;
}

static void describe(const struct opening *opening) {
    struct meter_info *info = opening->info;
    snprintf(info->title, sizeof info->title, "RAPL through perf events (%s)",
             opening->is_psys                        ? "psys"
             : opening->pmu->event[PERF_DRAM].exists ? "packages, DRAM"
                                                     : "packages");
    info->kind = METER_COUNTER;
    info->scope = opening->is_psys ? METER_SCOPE_BOARD : METER_SCOPE_CPU;
    info->unit = "counts";
    info->native_period_ns = 1000000; // about 1 ms, with jitter
    info->quantum = QUANTUM_J;
    info->gain_error_rel = opening->is_amd ? GAIN_ERROR_AMD : GAIN_ERROR_INTEL;
    info->max_power_w = MAX_POWER_W;
    info->label = LABEL_MEASURED;
}

static void close_state(void *state_) {
    struct perf *state = state_;
    if (state) {
        for (size_t i = 0; i < state->n; i++) {
            close(state->fd[i]);
        }
        free(state);
    }
}

static enum wl_status refuse(const struct meter_verdict *verdict, struct wl_err *err) {
    bool is_permission = verdict->availability == METER_PERMISSION;
    return wl_err_set(err, is_permission ? WL_PERMISSION : WL_NOT_FOUND, "%s%s", verdict->reason,
                      is_permission ? "; try: sudo sysctl kernel.perf_event_paranoid=0 ('wattlaw "
                                      "doctor' shows other ways)"
                                    : "");
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    bool is_psys = argument && strcmp(argument, "psys") == 0;
    if (argument && !is_psys && strcmp(argument, "package") != 0) {
        return wl_err_set(err, WL_USAGE,
                          "perf has no '%.64s'; expected 'perf', 'perf:package' or 'perf:psys'",
                          argument);
    }
    struct perf_pmu pmu;
    struct meter_verdict verdict = {0};
    judge(env, is_psys, &pmu, &verdict);
    if (verdict.availability != METER_AVAILABLE) {
        return refuse(&verdict, err);
    }
    struct perf *state = calloc(1, sizeof *state);
    if (!state) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    state->clock = meter_env_clock(env);
    struct platform platform;
    platform_read(env->root, &platform);
    struct opening opening = {.env = env,
                              .pmu = &pmu,
                              .is_amd = platform.is_amd,
                              .is_psys = is_psys,
                              .info = info,
                              .state = state};
    memset(opening.package_channel, -1, sizeof opening.package_channel); // every int -1
    describe(&opening);
    enum wl_status status = add_channels(&opening, err);
    if (status != WL_OK) {
        close_state(state);
        return status;
    }
    *out = state;
    return WL_OK;
}

// --- read ---------------------------------------------------------------------------------------

static enum wl_status read_source(void *state_, struct meter_reading *out, struct wl_err *err) {
    (void)err; // a counter that gives nothing (its CPU is offline) is a gap
    struct perf *state = state_;
    out->t_before_ns = state->clock->now_ns(state->clock->context);
    for (size_t i = 0; i < state->n; i++) {
        uint64_t raw;
        ssize_t n;
        do {
            n = read(state->fd[i], &raw, sizeof raw);
        } while (n < 0 && errno == EINTR);
        if (n == (ssize_t)sizeof raw) { // 0: the event is in an error state
            out->channel[i].raw = raw;
            out->channel[i].is_valid = true;
        }
    }
    out->t_after_ns = state->clock->now_ns(state->clock->context);
    return WL_OK;
}

const struct meter_source meter_source_perf = {.name = "perf",
                                               .title = "RAPL energy counters (perf events)",
                                               .probe = probe,
                                               .open = open_source,
                                               .read = read_source,
                                               .close = close_state};
