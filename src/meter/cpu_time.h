// CPU time as /proc tells it. PURE parsers over bounded text; ticks are USER_HZ.
#ifndef WATTLAW_METER_CPU_TIME_H
#define WATTLAW_METER_CPU_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CPU_TIME_USER_HZ = 100 }; // the kernel's interface, whatever CONFIG_HZ is

// One "cpu" line of /proc/stat. Guest time is part of user and nice there and is not added again.
struct cpu_ticks {
    uint64_t user, nice, system, idle, iowait, irq, softirq, steal;
};

// The first line ("cpu  ...", all cores). Fields that an old kernel lacks are 0; at least the first
// four must be there. False for anything else.
bool cpu_time_parse_machine(const char *text, size_t len, struct cpu_ticks *out);
// The lines "cpu0 ...", "cpu1 ..."; returns how many of them there are, at most max.
size_t cpu_time_parse_cores(const char *text, size_t len, struct cpu_ticks *out, size_t max);

double cpu_ticks_busy_s(const struct cpu_ticks *ticks); // user, nice, system, irq, softirq
double cpu_ticks_idle_s(const struct cpu_ticks *ticks); // idle, iowait
double cpu_ticks_steal_s(const struct cpu_ticks *ticks);

struct cpu_process {
    int64_t pid;
    int64_t parent_pid;
    char state; // 'R', 'S', 'Z', ...
    uint64_t user_ticks;
    uint64_t system_ticks;
    uint64_t ended_children_ticks; // user + system of the children it has waited for, and theirs
    int64_t n_threads;
    uint64_t start_ticks; // since boot: with the pid, which process this is
    int64_t rss_pages;
};

// /proc/<pid>/stat. The name may hold spaces and ')': fields count from the last ')'.
bool cpu_time_parse_process(const char *text, size_t len, struct cpu_process *out);

#endif
