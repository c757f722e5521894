// A Raspberry Pi's throttled bits (parse_sensors.h names them): from sysfs where the kernel shows
// them (a file read), else from the firmware's mailbox (about a millisecond).
#ifndef WATTLAW_SAMPLER_THROTTLED_H
#define WATTLAW_SAMPLER_THROTTLED_H

#include <stdbool.h>
#include <stdint.h>

#include "meter/kept_file.h"
#include "meter/vcio.h"

struct throttled {
    struct kept_file file; // path NULL: the mailbox is used
    struct vcio vcio;
};

#define THROTTLED_INIT                                                                             \
    { .file = KEPT_FILE_INIT, .vcio = VCIO_INIT }

// False when neither is there, or the firmware does not know the bits. Close it in any case.
bool throttled_open(struct throttled *throttled, const char *root,
                    const struct meter_device_ops *devices);
bool throttled_read(struct throttled *throttled, uint32_t *bits);
void throttled_close(struct throttled *throttled); // twice is fine

#endif
