// The meters of one measurement, opened together: those the user named, or every one that certainly
// meters this machine, best first, with the energy model always last.
#ifndef WATTLAW_METER_METER_SET_H
#define WATTLAW_METER_METER_SET_H

#include "meter/meter.h"
#include "record/record.h"

struct meter_set {
    struct meter *meter[RECORD_MAX_ENERGIES]; // [0] is the primary one
    size_t n;
};

// `names` are comma-separated ("powercap,shelly:plug.local"); a comma that belongs to an argument
// is written "\,". NULL or "auto": all that are available, but for external and slow ones and
// those that read the same counters as one that is open. USAGE, LIMIT, or what meter_open says;
// then nothing is open.
enum wl_status meter_set_open(const struct meter_env *env, const char *names, struct meter_set *out,
                              struct wl_err *err);
void meter_set_close(struct meter_set *set); // a zeroed one is fine

#endif
