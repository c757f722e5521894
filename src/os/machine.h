// What this computer is.
#ifndef WATTLAW_OS_MACHINE_H
#define WATTLAW_OS_MACHINE_H

#include <stdint.h>

#include "base/err.h"

int os_n_cores(void);        // online logical CPUs
int os_n_usable_cores(void); // of these, in our affinity mask and the cgroup CPU quota (at least 1)
uint64_t os_ram_bytes(void); // installed; 0 when unknown
uint64_t os_ram_available_bytes(void); // MemAvailable, or the cgroup's room if smaller; 0 unknown

#endif
