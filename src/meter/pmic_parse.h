// The answer to the firmware command `pmic_read_adc`: currents and voltages of the regulators of a
// Raspberry Pi 5's power chip (DA9091). One line each, currents first:
//       VDD_CORE_A current(7)=3.21000000A
//       VDD_CORE_V volt(15)=0.89745940V
// Numbers and order of the two lists differ, so they are paired by name. PURE.
#ifndef WATTLAW_METER_PMIC_PARSE_H
#define WATTLAW_METER_PMIC_PARSE_H

#include <stdbool.h>
#include <stddef.h>

enum { PMIC_MAX_RAILS = 24, PMIC_NAME_BYTES = 16 };

struct pmic_rail {
    char name[PMIC_NAME_BYTES]; // "VDD_CORE"
    bool has_current, has_voltage;
    bool is_doubtful; // one of the two was said twice
    double current_a; // not negative
    double voltage_v;
};

struct pmic_adc {
    size_t n;
    struct pmic_rail rail[PMIC_MAX_RAILS];
    size_t n_bad; // lines that make no sense, or too many
};

// Lines that make no sense (cut off, garbled, no plausible number) are left out and counted.
void pmic_parse(const char *text, size_t len, struct pmic_adc *out);
// NULL when there is no such rail.
const struct pmic_rail *pmic_find(const struct pmic_adc *adc, const char *name);
// Current and voltage were both read, once.
bool pmic_is_complete(const struct pmic_rail *rail);
double pmic_power_w(const struct pmic_rail *rail);

#endif
