// Never run on hardware so far: checked against declarations only (tests/darwin_stubs).
#include "os/clock.h"

#include <errno.h>
#include <libproc.h>
#include <mach/mach_time.h>
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

// There is no sleep until a time, only for a time; the caller's loop looks at the clock again.
void os_sleep_until_ns(int64_t t_ns) {
    int64_t left_ns = t_ns - os_now_ns();
    if (left_ns > 0) {
        struct timespec t = {.tv_sec = left_ns / UNITS_NS_PER_S,
                             .tv_nsec = left_ns % UNITS_NS_PER_S};
        nanosleep(&t, NULL);
    }
}

// The kernel gives CPU times of other processes in ticks of mach_absolute_time: 125/3 ns each on
// Apple silicon, 1 ns on Intel.
static int64_t ns_of_ticks(uint64_t ticks) {
    mach_timebase_info_data_t base;
    if (mach_timebase_info(&base) != KERN_SUCCESS || base.denom == 0) {
        return -1;
    }
    uint64_t whole = ticks / base.denom * base.numer; // this order cannot overflow for centuries
    return (int64_t)(whole + ticks % base.denom * base.numer / base.denom);
}

enum wl_status os_process_cpu_ns(pid_t pid, int64_t *out, struct wl_err *err) {
    struct rusage_info_v0 usage;
    int64_t cpu_ns = -1;
    errno = 0;
    if (proc_pid_rusage(pid, RUSAGE_INFO_V0, (rusage_info_t *)&usage) == 0) {
        cpu_ns = ns_of_ticks(usage.ri_user_time + usage.ri_system_time);
    }
    if (cpu_ns < 0) {
        return wl_err_errno(err, errno ? errno : EIO, "cannot read the CPU time of process %d",
                            (int)pid);
    }
    *out = cpu_ns;
    return WL_OK;
}
