// Frequency, temperature, throttling and load as /proc and /sys tell them. PURE, bounded text.
#ifndef WATTLAW_SAMPLER_PARSE_SENSORS_H
#define WATTLAW_SAMPLER_PARSE_SENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// scaling_cur_freq: kHz. False for 0 and for what no CPU does.
bool parse_freq_mhz(const char *text, double *out);
// Mean of the "cpu MHz" lines of /proc/cpuinfo (x86 without cpufreq).
bool parse_cpuinfo_mhz(const char *text, size_t len, double *out);
// thermal_zone/temp, hwmon temp_input: thousandths of a degree; false outside -40..200 C.
bool parse_temp_c(const char *text, double *out);
// A zone of this type shows the CPU: "x86_pkg_temp", "cpu-thermal", "soc_thermal".
bool is_cpu_zone_type(const char *type);
// The same for a hwmon chip's name: "k10temp", "coretemp".
bool is_cpu_hwmon_name(const char *name);

enum { // bits of get_throttled; bits 16 to 19 are the same since boot
    THROTTLED_UNDERVOLT = 1 << 0,
    THROTTLED_FREQ_CAPPED = 1 << 1,
    THROTTLED_NOW = 1 << 2,
    THROTTLED_SOFT_LIMIT = 1 << 3,
};
// Raspberry Pi get_throttled: "50005", "0x50005" or "throttled=0x50005".
bool parse_throttled(const char *text, uint32_t *out);

struct load_average {
    double load_1, load_5, load_15;
    uint64_t n_running, n_tasks;
};
// /proc/loadavg.
bool parse_loadavg(const char *text, struct load_average *out);

#endif
