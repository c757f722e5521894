// perf_event_open(2), which the C library has no wrapper for.
#ifndef WATTLAW_OS_PERF_H
#define WATTLAW_OS_PERF_H

#include <sys/types.h>

// `attr` is a struct perf_event_attr; no group, close-on-exec. -1 with errno; ENOSYS where there
// are no perf events.
int os_perf_event_open(const void *attr, pid_t pid, int cpu);

#endif
