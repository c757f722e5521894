// What a process of the benchmark's stage has used.
#ifndef WATTLAW_BENCH_FIGURES_H
#define WATTLAW_BENCH_FIGURES_H

#include <sys/types.h>

// CPU time of a process and, where asked, of its children (workers of a server).
double figures_cpu_s(pid_t pid, int with_children);
double figures_pss_mib(pid_t pid); // NaN where it cannot be read
unsigned figures_n_threads(pid_t pid);
double figures_load_1(void); // of the machine, as `uptime` tells it

#endif
