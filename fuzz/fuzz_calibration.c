// Any machine.json: refused, or sane enough to be applied, and its own JSON gives the same again.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "meter/calibration.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_applied(const struct meter_calibration *item) {
    struct meter_info info = {.max_power_w = 100, .n_channels = 1, .channel = {{.scale = 1e-6}}};
    if (item->is_model) {
        return;
    }
    meter_calibration_apply(item, &info);
    if (!(info.channel[0].scale > 0) || !isfinite(info.offset_w) || !(info.gain_error_rel >= 0) ||
        !(info.offset_error_w >= 0) || info.lag_sd_ns < 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct meter_calibration_set set, again;
    struct wl_err err = {0};
    json_t *json;
    if (wl_json_parse((const char *)data, size, &json, NULL) != WL_OK) {
        return 0;
    }
    if (meter_calibration_from_json(json, &set, &err) == WL_OK) {
        for (size_t i = 0; i < set.n; i++) {
            check_applied(&set.item[i]);
        }
        json_t *first = meter_calibration_to_json(&set);
        if (!first || meter_calibration_from_json(first, &again, &err) != WL_OK) {
            abort();
        }
        json_t *second = meter_calibration_to_json(&again);
        if (!json_equal(first, second)) {
            abort();
        }
        json_decref(first);
        json_decref(second);
    } else if ((err.status != WL_INPUT && err.status != WL_LIMIT) || !err.message[0]) {
        abort();
    }
    json_decref(json);
    return 0;
}
