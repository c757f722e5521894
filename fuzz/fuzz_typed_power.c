// Anything typed at a block: one clear refusal, or a sane positive power.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "measure/typed_power.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[128];
    size = size < sizeof text ? size : sizeof text - 1;
    memcpy(text, data, size);
    text[size] = '\0';
    struct calibrate_power power;
    struct wl_err err = {0};
    if (typed_power_parse(text, 60, &power, &err) != WL_OK) {
        if (err.status != WL_INPUT || !err.message[0] || power.is_valid) {
            abort();
        }
    } else if (!(power.power_w > 0 && power.power_w <= 1e5) || !(power.sd_w >= 0) ||
               !isfinite(power.sd_w)) {
        abort();
    }
    return 0;
}
