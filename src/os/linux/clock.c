#include "os/clock.h"

#include <errno.h>
#include <stdio.h>
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

char *os_format_utc(char *out, size_t size, int64_t wall_ns) {
    time_t seconds = (time_t)(wall_ns / UNITS_NS_PER_S);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm) || !strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm)) {
        snprintf(out, size, "-");
    }
    return out;
}

static int64_t real_now(void *context) {
    (void)context;
    return os_now_ns();
}

static void real_sleep(void *context, int64_t t_ns) {
    (void)context;
    os_sleep_until_ns(t_ns);
}

const struct os_clock OS_CLOCK_REAL = {.now_ns = real_now, .sleep_until_ns = real_sleep};
