// What smart plugs answer: Shelly (Gen1 and Gen2+) and Tasmota. PURE.
// Forms: https://shelly-api-docs.shelly.cloud,
// https://tasmota.github.io/docs/JSON-Status-Responses. Every parser gives INPUT with the field
// that is wrong; a number is taken only where the device means a power it measured: null, text,
// negative and impossibly large values are refused.
#ifndef WATTLAW_METER_PLUG_JSON_H
#define WATTLAW_METER_PLUG_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { PLUG_PATH_BYTES = 64, PLUG_WORD_BYTES = 32 };

// The largest three-phase meter (120 A per phase) stays below; more is garbage.
#define PLUG_MAX_POWER_W 100e3

struct plug_text {
    const char *data;
    size_t len;
};

struct shelly_component {
    char name[PLUG_WORD_BYTES]; // "switch:0", "meter 0": for people
    char path[PLUG_PATH_BYTES]; // to poll: "/rpc/Switch.GetStatus?id=0", "/meter/0"
};

// The answer to /shelly: 1 for Gen1, the stated number from 2 on.
enum wl_status shelly_parse_generation(struct plug_text text, int *generation, struct wl_err *err);
// The answer to /rpc/Shelly.GetStatus (Gen2+) or /status (Gen1): the part number `id` that meters
// power. NOT_FOUND when no part does.
enum wl_status shelly_find_component(struct plug_text text, int generation, unsigned id,
                                     struct shelly_component *out, struct wl_err *err);
// The answer to a component's path.
enum wl_status shelly_parse_power(struct plug_text text, double *power_w, struct wl_err *err);

struct tasmota_power {
    double power_w;
    double quantum_w; // from the digits: 1, 0.1, 0.01 or 0.001
};

// The answer to "Status 8". `channel` counts from 1; 0 takes the only one there is, and asks for a
// number (USAGE) when there are several. PERMISSION when a password is wanted.
enum wl_status tasmota_parse_power(struct plug_text text, unsigned channel,
                                   struct tasmota_power *out, struct wl_err *err);

#endif
