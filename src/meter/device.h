// Devices that are not plain files: how a source opens and talks to /dev nodes. Tests put emulators
// here (a socket pair for a HID meter, a function that answers an ioctl); NULL in the environment
// is the real thing. Files under /proc and /sys need none of this: they take the environment's
// root.
#ifndef WATTLAW_METER_DEVICE_H
#define WATTLAW_METER_DEVICE_H

#include <sys/types.h>

struct meter_device_ops {
    void *context;
    // As open(2), ioctl(2): -1 with errno on failure. `path` is the path on the machine,
    // "/dev/...".
    int (*open)(void *context, const char *path, int flags);
    int (*ioctl)(void *context, int fd, unsigned long request, void *argument);
    // As perf_event_open(2) without a group: `attr` is a struct perf_event_attr.
    int (*perf_event_open)(void *context, const void *attr, pid_t pid, int cpu);
};

// The kernel's own calls; on a system without perf events the last one fails with ENOSYS.
extern const struct meter_device_ops METER_DEVICE_REAL;

#endif
