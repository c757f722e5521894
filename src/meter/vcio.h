// The mailbox of a Raspberry Pi's firmware: the command that `vcgencmd` sends, without the program.
// Used for the rails of the Pi 5's power chip and for the throttled bits. Format: the Raspberry Pi
// kernel's drivers/char/broadcom/vcio.c and raspberrypi/utils (vcgencmd).
#ifndef WATTLAW_METER_VCIO_H
#define WATTLAW_METER_VCIO_H

#include <stddef.h>

#include "base/err.h"
#include "meter/device.h"

enum {
    VCIO_TEXT_BYTES = 4096,   // room for a command or an answer, its terminator included
    VCIO_BUFFER_WORDS = 1031, // of 32 bits: 6 in front of the text, the end tag behind it
};

struct vcio {
    const struct meter_device_ops *devices;
    const char *path; // the node that was opened
    int fd;           // -1: not open
};

#define VCIO_INIT                                                                                  \
    { .devices = NULL, .path = NULL, .fd = -1 }

// Opens /dev/vcio_gencmd (which allows nothing but such commands), else /dev/vcio. `devices` NULL
// is the machine's own, and then NOT_FOUND when `root` is another machine's tree. NOT_FOUND: no
// node. PERMISSION. The struct may be closed in any case.
enum wl_status vcio_open(struct vcio *vcio, const char *root,
                         const struct meter_device_ops *devices, struct wl_err *err);
// One command and its terminated answer. About a millisecond; the kernel gives up
// on a silent firmware after a second. PERMISSION: the node does not allow it. UNSUPPORTED: the
// firmware does not know the command. INPUT: the answer makes no sense. LIMIT: it does not fit into
// `size`. IO: anything else (the device is gone).
enum wl_status vcio_gencmd(const struct vcio *vcio, const char *command, char *out, size_t size,
                           struct wl_err *err);
void vcio_close(struct vcio *vcio); // twice is fine

#endif
