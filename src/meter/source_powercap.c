// RAPL energy counters through the kernel's powercap class (Intel and AMD). Total = packages +
// DRAM. Core and uncore lie inside the package, psys around it: they are read and shown, never
// added. "powercap:psys" counts the platform counter alone instead, for boards where it was
// validated.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "meter/kept_file.h"
#include "meter/platform.h"
#include "meter/powercap_zones.h"
#include "meter/source.h"

// Without a stated limit: above any CPU package sold so far.
static const double MAX_POWER_UNSTATED_W = 1000;
// Short bursts exceed PL2; three times the largest limit is not reached by a working counter.
static const double LIMIT_FACTOR = 3;
// Firmware states 0.125 W or 4095 W where it does not limit.
static const double MAX_POWER_FLOOR_W = 150, MAX_POWER_CEILING_W = 3000;
// 2^32 steps fill the range, so it tells the unit: 61 uJ or 15.3 uJ.
static const double COUNTER_STEPS = 4294967295.0;
static const double DEFAULT_QUANTUM_J = 61.03515625e-6;
// Against the power drawn by the package: Intel measures (Haswell on), AMD Zen computes from
// activity and misses part of the memory traffic.
static const double GAIN_ERROR_INTEL = 0.05, GAIN_ERROR_AMD = 0.10;

struct powercap {
    const struct os_clock *clock;
    size_t n;
    struct kept_file file[METER_MAX_CHANNELS];
};

// --- probe --------------------------------------------------------------------------------------

static void say(struct meter_verdict *out, enum meter_availability availability, const char *reason,
                const char *fix) {
    out->availability = availability;
    str_copy(out->reason, sizeof out->reason, reason);
    str_copy(out->fix, sizeof out->fix, fix);
}

static const char PERMISSION_FIX[] =
    "until the next boot, for every user:\n"
    "  sudo chmod a+r /sys/class/powercap/intel-rapl*:*/energy_uj\n"
    "for good, for one group (log in again afterwards):\n"
    "  sudo groupadd -f energy && sudo usermod -aG energy \"$USER\"\n"
    "  echo 'SUBSYSTEM==\"powercap\", KERNEL==\"intel-rapl*:*\", "
    "RUN+=\"/bin/chgrp energy /sys%p/energy_uj\", RUN+=\"/bin/chmod g+r /sys%p/energy_uj\"' | "
    "sudo tee /etc/udev/rules.d/70-wattlaw.rules\n"
    "  sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=powercap\n"
    "or for this program alone:\n"
    "  sudo setcap cap_dac_read_search+ep \"$(command -v wattlaw)\"";

static void explain_missing(const struct meter_env *env, struct meter_verdict *out) {
    struct platform platform;
    platform_read(env->root, &platform);
    if (platform.arch == PLATFORM_ARCH_ARM) {
        say(out, METER_WRONG_HARDWARE,
            "RAPL counters exist on Intel and AMD processors only; this is an ARM machine", "");
    } else if (platform_is_virtual(&platform)) {
        say(out, METER_MISSING,
            "this is a virtual machine: its hypervisor passes no RAPL counters to guests",
            "measure on the host, or have QEMU (9.1 or newer, option 'rapl' of '-accel kvm', with "
            "qemu-vmsr-helper on the host) pass them on");
    } else if (platform.arch == PLATFORM_ARCH_X86) {
        say(out, METER_MISSING,
            platform.is_amd
                ? "no RAPL zone under /sys/class/powercap: the driver is not loaded, or "
                  "the kernel is older than 5.8 (Zen 1, 2) or 5.11 (Zen 3)"
                : "no RAPL zone under /sys/class/powercap: the driver is not loaded, or "
                  "/sys is hidden by a container",
            "sudo modprobe intel_rapl_msr");
    } else {
        say(out, METER_MISSING, "no RAPL zone under /sys/class/powercap", "");
    }
}

// What the user would read, as a list: "package-0, package-1, dram".
static void list_names(const struct powercap_zones *zones, enum powercap_use use, char *out,
                       size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < zones->n; i++) {
        if (zones->zone[i].use == use && used < size) {
            int n =
                snprintf(out + used, size - used, "%s%s", used ? ", " : "", zones->zone[i].name);
            used += n > 0 ? (size_t)n : 0;
        }
    }
}

static size_t count_use(const struct powercap_zones *zones, enum powercap_use use) {
    size_t n = 0;
    for (size_t i = 0; i < zones->n; i++) {
        n += zones->zone[i].use == use;
    }
    return n;
}

static int first_error(const struct powercap_zones *zones, enum powercap_use use,
                       const struct powercap_zone **zone) {
    for (size_t i = 0; i < zones->n; i++) {
        if (zones->zone[i].use == use && zones->zone[i].access_error) {
            *zone = &zones->zone[i];
            return zones->zone[i].access_error;
        }
    }
    return 0;
}

static void judge(const struct meter_env *env, const struct powercap_zones *zones,
                  enum powercap_use use, struct meter_verdict *out) {
    const struct powercap_zone *zone = NULL;
    if (count_use(zones, use) == 0) {
        explain_missing(env, out);
        return;
    }
    int error = first_error(zones, use, &zone);
    if (error == EACCES || error == EPERM) {
        say(out, METER_PERMISSION, "", PERMISSION_FIX);
        snprintf(out->reason, sizeof out->reason,
                 "%s/energy_uj (%s) is there, but only root may read it (since Linux 5.10, against "
                 "the PLATYPUS attack)",
                 zone->dir, zone->name);
    } else if (error) {
        say(out, METER_MISSING, "", "");
        snprintf(out->reason, sizeof out->reason, "%s/energy_uj (%s) cannot be opened: %s",
                 zone->dir, zone->name, strerror(error));
    } else {
        char names[160], twins[96];
        list_names(zones, use, names, sizeof names);
        list_names(zones, POWERCAP_TWIN, twins, sizeof twins);
        say(out, METER_AVAILABLE, "", "");
        snprintf(out->reason, sizeof out->reason, "counts %s%s%s%s", names,
                 twins[0] ? " (seen twice and counted once: " : "", twins, twins[0] ? ")" : "");
    }
}

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    out->scope = METER_SCOPE_CPU;
    out->label = LABEL_MEASURED;
    struct powercap_zones *zones = malloc(sizeof *zones);
    if (!zones) {
        say(out, METER_MISSING, "out of memory", "");
        return;
    }
    if (powercap_zones_read(env->root, zones, NULL) != WL_OK) {
        explain_missing(env, out);
    } else {
        judge(env, zones, POWERCAP_COUNTED, out);
    }
    free(zones);
}

// --- open ---------------------------------------------------------------------------------------

static double sane_max_power_w(const struct powercap_zones *zones) {
    double largest_w = 0;
    for (size_t i = 0; i < zones->n; i++) {
        for (size_t k = 0; k < zones->zone[i].n_limits; k++) {
            largest_w = fmax(largest_w, zones->zone[i].limit[k].power_w);
        }
    }
    if (largest_w <= 0) {
        return MAX_POWER_UNSTATED_W;
    }
    return fmin(fmax(LIMIT_FACTOR * largest_w, MAX_POWER_FLOOR_W), MAX_POWER_CEILING_W);
}

static double quantum_j(const struct powercap_zone *zone) {
    double quantum = (double)zone->range_uj / COUNTER_STEPS * 1e-6;
    bool is_plausible = quantum > 1e-7 && quantum < 2; // Sapphire Rapids psys steps by 1 J
    return is_plausible ? quantum : DEFAULT_QUANTUM_J;
}

// The counted zones come first, so that a machine with very many zones loses only what is shown
// beside the total.
static bool is_wanted(const struct powercap_zone *zone, enum powercap_use counted, int pass) {
    if (pass == 0) {
        return zone->use == counted;
    }
    return zone->use != counted && zone->use != POWERCAP_TWIN && !zone->access_error;
}

static void name_channel(const struct powercap_zones *zones, const struct powercap_zone *zone,
                         struct meter_channel *out) {
    // On machines with two packages "dram" alone would not say which.
    bool is_unique = true;
    for (size_t i = 0; i < zones->n; i++) {
        const struct powercap_zone *other = &zones->zone[i];
        is_unique &=
            other == zone || other->use == POWERCAP_TWIN || strcmp(other->name, zone->name) != 0;
    }
    char name[2 * METER_NAME_BYTES + 2];
    if (is_unique || zone->parent < 0) {
        snprintf(name, sizeof name, "%s", zone->name);
    } else {
        snprintf(name, sizeof name, "%s/%s", zones->zone[zone->parent].name, zone->name);
    }
    str_copy(out->name, sizeof out->name, name);
}

struct opening {
    const char *root;
    const struct powercap_zones *zones;
    struct meter_info *info;
    struct powercap *state;
    int channel_of_zone[POWERCAP_MAX_ZONES];
};

static enum wl_status add_channel(struct opening *opening, size_t zone_index, bool is_counted,
                                  struct wl_err *err) {
    const struct powercap_zone *zone = &opening->zones->zone[zone_index];
    struct powercap *state = opening->state;
    char path[OS_PATH_BYTES];
    enum wl_status status = powercap_path(path, opening->root, zone->dir, "energy_uj", err);
    if (status == WL_OK) {
        status = kept_file_open(&state->file[state->n], path, err);
    }
    if (status != WL_OK) {
        return status;
    }
    struct meter_channel *channel = &opening->info->channel[state->n];
    *channel = (struct meter_channel){
        .range = zone->range_uj, .scale = 1e-6, .is_counted = is_counted, .parent = -1};
    name_channel(opening->zones, zone, channel);
    bool is_inside = zone->use == POWERCAP_NESTED && zone->parent >= 0;
    channel->parent = is_inside ? opening->channel_of_zone[zone->parent] : -1;
    opening->channel_of_zone[zone_index] = (int)state->n;
    state->n++;
    opening->info->n_channels = state->n;
    if (is_counted) {
        opening->info->quantum = fmax(opening->info->quantum, quantum_j(zone));
        opening->info->includes_dram |=
            zone->domain == POWERCAP_DRAM || zone->domain == POWERCAP_PSYS;
    }
    return WL_OK;
}

static enum wl_status add_channels(struct opening *opening, enum powercap_use counted,
                                   struct wl_err *err) {
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < opening->zones->n; i++) {
            if (!is_wanted(&opening->zones->zone[i], counted, pass)) {
                continue;
            }
            if (opening->state->n == METER_MAX_CHANNELS) {
                return pass == 1 ? WL_OK
                                 : wl_err_set(err, WL_LIMIT, "more than %d RAPL packages",
                                              METER_MAX_CHANNELS);
            }
            enum wl_status status = add_channel(opening, i, pass == 0, err);
            if (status != WL_OK && pass == 0) {
                return status;
            }
        }
    }
    return WL_OK;
}

static void describe(const struct meter_env *env, const struct powercap_zones *zones,
                     enum powercap_use counted, struct meter_info *info) {
    struct platform platform;
    platform_read(env->root, &platform);
    char names[64];
    list_names(zones, counted, names, sizeof names);
    snprintf(info->title, sizeof info->title, "RAPL (%s)", names);
    info->kind = METER_COUNTER;
    info->scope = counted == POWERCAP_PLATFORM ? METER_SCOPE_BOARD : METER_SCOPE_CPU;
    info->unit = "uJ";
    info->native_period_ns = 1000000; // about 1 ms, with jitter
    info->gain_error_rel = platform.is_amd ? GAIN_ERROR_AMD : GAIN_ERROR_INTEL;
    info->max_power_w = sane_max_power_w(zones);
    info->label = LABEL_MEASURED;
}

static void close_state(void *state_) {
    struct powercap *state = state_;
    if (state) {
        for (size_t i = 0; i < METER_MAX_CHANNELS; i++) {
            kept_file_release(&state->file[i]);
        }
        free(state);
    }
}

static enum wl_status refuse(const struct meter_env *env, const struct powercap_zones *zones,
                             enum powercap_use counted, struct wl_err *err) {
    struct meter_verdict verdict = {0};
    judge(env, zones, counted, &verdict);
    if (verdict.availability == METER_AVAILABLE) {
        return WL_OK;
    }
    bool is_permission = verdict.availability == METER_PERMISSION;
    return wl_err_set(err, is_permission ? WL_PERMISSION : WL_NOT_FOUND, "%s%s%s", verdict.reason,
                      verdict.fix[0] ? "; " : "",
                      is_permission ? "try: sudo chmod a+r "
                                      "/sys/class/powercap/intel-rapl*:*/energy_uj "
                                      "('wattlaw doctor' shows lasting ways)"
                                    : verdict.fix);
}

static enum wl_status open_zones(const struct meter_env *env, const struct powercap_zones *zones,
                                 enum powercap_use counted, struct meter_info *info, void **out,
                                 struct wl_err *err) {
    enum wl_status status = refuse(env, zones, counted, err);
    if (status != WL_OK) {
        return status;
    }
    struct powercap *state = calloc(1, sizeof *state);
    if (!state) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    state->clock = meter_env_clock(env);
    for (size_t i = 0; i < METER_MAX_CHANNELS; i++) {
        state->file[i] = (struct kept_file)KEPT_FILE_INIT;
    }
    struct opening opening = {.root = env->root, .zones = zones, .info = info, .state = state};
    for (size_t i = 0; i < POWERCAP_MAX_ZONES; i++) {
        opening.channel_of_zone[i] = -1;
    }
    describe(env, zones, counted, info);
    status = add_channels(&opening, counted, err);
    if (status != WL_OK) {
        close_state(state);
        return status;
    }
    *out = state;
    return WL_OK;
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **state, struct wl_err *err) {
    enum powercap_use counted = POWERCAP_COUNTED;
    if (argument && strcmp(argument, "psys") == 0) {
        counted = POWERCAP_PLATFORM;
    } else if (argument && strcmp(argument, "package") != 0) {
        return wl_err_set(err, WL_USAGE,
                          "powercap has no '%s'; expected 'powercap', 'powercap:package' or "
                          "'powercap:psys'",
                          argument);
    }
    struct powercap_zones *zones = calloc(1, sizeof *zones);
    if (!zones) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    powercap_zones_read(env->root, zones, NULL); // a missing folder is no zone: refuse() explains
    enum wl_status status = open_zones(env, zones, counted, info, state, err);
    free(zones);
    return status;
}

// --- read ---------------------------------------------------------------------------------------

static enum wl_status read_source(void *state_, struct meter_reading *out, struct wl_err *err) {
    (void)err; // EIO, ENODATA and a vanished zone are gaps: the device may come back
    struct powercap *state = state_;
    out->t_before_ns = state->clock->now_ns(state->clock->context);
    for (size_t i = 0; i < state->n; i++) {
        char text[64];
        size_t len;
        uint64_t raw;
        if (kept_file_read(&state->file[i], text, sizeof text, &len) == 0 &&
            str_parse_u64(text, &raw)) {
            out->channel[i].raw = raw;
            out->channel[i].is_valid = true;
        }
    }
    out->t_after_ns = state->clock->now_ns(state->clock->context);
    return WL_OK;
}

const struct meter_source meter_source_powercap = {.name = "powercap",
                                                   .title = "RAPL energy counters (powercap)",
                                                   .probe = probe,
                                                   .open = open_source,
                                                   .read = read_source,
                                                   .close = close_state};
