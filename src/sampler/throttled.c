#include "sampler/throttled.h"

#include <stdio.h>

#include "base/str.h"
#include "meter/platform.h"
#include "sampler/parse_sensors.h"

enum { MAX_DEVICES = 4096 };

struct search {
    struct throttled *throttled;
    const char *root;
};

// The firmware's device lies in that of the chip: "soc" on a Pi 4, with its address behind it on a
// Pi 5 ("soc@107c000000").
static bool visit_device(void *context, const char *name) {
    struct search *search = context;
    char inner[256], path[OS_PATH_BYTES];
    if (!str_starts_with(name, "soc")) {
        return true;
    }
    snprintf(inner, sizeof inner, "/sys/devices/platform/%.64s/%.64s:firmware/get_throttled", name,
             name);
    return platform_path(path, search->root, inner, NULL) != WL_OK ||
           kept_file_open(&search->throttled->file, path, NULL) != WL_OK;
}

bool throttled_open(struct throttled *throttled, const char *root,
                    const struct meter_device_ops *devices) {
    *throttled = (struct throttled)THROTTLED_INIT;
    struct search search = {throttled, root};
    char path[OS_PATH_BYTES];
    uint32_t bits;
    if (platform_path(path, root, "/sys/devices/platform", NULL) == WL_OK) {
        os_list_dir(path, MAX_DEVICES, visit_device, &search, NULL);
    }
    return throttled->file.path || (vcio_open(&throttled->vcio, root, devices, NULL) == WL_OK &&
                                    throttled_read(throttled, &bits));
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
