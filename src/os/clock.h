// Time. Everything local is timed on CLOCK_MONOTONIC, which both processes share.
#ifndef WATTLAW_OS_CLOCK_H
#define WATTLAW_OS_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

// The clock and its sleep, injectable so that tests of wraps, gaps and missed deadlines are exact.
struct os_clock {
    int64_t (*now_ns)(void *context);
    // Sleeps until now_ns() >= t_ns or a signal arrives.
    void (*sleep_until_ns)(void *context, int64_t t_ns);
    void *context;
};

extern const struct os_clock OS_CLOCK_REAL;

int64_t os_now_ns(void);              // CLOCK_MONOTONIC
int64_t os_wall_ns(void);             // CLOCK_REALTIME, for records people read
int64_t os_thread_cpu_ns(void);       // CPU time of the calling thread
int64_t os_own_cpu_ns(void);          // CPU time of this process
void os_sleep_until_ns(int64_t t_ns); // CLOCK_MONOTONIC
// CPU time (user + system, all threads) of another process, in ns; exact, from the scheduler's
// own clock (clock_getcpuclockid). NOT_FOUND when it is gone.
enum wl_status os_process_cpu_ns(pid_t pid, int64_t *out, struct wl_err *err);
// "2026-11-22T14:05:09Z" of a CLOCK_REALTIME time.
char *os_format_utc(char *out, size_t size, int64_t wall_ns);

#endif
