#include "meter/device.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "os/perf.h"

static int real_open(void *context, const char *path, int flags) {
    (void)context;
    return open(path, flags | O_CLOEXEC);
}

static int real_ioctl(void *context, int fd, unsigned long request, void *argument) {
    (void)context;
    return ioctl(fd, request, argument);
}

static int real_perf_event_open(void *context, const void *attr, pid_t pid, int cpu) {
    (void)context;
    return os_perf_event_open(attr, pid, cpu);
}

const struct meter_device_ops METER_DEVICE_REAL = {
    .open = real_open, .ioctl = real_ioctl, .perf_event_open = real_perf_event_open};
