// The part of clock.h that every POSIX system shares.
#include "os/clock.h"

#include <stdio.h>
#include <time.h>

#include "base/units.h"

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
