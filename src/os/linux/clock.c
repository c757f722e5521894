#include "os/clock.h"

#include <errno.h>
#include <time.h>

#include "base/units.h"

static int64_t read_clock(clockid_t id) {
    struct timespec t;
    if (clock_gettime(id, &t) != 0) {
        return -1;
    }
    return (int64_t)t.tv_sec * UNITS_NS_PER_S + t.tv_nsec;
}

int64_t os_now_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

int64_t os_wall_ns(void) {
    return read_clock(CLOCK_REALTIME);
}

int64_t os_thread_cpu_ns(void) {
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

int64_t os_own_cpu_ns(void) {
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

void os_sleep_until_ns(int64_t t_ns) {
    struct timespec t = {.tv_sec = t_ns / UNITS_NS_PER_S, .tv_nsec = t_ns % UNITS_NS_PER_S};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

enum wl_status os_process_cpu_ns(pid_t pid, int64_t *out, struct wl_err *err) {
    clockid_t id;
    int error = clock_getcpuclockid(pid, &id);
    int64_t cpu_ns = error ? -1 : read_clock(id);
    if (cpu_ns < 0) {
        return wl_err_errno(err, error ? error : errno, "cannot read the CPU clock of process %d",
                            (int)pid);
    }
    *out = cpu_ns;
    return WL_OK;
}
