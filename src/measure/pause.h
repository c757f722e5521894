// Waiting that Ctrl-C ends.
#ifndef WATTLAW_MEASURE_PAUSE_H
#define WATTLAW_MEASURE_PAUSE_H

#include <stdint.h>

#include "base/err.h"

// Sleeps until `t_ns` (CLOCK_MONOTONIC). INTERRUPTED at the latest 0.1 s after Ctrl-C.
enum wl_status pause_until(int64_t t_ns, struct wl_err *err);

#endif
