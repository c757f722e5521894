#include "sampler/throttled.h"

#include "meter/platform.h"
#include "sampler/parse_sensors.h"

static const char SYSFS_FILE[] = "/sys/devices/platform/soc/soc:firmware/get_throttled";

bool throttled_open(struct throttled *throttled, const char *root,
                    const struct meter_device_ops *devices) {
    *throttled = (struct throttled)THROTTLED_INIT;
    char path[OS_PATH_BYTES];
    uint32_t bits;
    if (platform_path(path, root, SYSFS_FILE, NULL) == WL_OK &&
        kept_file_open(&throttled->file, path, NULL) == WL_OK) {
        return true;
    }
    return vcio_open(&throttled->vcio, root, devices, NULL) == WL_OK &&
           throttled_read(throttled, &bits);
}

bool throttled_read(struct throttled *throttled, uint32_t *bits) {
    char text[64];
    size_t len;
    if (throttled->file.path) {
        return kept_file_read(&throttled->file, text, sizeof text, &len) == 0 &&
               parse_throttled(text, bits);
    }
    return vcio_gencmd(&throttled->vcio, "get_throttled", text, sizeof text, NULL) == WL_OK &&
           parse_throttled(text, bits);
}

void throttled_close(struct throttled *throttled) {
    kept_file_release(&throttled->file);
    vcio_close(&throttled->vcio);
}
