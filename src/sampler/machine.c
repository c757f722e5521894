#include "sampler/machine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "meter/platform.h"
#include "meter/powercap_zones.h"
#include "sampler/parse_memory.h"
#include "sampler/parse_sensors.h"
#include "sampler/throttled.h"

enum { MAX_ENTRIES = 4096, MAX_PROC_BYTES = 1 << 20 };

static bool slurp(const char *root, const char *inner, struct buf *text) {
    char path[OS_PATH_BYTES];
    buf_init(text, MAX_PROC_BYTES);
    return platform_path(path, root, inner, NULL) == WL_OK && os_slurp(path, text, NULL) == WL_OK;
}

static bool read_u64(const char *root, const char *inner, uint64_t *out) {
    char line[64];
    return platform_line(root, inner, line, sizeof line) && str_parse_u64(line, out);
}

// --- system -------------------------------------------------------------------------------------

// PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
static void read_os_name(const char *root, struct machine *out) {
    static const char KEY[] = "PRETTY_NAME=";
    struct buf text;
    if (!slurp(root, "/etc/os-release", &text)) {
        buf_release(&text);
        slurp(root, "/usr/lib/os-release", &text);
    }
    const char *line = strstr(buf_text(&text), KEY);
    if (line) {
        line += strlen(KEY);
        line += *line == '"';
        size_t len = strcspn(line, "\"\n");
        len = len < sizeof out->os_name ? len : sizeof out->os_name - 1;
        memcpy(out->os_name, line, len);
        out->os_name[len] = '\0';
    }
    buf_release(&text);
}

static void read_memory(const char *root, struct machine *out) {
    struct buf text;
    struct memory_info info;
    if (slurp(root, "/proc/meminfo", &text) && parse_meminfo(buf_text(&text), text.len, &info)) {
        out->ram_bytes = info.total_bytes;
        out->ram_available_bytes = info.available_bytes;
        out->swap_bytes = info.swap_total_bytes;
    }
    buf_release(&text);
}

static void read_platform(const char *root, struct machine *out) {
    struct platform platform;
    platform_read(root, &platform);
    str_copy(out->cpu_model, sizeof out->cpu_model, platform.cpu_model);
    out->n_cores = platform.n_logical;
    out->n_physical_cores = platform.n_physical;
    out->current_mhz = platform.mean_mhz > 0 ? platform.mean_mhz : (double)NAN;
    out->is_virtual = platform_is_virtual(&platform);
    if (platform.board[0]) {
        str_copy(out->board, sizeof out->board, platform.board);
    } else if (platform.vendor[0] || platform.product[0]) {
        snprintf(out->board, sizeof out->board, "%.60s %.60s", platform.vendor, platform.product);
    }
    if (out->is_virtual) {
        str_copy(out->hypervisor, sizeof out->hypervisor, platform.vendor);
    }
    if (platform.is_on_battery && !platform.has_mains) {
        str_copy(out->power_supply, sizeof out->power_supply, "battery");
    } else if (platform.has_mains || platform.has_battery) {
        str_copy(out->power_supply, sizeof out->power_supply, "mains");
    }
    if (!platform_line(root, "/proc/sys/kernel/arch", out->architecture,
                       sizeof out->architecture)) {
        static const char *const NAMES[] = {"", "x86_64", "aarch64"};
        str_copy(out->architecture, sizeof out->architecture, NAMES[platform.arch]);
    }
}

// --- CPU frequency ------------------------------------------------------------------------------

struct freq_visit {
    const char *root;
    struct machine *out;
    double sum_mhz;
    size_t n;
};

static bool policy_line(const struct freq_visit *visit, const char *policy, const char *file,
                        char *out, size_t size) {
    char inner[320];
    snprintf(inner, sizeof inner, "/sys/devices/system/cpu/cpufreq/%.64s/%.64s", policy, file);
    return platform_line(visit->root, inner, out, size);
}

static bool visit_policy(void *context, const char *name) {
    struct freq_visit *visit = context;
    struct machine *out = visit->out;
    char line[64];
    double mhz;
    if (!str_starts_with(name, "policy")) {
        return true;
    }
    if (policy_line(visit, name, "scaling_governor", line, sizeof line)) {
        if (!out->governor[0]) {
            str_copy(out->governor, sizeof out->governor, line);
        } else if (strcmp(out->governor, line) != 0) {
            str_copy(out->governor, sizeof out->governor, "mixed");
        }
    }
    if (policy_line(visit, name, "cpuinfo_min_freq", line, sizeof line) &&
        parse_freq_mhz(line, &mhz)) {
        out->min_mhz = isnan(out->min_mhz) ? mhz : fmin(out->min_mhz, mhz);
    }
    if (policy_line(visit, name, "cpuinfo_max_freq", line, sizeof line) &&
        parse_freq_mhz(line, &mhz)) {
        out->max_mhz = isnan(out->max_mhz) ? mhz : fmax(out->max_mhz, mhz);
    }
    if (policy_line(visit, name, "scaling_cur_freq", line, sizeof line) &&
        parse_freq_mhz(line, &mhz)) {
        visit->sum_mhz += mhz;
        visit->n++;
    }
    return true;
}

static void read_turbo(const char *root, struct machine *out) {
    uint64_t value;
    out->turbo = -1;
    if (read_u64(root, "/sys/devices/system/cpu/intel_pstate/no_turbo", &value)) {
        out->turbo = value == 0;
    } else if (read_u64(root, "/sys/devices/system/cpu/cpufreq/boost", &value)) {
        out->turbo = value != 0;
    }
}

static void read_frequency(const char *root, struct machine *out) {
    static const char POLICY0[] = "/sys/devices/system/cpu/cpufreq/policy0";
    char path[OS_PATH_BYTES], inner[160];
    struct freq_visit visit = {root, out, 0, 0};
    out->min_mhz = out->max_mhz = (double)NAN;
    if (platform_path(path, root, "/sys/devices/system/cpu/cpufreq", NULL) == WL_OK) {
        os_list_dir(path, MAX_ENTRIES, visit_policy, &visit, NULL);
    }
    if (visit.n) {
        out->current_mhz = visit.sum_mhz / (double)visit.n;
    }
    snprintf(inner, sizeof inner, "%s/scaling_driver", POLICY0);
    platform_line(root, inner, out->freq_driver, sizeof out->freq_driver);
    snprintf(inner, sizeof inner, "%s/energy_performance_preference", POLICY0);
    platform_line(root, inner, out->energy_preference, sizeof out->energy_preference);
    read_turbo(root, out);
}

// --- containers ---------------------------------------------------------------------------------

static void read_container(const char *root, struct machine *out) {
    char path[OS_PATH_BYTES];
    struct buf text;
    if (platform_path(path, root, "/.dockerenv", NULL) == WL_OK && os_exists(path)) {
        str_copy(out->container, sizeof out->container, "docker");
        return;
    }
    if (platform_path(path, root, "/run/.containerenv", NULL) == WL_OK && os_exists(path)) {
        str_copy(out->container, sizeof out->container, "podman");
        return;
    }
    if (slurp(root, "/proc/1/cgroup", &text)) {
        static const char *const WORDS[] = {"docker", "kubepods", "libpod", "lxc", "containerd"};
        for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0] && !out->container[0]; i++) {
            if (strstr(buf_text(&text), WORDS[i])) {
                str_copy(out->container, sizeof out->container, WORDS[i]);
            }
        }
    }
    buf_release(&text);
}

// v2 "max 100000" or "150000 100000"; v1 two files, -1 for no limit.
static void read_cgroup_cpu(const char *root, struct machine *out) {
    char line[64], period_line[64];
    double quota, period;
    if (platform_line(root, "/sys/fs/cgroup/cpu.max", line, sizeof line)) {
        char *space = strchr(line, ' ');
        if (space) {
            *space = '\0';
            if (str_parse_double(line, &quota) && str_parse_double(space + 1, &period) &&
                quota > 0 && period > 0) {
                out->cgroup_cores = quota / period;
            }
        }
    } else if (platform_line(root, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", line, sizeof line) &&
               platform_line(root, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", period_line,
                             sizeof period_line) &&
               str_parse_double(line, &quota) && str_parse_double(period_line, &period) &&
               quota > 0 && period > 0) {
        out->cgroup_cores = quota / period;
    }
}

static void read_cgroup_memory(const char *root, struct machine *out) {
    static const uint64_t NO_LIMIT = UINT64_C(1) << 60; // v1 prints a huge number for none
    uint64_t bytes;
    bool is_read = read_u64(root, "/sys/fs/cgroup/memory.max", &bytes) ||
                   read_u64(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", &bytes);
    if (is_read && bytes < NO_LIMIT) {
        out->cgroup_ram_bytes = bytes;
    }
}

// --- heat and power -----------------------------------------------------------------------------

struct machine_visit {
    const char *root;
    struct machine *out;
};

static bool visit_zone(void *context, const char *name) {
    struct machine_visit *visit = context;
    struct machine *out = visit->out;
    char inner[160], line[64];
    double temp_c;
    if (!str_starts_with(name, "thermal_zone")) {
        return true;
    }
    snprintf(inner, sizeof inner, "/sys/class/thermal/%.64s/temp", name);
    if (!platform_line(visit->root, inner, line, sizeof line) || !parse_temp_c(line, &temp_c)) {
        return true;
    }
    struct machine_zone *zone = &out->zone[out->n_zones++];
    zone->temp_c = temp_c;
    snprintf(inner, sizeof inner, "/sys/class/thermal/%.64s/type", name);
    platform_line(visit->root, inner, zone->type, sizeof zone->type);
    return out->n_zones < MACHINE_MAX_ZONES;
}

static bool visit_throttle(void *context, const char *name) {
    struct machine_visit *visit = context;
    char inner[160];
    uint64_t count;
    if (!str_starts_with(name, "cpu") || name[3] < '0' || name[3] > '9') {
        return true;
    }
    snprintf(inner, sizeof inner,
             "/sys/devices/system/cpu/%.32s/thermal_throttle/core_throttle_count", name);
    if (read_u64(visit->root, inner, &count)) {
        visit->out->has_throttle_count = true;
        visit->out->throttle_count += count;
    }
    return true;
}

static void read_heat(const char *root, struct machine *out) {
    char path[OS_PATH_BYTES];
    struct machine_visit visit = {root, out};
    if (platform_path(path, root, "/sys/class/thermal", NULL) == WL_OK) {
        os_list_dir(path, MAX_ENTRIES, visit_zone, &visit, NULL);
    }
    if (platform_path(path, root, "/sys/devices/system/cpu", NULL) == WL_OK) {
        os_list_dir(path, MAX_ENTRIES, visit_throttle, &visit, NULL);
    }
}

// From sysfs where the kernel shows it, else from the firmware itself.
static void read_throttled(const char *root, const struct meter_device_ops *devices,
                           struct machine *out) {
    struct throttled throttled;
    if (throttled_open(&throttled, root, devices)) {
        out->has_throttled_bits = throttled_read(&throttled, &out->throttled_bits);
    }
    throttled_close(&throttled);
}

static void read_limits(const char *root, struct machine *out) {
    struct powercap_zones *zones = malloc(sizeof *zones);
    if (zones && powercap_zones_read(root, zones, NULL) == WL_OK) {
        for (size_t i = 0; i < zones->n; i++) {
            const struct powercap_zone *zone = &zones->zone[i];
            bool is_shown = zone->use == POWERCAP_COUNTED || zone->use == POWERCAP_PLATFORM;
            for (size_t k = 0; is_shown && k < zone->n_limits && out->n_limits < MACHINE_MAX_LIMITS;
                 k++) {
                struct machine_limit *limit = &out->limit[out->n_limits++];
                str_copy(limit->zone, sizeof limit->zone, zone->name);
                str_copy(limit->constraint, sizeof limit->constraint, zone->limit[k].name);
                limit->power_w = zone->limit[k].power_w;
                limit->window_s = zone->limit[k].window_s;
            }
        }
    }
    free(zones);
}

enum wl_status machine_read_with(const char *root, const struct meter_device_ops *devices,
                                 struct machine *out, struct wl_err *err) {
    *out = (struct machine){0};
    char path[OS_PATH_BYTES];
    enum wl_status status = platform_path(path, root, "/proc", err);
    if (status != WL_OK) {
        return status;
    }
    if (!os_is_dir(path)) {
        return wl_err_set(err, WL_NOT_FOUND, "there is no '%s': is procfs mounted?", path);
    }
    read_platform(root, out);
    platform_line(root, "/proc/sys/kernel/osrelease", out->kernel, sizeof out->kernel);
    read_os_name(root, out);
    read_memory(root, out);
    read_frequency(root, out);
    read_container(root, out);
    read_cgroup_cpu(root, out);
    read_cgroup_memory(root, out);
    read_heat(root, out);
    read_throttled(root, devices, out);
    read_limits(root, out);
    return WL_OK;
}

enum wl_status machine_read(const char *root, struct machine *out, struct wl_err *err) {
    return machine_read_with(root, NULL, out, err);
}
