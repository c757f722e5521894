#include "meter/battery_supply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "meter/platform.h"

static const char CLASS_DIR[] = "/sys/class/power_supply";
enum { MAX_SUPPLIES = 256 };

// No battery of a machine that one carries shows more; a figure in the wrong unit does.
static const double MAX_POWER_W = 500;
static const int64_t MIN_VOLTAGE_UV = 500000, MAX_VOLTAGE_UV = 100000000;
// A battery that rests shows nothing, or the noise of its gauge.
static const double RESTING_W = 0.05;

enum wl_status battery_path(char *out, const char *root, const char *name, const char *file,
                            struct wl_err *err) {
    char inner[256];
    int n = snprintf(inner, sizeof inner, "%s/%s/%s", CLASS_DIR, name, file);
    if (n < 0 || (size_t)n >= sizeof inner) {
        return wl_err_set(err, WL_LIMIT, "path too long: '%.80s'", name);
    }
    return platform_path(out, root, inner, err);
}

static bool supply_line(const char *root, const char *name, const char *file, char *out,
                        size_t size) {
    char inner[256];
    int n = snprintf(inner, sizeof inner, "%s/%s/%s", CLASS_DIR, name, file);
    out[0] = '\0';
    return n > 0 && (size_t)n < sizeof inner && platform_line(root, inner, out, size);
}

static bool has_file(const char *root, const char *name, const char *file) {
    char path[OS_PATH_BYTES];
    return battery_path(path, root, name, file, NULL) == WL_OK && os_exists(path);
}

// --- list ---------------------------------------------------------------------------------------

struct visit {
    const char *root;
    struct battery_supplies *out;
};

static void add_battery(const char *root, const char *name, struct battery_supplies *out) {
    char line[32];
    if (supply_line(root, name, "present", line, sizeof line) && strcmp(line, "0") == 0) {
        return; // an empty bay
    }
    struct battery *battery = &out->battery[out->n++];
    str_copy(battery->name, sizeof battery->name, name);
    battery->has_power = has_file(root, name, "power_now");
    battery->has_current =
        has_file(root, name, "current_now") && has_file(root, name, "voltage_now");
}

static bool visit_supply(void *context, const char *name) {
    struct visit *visit = context;
    struct battery_supplies *out = visit->out;
    char type[32], scope[32];
    if (strlen(name) >= METER_NAME_BYTES ||
        !supply_line(visit->root, name, "type", type, sizeof type)) {
        return true;
    }
    supply_line(visit->root, name, "scope", scope, sizeof scope);
    if (strcmp(scope, "Device") == 0) {
        return true; // a mouse's or a headset's
    }
    if (strcmp(type, "Battery") == 0 && out->n < BATTERY_MAX) {
        add_battery(visit->root, name, out);
    } else if ((strcmp(type, "Mains") == 0 || str_starts_with(type, "USB")) &&
               out->n_mains < BATTERY_MAX_MAINS && has_file(visit->root, name, "online")) {
        str_copy(out->mains[out->n_mains++], METER_NAME_BYTES, name);
    }
    return true;
}

void battery_list(const char *root, struct battery_supplies *out) {
    *out = (struct battery_supplies){0};
    char path[OS_PATH_BYTES];
    struct visit visit = {root, out};
    if (platform_path(path, root, CLASS_DIR, NULL) == WL_OK) {
        os_list_dir(path, MAX_SUPPLIES, visit_supply, &visit, NULL);
    }
}

// --- figures ------------------------------------------------------------------------------------

enum battery_state battery_state_of(const char *status) {
    if (strcmp(status, "Discharging") == 0) {
        return BATTERY_DISCHARGING;
    }
    return strcmp(status, "Charging") == 0 ? BATTERY_CHARGING : BATTERY_RESTING;
}

// Firmware disagrees about the sign (the kernel's manual says negative while discharging), so the
// size counts and the state tells the direction.
bool battery_power_w(const struct battery_figures *figures, double *out) {
    double power_w;
    if (figures->has_power) {
        power_w = fabs((double)figures->power_uw) * 1e-6;
    } else {
        if (figures->voltage_uv < MIN_VOLTAGE_UV || figures->voltage_uv > MAX_VOLTAGE_UV) {
            return false;
        }
        power_w = fabs((double)figures->current_ua) * 1e-6 * (double)figures->voltage_uv * 1e-6;
    }
    if (figures->state == BATTERY_RESTING) {
        *out = 0;
        return power_w <= RESTING_W;
    }
    *out = power_w;
    // 0 W: the firmware has no figure yet, just after the plug was pulled.
    return figures->state == BATTERY_DISCHARGING && power_w > 0 && power_w <= MAX_POWER_W;
}
