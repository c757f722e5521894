#include "meter/fnirsi_report.h"

#include <stdbool.h>
#include <string.h>

enum { HEAD = 0xAA, TYPE_INFO = 0x03, TYPE_DATA = 0x04, SAMPLE_BYTES = 15, USB_BUS = 3 };
static const double VOLT_PER_DIGIT = 1e-5, AMPERE_PER_DIGIT = 1e-5;
// The largest model takes 28 V and 7 A; the first report after a start may hold several times that.
static const double MAX_VOLTAGE_V = 60, MAX_CURRENT_A = 12;

static const struct fnirsi_model MODELS[] = {
    {0x2E3C, 0x5558, "FNB58", {FNIRSI_HELLO, FNIRSI_STREAM, FNIRSI_STREAM}, 1000000000},
    {0x2E3C, 0x0049, "FNB48S", {FNIRSI_HELLO, FNIRSI_STREAM, FNIRSI_STREAM}, 1000000000},
    {0x0483, 0x003A, "FNB48", {FNIRSI_HELLO, FNIRSI_STREAM, FNIRSI_STAY}, 3000000},
    {0x0483, 0x003B, "C1", {FNIRSI_HELLO, FNIRSI_STREAM, FNIRSI_STAY}, 3000000},
};

const struct fnirsi_model *fnirsi_model_find(uint32_t vendor, uint32_t product) {
    for (size_t i = 0; i < sizeof MODELS / sizeof MODELS[0]; i++) {
        if (MODELS[i].vendor == vendor && MODELS[i].product == product) {
            return &MODELS[i];
        }
    }
    return NULL;
}

// Hexadecimal digits up to `end`, which is stepped over.
static bool take_hex(const char **text, char end, uint32_t *out) {
    uint64_t value = 0;
    size_t n = 0;
    for (; n < 8 && **text != end; n++, (*text)++) {
        char c = **text;
        uint64_t digit = 0;
        if (c >= '0' && c <= '9') {
            digit = (uint64_t)(c - '0');
        } else if (c >= 'A' && c <= 'F') {
            digit = (uint64_t)(c - 'A') + 10;
        } else if (c >= 'a' && c <= 'f') {
            digit = (uint64_t)(c - 'a') + 10;
        } else {
            return false;
        }
        value = value * 16 + digit;
    }
    bool is_whole = n > 0 && **text == end;
    *text += is_whole;
    *out = (uint32_t)value;
    return is_whole;
}

const struct fnirsi_model *fnirsi_model_of_uevent(const char *text) {
    static const char KEY[] = "HID_ID=";
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, KEY, sizeof KEY - 1) != 0) {
            continue;
        }
        const char *at = line + sizeof KEY - 1;
        uint32_t bus, vendor, product;
        bool is_whole = take_hex(&at, ':', &bus) && take_hex(&at, ':', &vendor) &&
                        take_hex(&at, strchr(at, '\n') ? '\n' : '\0', &product);
        return is_whole && bus == USB_BUS ? fnirsi_model_find(vendor, product) : NULL;
    }
    return NULL;
}

uint8_t fnirsi_crc8(const uint8_t *data, size_t len) {
    unsigned crc = 0x42;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 0x80 ? crc << 1 ^ 0x39 : crc << 1;
        }
        crc &= 0xff;
    }
    return (uint8_t)crc;
}

void fnirsi_command_write(uint8_t out[FNIRSI_REPORT_BYTES], enum fnirsi_command command) {
    memset(out, 0, FNIRSI_REPORT_BYTES);
    out[0] = HEAD;
    out[1] = (uint8_t)command;
    out[FNIRSI_REPORT_BYTES - 1] = fnirsi_crc8(out + 1, FNIRSI_REPORT_BYTES - 2);
}

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

enum fnirsi_content fnirsi_report_parse(const uint8_t *report, size_t len,
                                        double power_w[FNIRSI_SAMPLES]) {
    if (len != FNIRSI_REPORT_BYTES || report[0] != HEAD) {
        return FNIRSI_DAMAGED;
    }
    if (report[1] == TYPE_INFO) {
        return FNIRSI_OTHER; // whether its last byte is a checksum is not known
    }
    if (fnirsi_crc8(report + 1, FNIRSI_REPORT_BYTES - 2) != report[FNIRSI_REPORT_BYTES - 1]) {
        return FNIRSI_DAMAGED;
    }
    if (report[1] != TYPE_DATA) {
        return FNIRSI_OTHER;
    }
    double watts[FNIRSI_SAMPLES];
    for (size_t i = 0; i < FNIRSI_SAMPLES; i++) {
        const uint8_t *sample = report + 2 + i * SAMPLE_BYTES;
        double voltage_v = le32(sample) * VOLT_PER_DIGIT;
        double current_a = le32(sample + 4) * AMPERE_PER_DIGIT;
        if (voltage_v > MAX_VOLTAGE_V || current_a > MAX_CURRENT_A) {
            return FNIRSI_DAMAGED;
        }
        watts[i] = voltage_v * current_a;
    }
    memcpy(power_w, watts, sizeof watts);
    return FNIRSI_DATA;
}
