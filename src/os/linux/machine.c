#include "os/machine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "os/file.h"

int os_n_cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

// cgroup v2 "<quota|max> <period>", v1 cpu.cfs_quota_us; 0 when there is no limit.
static double cgroup_quota_cores(void) {
    char line[64];
    if (os_slurp_line("/sys/fs/cgroup/cpu.max", line, sizeof line, NULL) == WL_OK) {
        char *period_text = strchr(line, ' ');
        double quota, period;
        if (period_text) {
            *period_text++ = '\0';
            if (str_parse_double(line, &quota) && str_parse_double(period_text, &period) &&
                period > 0) {
                return quota / period;
            }
        }
        return 0;
    }
    char period_line[64];
    double quota, period;
    if (os_slurp_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", line, sizeof line, NULL) == WL_OK &&
        os_slurp_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period_line, sizeof period_line,
                      NULL) == WL_OK &&
        str_parse_double(line, &quota) && str_parse_double(period_line, &period) && quota > 0 &&
        period > 0) {
        return quota / period;
    }
    return 0;
}

int os_n_usable_cores(void) {
    int n = os_n_cores();
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) < n) {
        n = CPU_COUNT(&set);
    }
    double quota = cgroup_quota_cores();
    if (quota > 0 && quota < n) {
        n = (int)(quota + 0.5);
    }
    return n > 0 ? n : 1;
}

// "<key>:   123 kB" of /proc/meminfo, in bytes.
static uint64_t meminfo_bytes(const char *key) {
    struct buf text;
    buf_init(&text, 65536);
    uint64_t bytes = 0;
    if (os_slurp("/proc/meminfo", &text, NULL) == WL_OK) {
        const char *line = strstr(buf_text(&text), key);
        if (line) {
            bytes = strtoull(line + strlen(key), NULL, 10) * 1024;
        }
    }
    buf_release(&text);
    return bytes;
}

static uint64_t cgroup_bytes(const char *path) {
    char line[64];
    uint64_t bytes;
    return os_slurp_line(path, line, sizeof line, NULL) == WL_OK && str_parse_u64(line, &bytes)
               ? bytes
               : 0;
}

uint64_t os_ram_bytes(void) {
    return meminfo_bytes("MemTotal:");
}

uint64_t os_ram_available_bytes(void) {
    uint64_t available = meminfo_bytes("MemAvailable:");
    uint64_t limit = cgroup_bytes("/sys/fs/cgroup/memory.max");
    uint64_t used = cgroup_bytes("/sys/fs/cgroup/memory.current");
    if (limit > used && limit - used < available) {
        return limit - used;
    }
    return available;
}
