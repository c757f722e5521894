// What RuiDeng USB meters (UM24C, UM25C, UM34C) answer over Bluetooth serial: 130 bytes,
// big-endian, to the request F0. PURE. Offsets and checks as libsigrok's rdtech-um reads them:
//   0 u16 model   2 u16 volts   4 u16 amperes   6 u32 mW   10 u16 degC   16+8g mAh, 20+8g mWh of
//   group g (14 is the chosen one)   106 u32 mWh of the recorder   128 the end marker or checksum
#ifndef WATTLAW_METER_RDTECH_FRAME_H
#define WATTLAW_METER_RDTECH_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RDTECH_FRAME_BYTES = 130, RDTECH_REQUEST = 0xF0 };

struct rdtech_model {
    uint16_t id; // first word of every answer
    const char *name;
    double volt_per_digit, ampere_per_digit;
    // The UM25C shows 1 mV and 0.1 mA: their product is finer than its mW. The others show 10 mV
    // and 1 mA: there the mW field is never worse.
    bool is_product_finer;
    bool has_checksum; // else the end marker FF F1
    double quantum_w;  // of the power taken, at 5 V
};

struct rdtech_frame {
    const struct rdtech_model *model;
    double voltage_v, current_a;
    double power_w;
    double temperature_c;
    uint32_t group_mwh; // the chosen group's counter; it steps by 3.6 J
};

const struct rdtech_model *rdtech_model_find(uint16_t id); // NULL: none of these
// False for bytes that are no answer: model, end marker or checksum wrong, or volts, amperes and
// watts that do not belong together (most models have no checksum).
bool rdtech_frame_parse(const uint8_t bytes[RDTECH_FRAME_BYTES], struct rdtech_frame *out);
// The newest answer among bytes that may begin or end in the middle of one.
bool rdtech_frame_find(const uint8_t *bytes, size_t n, struct rdtech_frame *out);

#endif
