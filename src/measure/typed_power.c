#include "measure/typed_power.h"

#include <math.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"

enum { MAX_TEXT_BYTES = 64 };
static const double READING_REL_SD = 0.01;
static const double MAX_POWER_W = 1e5;

static const struct unit {
    const char *name;
    double scale; // to W, or to J
    bool is_energy;
} UNITS[] = {{"W", 1, false},
             {"mW", 1e-3, false},
             {"kW", 1e3, false},
             {"Wh", UNITS_J_PER_WH, true},
             {"mWh", UNITS_J_PER_WH * 1e-3, true},
             {"kWh", UNITS_J_PER_WH * 1e3, true},
             {"J", 1, true}};

static const struct unit *find_unit(const char *name) {
    if (!name[0]) {
        return &UNITS[0];
    }
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
        if (strcmp(UNITS[i].name, name) == 0) {
            return &UNITS[i];
        }
    }
    return NULL;
}

// The step of the last digit: 0.1 of "6.2", 1 of "12".
static double step_of(const char *number) {
    const char *point = strchr(number, '.');
    return point ? pow(10, -(double)strspn(point + 1, "0123456789")) : 1;
}

enum wl_status typed_power_parse(const char *text, double seconds, struct calibrate_power *out,
                                 struct wl_err *err) {
    char copy[MAX_TEXT_BYTES], number[MAX_TEXT_BYTES];
    double value;
    *out = (struct calibrate_power){0};
    bool is_whole = str_copy(copy, sizeof copy, text);
    const char *trimmed = str_trim(copy);
    size_t len = strspn(trimmed, "0123456789.");
    str_copy(number, sizeof number, trimmed);
    number[len] = '\0';
    const char *name = trimmed + len + strspn(trimmed + len, " \t");
    const struct unit *unit = find_unit(name);
    if (!is_whole || !unit || !str_parse_double(number, &value) || !(value > 0) || !(seconds > 0)) {
        return wl_err_set(err, WL_INPUT,
                          "expected a power or an energy such as 6.2 W or 0.104 Wh, found '%.40s'",
                          trimmed);
    }
    double scale = unit->scale / (unit->is_energy ? seconds : 1);
    if (!(value * scale <= MAX_POWER_W)) {
        return wl_err_set(err, WL_INPUT, "'%.40s' is %.3g W, expected at most %.0f W", trimmed,
                          value * scale, MAX_POWER_W);
    }
    out->power_w = value * scale;
    out->sd_w = hypot(step_of(number) * scale / sqrt(12),
                      unit->is_energy ? 0 : READING_REL_SD * out->power_w);
    out->is_valid = true;
    return WL_OK;
}
