// A known pattern of work, so that a meter's lag can be found: three pulses of all cores.
#ifndef WATTLAW_MEASURE_PULSE_H
#define WATTLAW_MEASURE_PULSE_H

#include "base/err.h"

// How long pulse_run takes.
#define PULSE_SECONDS 23.1

// Idle 2 s, then busy 3.1, idle 2.9, busy 3.3, idle 3.1, busy 2.7, idle 6 s: no whole multiples of
// a meter's period, so that the steps fall at different phases. `n_threads` threads spin on
// arithmetic. INTERRUPTED on Ctrl-C.
enum wl_status pulse_run(int n_threads, struct wl_err *err);

#endif
