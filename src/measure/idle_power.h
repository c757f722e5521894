// The power of one source over an idle stretch, bin by bin, as a baseline.
#ifndef WATTLAW_MEASURE_IDLE_POWER_H
#define WATTLAW_MEASURE_IDLE_POWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sampler/sampler.h"
#include "series/baseline.h"

// How long a bin of a long stretch is for this source: 250 ms, or two of its refreshes.
int64_t idle_power_bin_ns(const struct meter_info *info);
// False when the readings give fewer than five bins between t0 and t1. From the energy of each bin,
// in the readings' own times: the rows of the sampler do not know when a streamed reading was
// taken.
bool idle_power_find(struct sampler *sampler, size_t index, const struct meter_info *info,
                     int64_t t0_ns, int64_t t1_ns, struct series_baseline *out);

#endif
