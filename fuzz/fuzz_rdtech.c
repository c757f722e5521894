// Bytes of a serial line with answers of 130 bytes somewhere among them: what is taken for one has
// a known model, and power that fits its volts and amperes.
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "meter/rdtech_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct rdtech_frame frame = {0};
    if (rdtech_frame_find(data, size, &frame)) {
        require(size >= RDTECH_FRAME_BYTES);
        require(frame.model && rdtech_model_find(frame.model->id) == frame.model);
        require(isfinite(frame.power_w) && frame.power_w >= 0);
        require(frame.voltage_v <= 656 && frame.current_a <= 66);
        double product_w = frame.voltage_v * frame.current_a;
        require(fabs(frame.power_w - product_w) <= 0.11 + 0.26 * fmax(frame.power_w, product_w));
    }
    return 0;
}
