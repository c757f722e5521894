// What FNIRSI USB power meters (FNB48, FNB48S, FNB58, C1) say over HID: commands and reports of 64
// bytes. PURE. Format as two independent open decoders read it (fnirsi-usb-power-data-logger,
// fnirsi-usb-tool); the checksum reproduces the three known commands.
//   report: AA, type, four samples of 15 bytes, 1 unknown byte, CRC-8 over bytes 1..62
//   sample: le32 10 uV, le32 10 uA (unsigned), le16 D+ mV, le16 D- mV, 01, le16 0.1 degC
#ifndef WATTLAW_METER_FNIRSI_REPORT_H
#define WATTLAW_METER_FNIRSI_REPORT_H

#include <stddef.h>
#include <stdint.h>

enum { FNIRSI_REPORT_BYTES = 64, FNIRSI_SAMPLES = 4 };

// Hello and stream start the flow of reports, stay keeps it going.
enum fnirsi_command { FNIRSI_HELLO = 0x81, FNIRSI_STREAM = 0x82, FNIRSI_STAY = 0x83 };

struct fnirsi_model {
    uint16_t vendor, product; // USB
    const char *name;
    enum fnirsi_command start[3];
    int64_t stay_ns; // how often it wants to hear that somebody listens
};

// NULL for a device that is none of these.
const struct fnirsi_model *fnirsi_model_find(uint32_t vendor, uint32_t product);
// From the uevent file of a HID device: its line "HID_ID=0003:00002E3C:00005558" (bus USB).
const struct fnirsi_model *fnirsi_model_of_uevent(const char *text);

uint8_t fnirsi_crc8(const uint8_t *data, size_t len); // polynomial 0x39, start 0x42, no reflection
void fnirsi_command_write(uint8_t out[FNIRSI_REPORT_BYTES], enum fnirsi_command command);

enum fnirsi_content {
    FNIRSI_DATA,    // power_w is filled
    FNIRSI_OTHER,   // the answer to a command: ignored
    FNIRSI_DAMAGED, // short, wrong checksum, or volts and amperes that these meters cannot see
};
// power_w: watts of the four samples, oldest first.
enum fnirsi_content fnirsi_report_parse(const uint8_t *report, size_t len,
                                        double power_w[FNIRSI_SAMPLES]);

#endif
