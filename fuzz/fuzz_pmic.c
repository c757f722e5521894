// The text that a Raspberry Pi's firmware answers to pmic_read_adc, on arbitrary bytes: no crash,
// no rail twice, and no power that the chip cannot deliver.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "meter/pmic_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size ? size : 1); // of exactly this size, so that one byte too far is seen
    if (!text) {
        return 0;
    }
    if (size) {
        memcpy(text, data, size);
    }
    struct pmic_adc adc;
    pmic_parse(text, size, &adc);
    free(text);
    require(adc.n <= PMIC_MAX_RAILS);
    for (size_t i = 0; i < adc.n; i++) {
        const struct pmic_rail *rail = &adc.rail[i];
        require(strlen(rail->name) > 0 && strlen(rail->name) < PMIC_NAME_BYTES);
        require(pmic_find(&adc, rail->name) == rail);
        require(rail->has_current || rail->has_voltage);
        require(pmic_power_w(rail) >= 0 && pmic_power_w(rail) <= 400);
    }
    return 0;
}
