// What a person reads off a meter's display and types. PURE.
#ifndef WATTLAW_MEASURE_TYPED_POWER_H
#define WATTLAW_MEASURE_TYPED_POWER_H

#include "base/err.h"
#include "measure/calibrate.h"

// "6.2", "6.2 W", "6200 mW", or the energy of the block's `seconds`: "0.104 Wh", "104 mWh", "374
// J". The sd is that of rounding to the last digit typed; of a power, 1 % more: a display moves
// while it is read. INPUT: not a positive number with one of these units.
enum wl_status typed_power_parse(const char *text, double seconds, struct calibrate_power *out,
                                 struct wl_err *err);

#endif
