#include "meter/perf_pmu.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "meter/platform.h"

static const char PMU_DIR[] = "/sys/bus/event_source/devices/power";
enum { MAX_CPU_NUMBER = 65535, MAX_EVENT_CODE = 0xff };

static const char *const EVENT_NAMES[PERF_N_DOMAINS] = {
    [PERF_PACKAGE] = "energy-pkg", [PERF_DRAM] = "energy-ram",  [PERF_CORES] = "energy-cores",
    [PERF_GPU] = "energy-gpu",     [PERF_PSYS] = "energy-psys",
};

// --- parsers ------------------------------------------------------------------------------------

// Decimal or, with `base` 16, hexadecimal digits at `*text`; moves behind them.
static bool take_number(const char **text, unsigned base, unsigned max, unsigned *out) {
    static const char DIGITS[] = "0123456789abcdef";
    unsigned value = 0;
    const char *at = *text;
    for (; *at; at++) {
        const char *digit = strchr(DIGITS, tolower((unsigned char)*at));
        if (!digit || (unsigned)(digit - DIGITS) >= base) {
            break;
        }
        value = value * base + (unsigned)(digit - DIGITS);
        if (value > max) {
            return false;
        }
    }
    bool is_any = at != *text;
    *text = at;
    *out = value;
    return is_any;
}

static bool is_end(const char *text) {
    return text[0] == '\0' || (text[0] == '\n' && text[1] == '\0');
}

bool perf_parse_cpu_list(const char *text, unsigned *out, size_t max, size_t *n) {
    size_t count = 0;
    for (;;) {
        unsigned first, last;
        if (!take_number(&text, 10, MAX_CPU_NUMBER, &first)) {
            return false;
        }
        last = first;
        if (*text == '-') {
            text++;
            if (!take_number(&text, 10, MAX_CPU_NUMBER, &last)) {
                return false;
            }
        }
        if (last < first || (count > 0 && first <= out[count - 1]) || last - first >= max - count) {
            return false;
        }
        for (unsigned cpu = first; cpu <= last; cpu++) {
            out[count++] = cpu;
        }
        if (is_end(text)) {
            *n = count;
            return true;
        }
        if (*text++ != ',' || count == max) {
            return false;
        }
    }
}

bool perf_parse_config(const char *event, const char *format, uint64_t *out) {
    unsigned code, low_bit;
    if (!str_starts_with(event, "event=0x") || !str_starts_with(format, "config:")) {
        return false;
    }
    event += strlen("event=0x");
    format += strlen("config:");
    if (!take_number(&event, 16, MAX_EVENT_CODE, &code) || !is_end(event) ||
        !take_number(&format, 10, 56, &low_bit) || (*format != '-' && !is_end(format))) {
        return false;
    }
    *out = (uint64_t)code << low_bit;
    return true;
}

// --- the folder ---------------------------------------------------------------------------------

static bool pmu_line(const char *root, const char *file, char *out, size_t size) {
    char path[256];
    int n = snprintf(path, sizeof path, "%s/%s", PMU_DIR, file);
    return n > 0 && (size_t)n < sizeof path && platform_line(root, path, out, size);
}

static enum wl_status say_bad(const char *file, const char *expected, const char *found,
                              struct wl_err *err) {
    return wl_err_set(err, WL_INPUT, "'%s/%s' holds '%.60s', expected %s", PMU_DIR, file, found,
                      expected);
}

static int package_of(const char *root, unsigned cpu) {
    char path[96], line[32];
    int64_t package;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/physical_package_id", cpu);
    bool is_known = platform_line(root, path, line, sizeof line) && str_parse_i64(line, &package) &&
                    package >= 0 && package <= MAX_CPU_NUMBER;
    return is_known ? (int)package : -1;
}

static enum wl_status read_cpus(const char *root, struct perf_pmu *out, struct wl_err *err) {
    char line[256] = "";
    unsigned cpu[PERF_PMU_MAX_CPUS];
    pmu_line(root, "cpumask", line, sizeof line);
    if (!perf_parse_cpu_list(line, cpu, PERF_PMU_MAX_CPUS, &out->n_cpus)) {
        return say_bad("cpumask", "a list of CPUs such as '0,18'", line, err);
    }
    for (size_t i = 0; i < out->n_cpus; i++) {
        out->cpu[i] = (struct perf_pmu_cpu){cpu[i], package_of(root, cpu[i])};
    }
    return WL_OK;
}

static enum wl_status read_event(const char *root, const char *name, struct perf_pmu_event *out,
                                 struct wl_err *err) {
    char file[64], line[64], format[32], unit[32];
    snprintf(file, sizeof file, "events/%s", name);
    if (!pmu_line(root, file, line, sizeof line)) {
        return WL_OK; // this processor has no such counter
    }
    if (!pmu_line(root, "format/event", format, sizeof format)) {
        snprintf(format, sizeof format, "config:0-7");
    }
    if (!perf_parse_config(line, format, &out->config)) {
        return say_bad(file, "'event=0x..'", line, err);
    }
    snprintf(file, sizeof file, "events/%s.unit", name);
    if (!pmu_line(root, file, unit, sizeof unit) || strcmp(unit, "Joules") != 0) {
        return say_bad(file, "'Joules'", unit, err);
    }
    snprintf(file, sizeof file, "events/%s.scale", name);
    if (!pmu_line(root, file, line, sizeof line) || !str_parse_double(line, &out->scale) ||
        !(out->scale > 1e-15 && out->scale < 10)) {
        return say_bad(file, "joules per count", line, err);
    }
    out->exists = true;
    return WL_OK;
}

enum wl_status perf_pmu_read(const char *root, struct perf_pmu *out, struct wl_err *err) {
    *out = (struct perf_pmu){0};
    char line[64];
    uint64_t type;
    if (!pmu_line(root, "type", line, sizeof line)) {
        return wl_err_set(err, WL_NOT_FOUND, "there is no '%s'", PMU_DIR);
    }
    if (!str_parse_u64(line, &type) || type > UINT32_MAX) {
        return say_bad("type", "a number", line, err);
    }
    out->type = (uint32_t)type;
    enum wl_status status = read_cpus(root, out, err);
    for (size_t i = 0; i < PERF_N_DOMAINS && status == WL_OK; i++) {
        status = read_event(root, EVENT_NAMES[i], &out->event[i], err);
    }
    char core_path[sizeof PMU_DIR + 16];
    snprintf(core_path, sizeof core_path, "%s_core/type", PMU_DIR);
    out->has_core_pmu = platform_line(root, core_path, line, sizeof line);
    return status;
}
