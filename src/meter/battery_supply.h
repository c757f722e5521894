// The machine's batteries under /sys/class/power_supply: which there are, and what one shows.
// Only `list` does I/O.
#ifndef WATTLAW_METER_BATTERY_SUPPLY_H
#define WATTLAW_METER_BATTERY_SUPPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/meter.h"

enum { BATTERY_MAX = 4, BATTERY_MAX_MAINS = 8 };

struct battery {
    char name[METER_NAME_BYTES]; // "BAT0"
    bool has_power;              // power_now; else current_now and voltage_now
    bool has_current;
};

struct battery_supplies {
    struct battery battery[BATTERY_MAX];
    size_t n;
    char mains[BATTERY_MAX_MAINS][METER_NAME_BYTES]; // supplies with `online`: "AC"
    size_t n_mains;
};

enum battery_state {
    BATTERY_DISCHARGING,
    BATTERY_CHARGING,
    BATTERY_RESTING, // full, not charging, unknown: fine beside another one that discharges
};

// What one battery shows at one moment, as the kernel's files have it.
struct battery_figures {
    enum battery_state state;
    bool has_power;
    int64_t power_uw;
    int64_t current_ua;
    int64_t voltage_uv;
};

// Batteries of the machine itself (not of a mouse); n = 0 when there are none.
void battery_list(const char *root, struct battery_supplies *out);
enum battery_state battery_state_of(const char *status);
// Watts out of the battery. False when the figures are not what a battery in that state can show.
bool battery_power_w(const struct battery_figures *figures, double *out);
// <root>/sys/class/power_supply/<name>/<file>
enum wl_status battery_path(char *out, const char *root, const char *name, const char *file,
                            struct wl_err *err);

#endif
