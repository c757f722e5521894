// What the machine is, for `doctor` and for the head of every study: figures from another machine
// mean nothing without it.
#ifndef WATTLAW_SAMPLER_MACHINE_H
#define WATTLAW_SAMPLER_MACHINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/device.h"

enum { MACHINE_TEXT_BYTES = 128, MACHINE_MAX_ZONES = 16, MACHINE_MAX_LIMITS = 8 };

struct machine_zone {
    char type[32]; // "x86_pkg_temp"
    double temp_c;
};

struct machine_limit {
    char zone[32];       // "package-0"
    char constraint[32]; // "long_term", "short_term"
    double power_w;
    double window_s; // NaN when not stated
};

struct machine {
    char cpu_model[MACHINE_TEXT_BYTES];
    char board[MACHINE_TEXT_BYTES]; // device-tree model, else DMI vendor and product
    char os_name[MACHINE_TEXT_BYTES];
    char kernel[MACHINE_TEXT_BYTES];
    char architecture[32];
    char governor[32]; // of cpu0; "mixed" when cores differ; "" when there is none
    char freq_driver[32];
    char energy_preference[32];
    unsigned n_cores;          // logical
    unsigned n_physical_cores; // 0 unknown
    double min_mhz, max_mhz;   // NaN unknown
    double current_mhz;        // mean; NaN unknown
    int turbo;                 // 1 on, 0 off, -1 unknown
    uint64_t ram_bytes;
    uint64_t ram_available_bytes;
    uint64_t swap_bytes;
    bool is_virtual;
    char hypervisor[64];       // "QEMU", "" unknown or none
    char container[32];        // "docker", "podman", "lxc", "cgroup", "" none seen
    double cgroup_cores;       // 0 no limit
    uint64_t cgroup_ram_bytes; // 0 no limit
    char power_supply[16];     // "mains", "battery", "" unknown
    struct machine_zone zone[MACHINE_MAX_ZONES];
    size_t n_zones;
    bool has_throttle_count;
    uint64_t throttle_count; // x86: events since boot, all cores and packages
    bool has_throttled_bits;
    uint32_t throttled_bits; // Raspberry Pi get_throttled: bits 0 to 3 now, 16 to 19 since boot
    struct machine_limit limit[MACHINE_MAX_LIMITS]; // PL1, PL2
    size_t n_limits;
};

// Reads what is there under `root`; what is not stays empty. Fails only without /proc.
enum wl_status machine_read(const char *root, struct machine *out, struct wl_err *err);
// The same with other device nodes than the machine's own (tests).
enum wl_status machine_read_with(const char *root, const struct meter_device_ops *devices,
                                 struct machine *out, struct wl_err *err);
// A new object; NULL without memory.
json_t *machine_to_json(const struct machine *machine);
// One short line for people: "Raspberry Pi 5 Model B Rev 1.0, 4 cores, 7.9 GiB, Debian ..."
char *machine_describe(const struct machine *machine, char *out, size_t size);

#endif
