#include "base/units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// Three significant digits without an exponent for the magnitudes that occur.
static void three_digits(char *out, size_t size, double value) {
    double magnitude = fabs(value);
    int decimals = value == 0             ? 0
                   : magnitude >= 99.95   ? 0
                   : magnitude >= 9.995   ? 1
                   : magnitude >= 0.9995  ? 2
                   : magnitude >= 0.09995 ? 3
                                          : 4;
    snprintf(out, size, "%.*f", decimals, value);
}

struct scale {
    double factor;
    const char *unit;
};

// The first row whose factor the value reaches once rounded to three digits ("1.00 s", never
// "1000 ms"); rows go from large to small.
static char *scaled(char *out, double value, const struct scale *scales, size_t n) {
    if (!isfinite(value)) {
        memcpy(out, "-", 2);
        return out;
    }
    const struct scale *scale = &scales[n - 1];
    for (size_t i = 0; i < n; i++) {
        if (fabs(value) >= scales[i].factor * 0.9995) {
            scale = &scales[i];
            break;
        }
    }
    if (value == 0) {
        scale = &scales[0];
        for (size_t i = 0; i < n; i++) {
            if (scales[i].factor == 1) {
                scale = &scales[i];
            }
        }
    }
    char number[24];
    three_digits(number, sizeof number, value / scale->factor);
    snprintf(out, UNITS_TEXT_BYTES, "%s %s", number, scale->unit);
    return out;
}

char *units_seconds(char out[UNITS_TEXT_BYTES], double seconds) {
    static const struct scale SCALES[] = {{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}, {1e-9, "ns"}};
    if (seconds >= 5400 && seconds < 1e9) {
        snprintf(out, UNITS_TEXT_BYTES, "%.0f h %02.0f min", floor(seconds / 3600),
                 floor(fmod(seconds, 3600) / 60));
        return out;
    }
    if (seconds >= 100 && seconds < 5400) {
        snprintf(out, UNITS_TEXT_BYTES, "%.0f min %02.0f s", floor(seconds / 60),
                 floor(fmod(seconds, 60)));
        return out;
    }
    return scaled(out, seconds, SCALES, sizeof SCALES / sizeof SCALES[0]);
}

char *units_bytes(char out[UNITS_TEXT_BYTES], double bytes) {
    static const struct scale SCALES[] = {
        {1073741824.0, "GiB"}, {1048576.0, "MiB"}, {1024.0, "KiB"}, {1, "B"}};
    return scaled(out, bytes, SCALES, sizeof SCALES / sizeof SCALES[0]);
}

char *units_energy(char out[UNITS_TEXT_BYTES], double joules) {
    static const struct scale SCALES[] = {
        {1e3, "kWh"}, {1, "Wh"}, {1e-3, "mWh"}, {1e-6, "uWh"}, {1e-9, "nWh"}};
    return scaled(out, joules / UNITS_J_PER_WH, SCALES, sizeof SCALES / sizeof SCALES[0]);
}

char *units_joules(char out[UNITS_TEXT_BYTES], double joules) {
    static const struct scale SCALES[] = {
        {1e6, "MJ"}, {1e3, "kJ"}, {1, "J"}, {1e-3, "mJ"}, {1e-6, "uJ"}};
    return scaled(out, joules, SCALES, sizeof SCALES / sizeof SCALES[0]);
}

char *units_params(char out[UNITS_TEXT_BYTES], double n) {
    static const struct scale SCALES[] = {{1e9, "B"}, {1e6, "M"}, {1e3, "K"}};
    if (!isfinite(n) || !(n > 0)) {
        memcpy(out, "-", 2);
        return out;
    }
    const struct scale *scale = SCALES;
    while (n < scale->factor * 0.9995 && scale < &SCALES[2]) {
        scale++;
    }
    // As people write it: "1.5B", not "1.50B".
    snprintf(out, UNITS_TEXT_BYTES, "%.3g%s", n / scale->factor, scale->unit);
    return out;
}

char *units_number(char out[UNITS_TEXT_BYTES], double value) {
    if (!isfinite(value)) {
        memcpy(out, "-", 2);
        return out;
    }
    if (value != 0 && (fabs(value) < 1e-3 || fabs(value) >= 1e7)) {
        snprintf(out, UNITS_TEXT_BYTES, "%.3g", value);
        return out;
    }
    three_digits(out, UNITS_TEXT_BYTES, value);
    return out;
}

char *units_signed_pct(char out[UNITS_TEXT_BYTES], double ratio) {
    if (!isfinite(ratio)) {
        memcpy(out, "-", 2);
        return out;
    }
    double percent = (ratio - 1) * 100;
    snprintf(out, UNITS_TEXT_BYTES, "%+.1f %%", fabs(percent) < 0.05 ? 0 : percent);
    return out;
}
