#include "os/perf.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

int os_perf_event_open(const void *attr, pid_t pid, int cpu) {
    return (int)syscall(SYS_perf_event_open, attr, pid, cpu, -1,
                        (unsigned long)PERF_FLAG_FD_CLOEXEC);
}
