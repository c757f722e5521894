// What kind of machine lies under a root: as much as the sources need to choose a model and to say
// why a counter is missing. sampler/machine.h adds what `doctor` shows besides.
#ifndef WATTLAW_METER_PLATFORM_H
#define WATTLAW_METER_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "os/file.h"

enum { PLATFORM_TEXT_BYTES = 128 };

enum platform_arch { PLATFORM_ARCH_UNKNOWN, PLATFORM_ARCH_X86, PLATFORM_ARCH_ARM };

struct platform {
    enum platform_arch arch;
    char cpu_model[PLATFORM_TEXT_BYTES]; // "model name", or "" (ARM has none)
    bool is_amd;
    unsigned n_logical;
    unsigned n_physical;               // n_logical where the kernel does not say
    bool has_hypervisor;               // x86 CPU flag: we run in a virtual machine
    double mean_mhz;                   // 0 unknown
    char board[PLATFORM_TEXT_BYTES];   // device-tree model
    char vendor[PLATFORM_TEXT_BYTES];  // DMI sys_vendor
    char product[PLATFORM_TEXT_BYTES]; // DMI product_name
    int chassis_type;                  // DMI; 0 unknown
    bool has_battery;
    bool is_on_battery; // a battery is discharging
    bool has_mains;     // a mains or USB supply is listed and online
};

// PURE: the fields that /proc/cpuinfo has. Never fails; what is not there stays as it is.
void platform_parse_cpuinfo(const char *text, size_t len, struct platform *out);
void platform_read(const char *root, struct platform *out);
// Hypervisor flag, or a DMI vendor or device tree that only virtual machines have.
bool platform_is_virtual(const struct platform *platform);

// "<root><path>" ("/proc/stat"); root NULL, "" and "/" are the machine itself.
enum wl_status platform_path(char out[OS_PATH_BYTES], const char *root, const char *path,
                             struct wl_err *err);
bool platform_is_machine_root(const char *root);
// First line of <root><path>, control characters replaced; false (and "") when it cannot be read.
bool platform_line(const char *root, const char *path, char *out, size_t size);

#endif
