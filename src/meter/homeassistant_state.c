#include "meter/homeassistant_state.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"

// 100 kW for a thousand years; far below 2^63 mJ.
static const double MAX_ENERGY_J = 3e15;

static const struct {
    const char *name;
    double scale; // W or J
    bool is_energy;
} UNITS[] = {
    {"W", 1, false},
    {"mW", 1e-3, false},
    {"kW", 1e3, false},
    {"Wh", UNITS_J_PER_WH, true},
    {"mWh", UNITS_J_PER_WH * 1e-3, true},
    {"kWh", UNITS_J_PER_WH * 1e3, true},
    {"MWh", UNITS_J_PER_WH * 1e6, true},
    {"J", 1, true},
    {"kJ", 1e3, true},
    {"MJ", 1e6, true},
};

// --- time ---------------------------------------------------------------------------------------

// Takes exactly `n` digits.
static bool take_number(const char **text, int n, int *out) {
    int number = 0;
    for (int i = 0; i < n; i++, (*text)++) {
        if (!isdigit((unsigned char)**text)) {
            return false;
        }
        number = number * 10 + (**text - '0');
    }
    *out = number;
    return true;
}

static bool take_char(const char **text, char c) {
    bool is_there = **text == c;
    *text += is_there;
    return is_there;
}

// Days since 1970-01-01 in the Gregorian calendar (years counted from March).
static int64_t days_of(int year, int month, int day) {
    int64_t y = year - (month <= 2);
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

static bool take_zone(const char **text, int *offset_s) {
    int hours, minutes;
    *offset_s = 0;
    if (take_char(text, 'Z')) {
        return true;
    }
    bool is_west = **text == '-';
    if (!(take_char(text, '+') || take_char(text, '-')) || !take_number(text, 2, &hours) ||
        !take_char(text, ':') || !take_number(text, 2, &minutes)) {
        return false;
    }
    *offset_s = (hours * 60 + minutes) * (is_west ? -60 : 60);
    return true;
}

bool homeassistant_parse_time(const char *text, int64_t *out) {
    int year, month, day, hour, minute, second, offset_s;
    if (!take_number(&text, 4, &year) || !take_char(&text, '-') || !take_number(&text, 2, &month) ||
        !take_char(&text, '-') || !take_number(&text, 2, &day) || !take_char(&text, 'T') ||
        !take_number(&text, 2, &hour) || !take_char(&text, ':') ||
        !take_number(&text, 2, &minute) || !take_char(&text, ':') ||
        !take_number(&text, 2, &second)) {
        return false;
    }
    if (take_char(&text, '.')) {
        text += strspn(text, "0123456789");
    }
    bool is_date = year >= 1970 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
    if (!is_date || hour > 23 || minute > 59 || second > 60 || !take_zone(&text, &offset_s) ||
        *text) {
        return false;
    }
    *out = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset_s;
    return true;
}

// --- state --------------------------------------------------------------------------------------

// "12.30" -> 0.01, "12" -> 1.
static double step_of(const char *number) {
    const char *point = strchr(number, '.');
    size_t digits = point ? strspn(point + 1, "0123456789") : 0;
    return pow(10, -(double)(digits < 9 ? digits : 9));
}

static enum wl_status take_value(const json_t *root, struct homeassistant_state *out,
                                 struct wl_err *err) {
    const char *unit =
        wl_json_opt_string(json_object_get(root, "attributes"), "unit_of_measurement", "none");
    const char *state;
    double number;
    enum wl_status status = wl_json_get_string(root, "state", &state, err);
    if (status != WL_OK) {
        return status;
    }
    size_t i = 0, n = sizeof UNITS / sizeof UNITS[0];
    while (i < n && strcmp(UNITS[i].name, unit) != 0) {
        i++;
    }
    if (!str_parse_double(state, &number)) {
        return wl_err_set(err, WL_INPUT, "its state is '%.32s'; expected a number", state);
    }
    if (i == n) {
        return wl_err_set(err, WL_INPUT,
                          "its unit is '%.32s'; expected a power (W, kW) or an energy (Wh, kWh)",
                          unit);
    }
    double value = number * UNITS[i].scale;
    if (!(value >= 0 && value <= (UNITS[i].is_energy ? MAX_ENERGY_J : PLUG_MAX_POWER_W))) {
        return wl_err_set(err, WL_INPUT, "its state is %g %s, which no meter shows", number, unit);
    }
    out->is_energy = UNITS[i].is_energy;
    out->value = value;
    out->quantum = step_of(state) * UNITS[i].scale;
    return WL_OK;
}

// last_reported (2024.4 and newer) moves with every report, last_updated only with a change.
static enum wl_status take_time(const json_t *root, struct homeassistant_state *out,
                                struct wl_err *err) {
    static const char *const KEYS[] = {"last_reported", "last_updated"};
    bool has_time = false;
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        int64_t time_s;
        const char *text = wl_json_opt_string(root, KEYS[i], "");
        if (homeassistant_parse_time(text, &time_s) && (!has_time || time_s > out->reported_s)) {
            out->reported_s = time_s;
            has_time = true;
        }
    }
    return has_time ? WL_OK
                    : wl_err_set(err, WL_INPUT,
                                 "no time in 'last_reported' or 'last_updated'; expected e.g. "
                                 "2026-11-22T14:05:09+00:00");
}

enum wl_status homeassistant_parse_state(struct plug_text text, struct homeassistant_state *out,
                                         struct wl_err *err) {
    json_t *root;
    enum wl_status status = wl_json_parse(text.data, text.len, &root, err);
    if (status != WL_OK) {
        return status;
    }
    *out = (struct homeassistant_state){0};
    status = json_is_object(root) ? take_value(root, out, err)
                                  : wl_err_set(err, WL_INPUT, "expected a JSON object");
    if (status == WL_OK) {
        status = take_time(root, out, err);
    }
    json_decref(root);
    return status;
}
