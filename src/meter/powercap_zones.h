// The powercap tree as a list of zones, with the decision which of them add up to the machine's
// energy. Shared by the source and by `doctor`.
#ifndef WATTLAW_METER_POWERCAP_ZONES_H
#define WATTLAW_METER_POWERCAP_ZONES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/meter.h"
#include "os/file.h"

enum { POWERCAP_MAX_ZONES = 96, POWERCAP_MAX_LIMITS = 3, POWERCAP_MAX_DEPTH = 4 };

enum powercap_domain {
    POWERCAP_PACKAGE,
    POWERCAP_CORE,
    POWERCAP_UNCORE,
    POWERCAP_DRAM,
    POWERCAP_PSYS,
    POWERCAP_OTHER,
};

enum powercap_use {
    POWERCAP_COUNTED,  // package or dram: part of the total
    POWERCAP_NESTED,   // inside a package: never added
    POWERCAP_PLATFORM, // psys: contains packages and more; never added to them
    POWERCAP_TWIN,     // the same package seen a second time (MMIO, or another die)
    POWERCAP_UNKNOWN,  // a domain that we do not know: never added
};

struct powercap_limit {
    char name[METER_NAME_BYTES]; // "long_term"
    double power_w;
    double window_s; // NaN when not stated
};

struct powercap_zone {
    char dir[METER_NAME_BYTES];  // "intel-rapl:0:a"; the numbers are hexadecimal
    char name[METER_NAME_BYTES]; // "package-0"
    bool is_mmio;
    unsigned depth; // 1 for intel-rapl:0
    unsigned id[POWERCAP_MAX_DEPTH];
    int parent; // index of intel-rapl:0 for intel-rapl:0:1; -1 none
    enum powercap_domain domain;
    enum powercap_use use;
    uint64_t range_uj; // 0 unknown
    bool is_enabled;   // power limiting is on; counters count in either case
    int access_error;  // errno of opening energy_uj, 0 when it may be read
    struct powercap_limit limit[POWERCAP_MAX_LIMITS];
    size_t n_limits;
};

struct powercap_zones {
    struct powercap_zone zone[POWERCAP_MAX_ZONES];
    size_t n;
};

// NOT_FOUND when there is no powercap folder. A folder without RAPL zones gives n = 0.
enum wl_status powercap_zones_read(const char *root, struct powercap_zones *out,
                                   struct wl_err *err);
// PURE: "intel-rapl:0:a", "intel-rapl-mmio:0"; false for anything else.
bool powercap_parse_dir(const char *dir, struct powercap_zone *out);
enum powercap_domain powercap_domain_of(const char *name);
// PURE: sets `use` of every zone.
void powercap_zones_classify(struct powercap_zones *zones);
// <root>/sys/class/powercap/<dir>/<file>
enum wl_status powercap_path(char out[OS_PATH_BYTES], const char *root, const char *dir,
                             const char *file, struct wl_err *err);

#endif
