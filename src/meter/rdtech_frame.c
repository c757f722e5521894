#include "meter/rdtech_frame.h"

#include <math.h>

enum {
    AT_MODEL = 0,
    AT_VOLTAGE = 2,
    AT_CURRENT = 4,
    AT_POWER = 6,
    AT_TEMPERATURE = 10,
    AT_GROUP = 14,
    AT_GROUPS = 16,
    GROUP_BYTES = 8,
    N_GROUPS = 10,
    AT_END = 128,
    END_MARKER = 0xFFF1,
};

// Steps of the shown volts and amperes are not enough apart that rounding could explain more; the
// rest is for watts that the meter averaged a little differently.
static const double POWER_TOLERANCE_REL = 0.25, POWER_TOLERANCE_W = 0.1;

static const struct rdtech_model MODELS[] = {
    {0x0963, "UM24C", 1e-2, 1e-3, false, false, 5e-3},
    {0x09C9, "UM25C", 1e-3, 1e-4, true, false, 1e-3},
    {0x0D4C, "UM34C", 1e-2, 1e-3, false, true, 5e-3},
};

const struct rdtech_model *rdtech_model_find(uint16_t id) {
    for (size_t i = 0; i < sizeof MODELS / sizeof MODELS[0]; i++) {
        if (MODELS[i].id == id) {
            return &MODELS[i];
        }
    }
    return NULL;
}

static uint16_t be16(const uint8_t *p) {
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p) {
    return (uint32_t)be16(p) << 16 | be16(p + 2);
}

// The UM34C's last byte is the exclusive or of the bytes at these positions.
static bool is_sum_right(const uint8_t *bytes) {
    static const uint8_t POSITIONS[] = {1,  3,  7,  9,  15,  17,  19,  23,  31,  39, 41,
                                        45, 49, 53, 55, 57,  59,  63,  67,  69,  73, 79,
                                        83, 89, 97, 99, 109, 111, 113, 119, 121, 127};
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof POSITIONS; i++) {
        sum ^= bytes[POSITIONS[i]];
    }
    return sum == bytes[RDTECH_FRAME_BYTES - 1];
}

bool rdtech_frame_parse(const uint8_t bytes[RDTECH_FRAME_BYTES], struct rdtech_frame *out) {
    const struct rdtech_model *model = rdtech_model_find(be16(bytes + AT_MODEL));
    if (!model ||
        !(model->has_checksum ? is_sum_right(bytes) : be16(bytes + AT_END) == END_MARKER)) {
        return false;
    }
    double voltage_v = be16(bytes + AT_VOLTAGE) * model->volt_per_digit;
    double current_a = be16(bytes + AT_CURRENT) * model->ampere_per_digit;
    double product_w = voltage_v * current_a;
    double shown_w = be32(bytes + AT_POWER) * 1e-3;
    if (fabs(product_w - shown_w) >
        POWER_TOLERANCE_REL * fmax(product_w, shown_w) + POWER_TOLERANCE_W) {
        return false;
    }
    uint16_t group = be16(bytes + AT_GROUP);
    *out = (struct rdtech_frame){
        .model = model,
        .voltage_v = voltage_v,
        .current_a = current_a,
        .power_w = model->is_product_finer ? product_w : shown_w,
        .temperature_c = be16(bytes + AT_TEMPERATURE),
        .group_mwh =
            group < N_GROUPS ? be32(bytes + AT_GROUPS + GROUP_BYTES * group + GROUP_BYTES / 2) : 0,
    };
    return true;
}

bool rdtech_frame_find(const uint8_t *bytes, size_t n, struct rdtech_frame *out) {
    for (size_t end = n; end >= RDTECH_FRAME_BYTES; end--) {
        if (rdtech_frame_parse(bytes + end - RDTECH_FRAME_BYTES, out)) {
            return true;
        }
    }
    return false;
}
