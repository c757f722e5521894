// One entity of Home Assistant as its REST API gives it (GET /api/states/<entity>). PURE.
// The state is text in the entity's own unit; "unavailable" and "unknown" are no value.
#ifndef WATTLAW_METER_HOMEASSISTANT_STATE_H
#define WATTLAW_METER_HOMEASSISTANT_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/plug_json.h"

struct homeassistant_state {
    bool is_energy;     // a counter of joules; else a power
    double value;       // J or W, 0 or more
    double quantum;     // J or W: one unit of the last digit shown
    int64_t reported_s; // when the value was last confirmed, seconds since 1970, server's clock
};

// INPUT: no number, an unknown unit, a negative or impossible value, no time.
enum wl_status homeassistant_parse_state(struct plug_text text, struct homeassistant_state *out,
                                         struct wl_err *err);

// "2026-11-22T14:05:09.123456+00:00" -> seconds since 1970; fractions are dropped.
bool homeassistant_parse_time(const char *text, int64_t *out);

#endif
