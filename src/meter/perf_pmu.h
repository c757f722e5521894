// The kernel's `power` PMU (RAPL through perf events) as its folder under
// /sys/bus/event_source/devices/power describes it: type, one CPU per package or die, and for each
// event the configuration and the joules per count. Only `read` does I/O.
#ifndef WATTLAW_METER_PERF_PMU_H
#define WATTLAW_METER_PERF_PMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { PERF_PMU_MAX_CPUS = 32 };

enum perf_domain {
    PERF_PACKAGE,
    PERF_DRAM,
    PERF_CORES,
    PERF_GPU,
    PERF_PSYS,
    PERF_N_DOMAINS,
};

struct perf_pmu_event {
    bool exists;
    uint64_t config;
    double scale; // joules per count
};

struct perf_pmu_cpu {
    unsigned cpu;
    int package; // physical_package_id; -1 when the kernel does not say
};

struct perf_pmu {
    uint32_t type;
    struct perf_pmu_cpu cpu[PERF_PMU_MAX_CPUS]; // where each event is opened
    size_t n_cpus;
    struct perf_pmu_event event[PERF_N_DOMAINS];
    bool has_core_pmu; // `power_core` (AMD, per core) exists beside it
};

// NOT_FOUND when there is no such PMU; INPUT names the file whose content is not understood.
enum wl_status perf_pmu_read(const char *root, struct perf_pmu *out, struct wl_err *err);

// "0,18" or "0-1,8": ascending CPU numbers. False for anything else, or more than `max` of them.
bool perf_parse_cpu_list(const char *text, unsigned *out, size_t max, size_t *n);
// "event=0x02" laid out as `format` says ("config:0-7").
bool perf_parse_config(const char *event, const char *format, uint64_t *out);

#endif
