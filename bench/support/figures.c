#include "support/figures.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "os/clock.h"
#include "os/file.h"
#include "sampler/parse_memory.h"
#include "sampler/parse_sensors.h"

static double own_cpu_s(pid_t pid) {
    int64_t ns;
    return os_process_cpu_ns(pid, &ns, NULL) == WL_OK ? (double)ns * 1e-9 : 0;
}

double figures_cpu_s(pid_t pid, int with_children) {
    char path[64], line[4096];
    double sum = own_cpu_s(pid);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    if (with_children && os_slurp_line(path, line, sizeof line, NULL) == WL_OK) {
        char *at = line;
        for (long child; (child = strtol(at, &at, 10)) > 0;) {
            sum += own_cpu_s((pid_t)child);
        }
    }
    return sum;
}

double figures_pss_mib(pid_t pid) {
    char path[64];
    struct memory_rollup rollup;
    struct buf text;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    buf_init(&text, 65536);
    bool is_read = os_slurp(path, &text, NULL) == WL_OK &&
                   parse_smaps_rollup(buf_text(&text), text.len, &rollup);
    buf_release(&text);
    return is_read ? (double)rollup.pss_bytes / 1048576 : (double)NAN;
}

unsigned figures_n_threads(pid_t pid) {
    char path[64];
    unsigned n = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        n += entry->d_name[0] != '.';
    }
    if (dir) {
        closedir(dir);
    }
    return n;
}

double figures_load_1(void) {
    char line[128];
    struct load_average load;
    return os_slurp_line("/proc/loadavg", line, sizeof line, NULL) == WL_OK &&
                   parse_loadavg(line, &load)
               ? load.load_1
               : (double)NAN;
}
