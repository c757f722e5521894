// What a source really does, found by looking: how often it changes, how much it scatters, what a
// reading costs. `doctor` shows it beside what the source says of itself.
#ifndef WATTLAW_MEASURE_SOURCE_CHECK_H
#define WATTLAW_MEASURE_SOURCE_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/meter.h"

struct source_check {
    size_t n_readings, n_gaps, n_changes;
    int64_t period_ns; // median time between changes of the value; 0: it changed less than 3 times
    int64_t read_ns;   // median duration of a read, on the calling thread
    double power_w;    // mean over the look; NaN when unknown
    double noise_sd_w; // of one refresh (gauge) or of 0.1 s (counter), drift taken out; NaN unknown
    int64_t min_window_ns; // below it no figure is worth printing, at this power
};

// Reads for `seconds` as fast as every 0.2 ms. The meter must be nobody else's meanwhile.
// INTERRUPTED on Ctrl-C, or the source's own failure.
enum wl_status source_check(struct meter *meter, double seconds, struct source_check *out,
                            struct wl_err *err);

#endif
