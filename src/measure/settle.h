// Waiting for meters that show the power late and smeared (an inline USB meter by half a second, a
// plug by some seconds): rest before and after a window, until their readings reach around it.
#ifndef WATTLAW_MEASURE_SETTLE_H
#define WATTLAW_MEASURE_SETTLE_H

#include <stdint.h>

#include "base/err.h"
#include "meter/meter_set.h"
#include "sampler/sampler.h"

// How long after an instant a source may need to show it: lag, smoothing, three polls; at most 30
// s.
int64_t settle_delay_ns(const struct meter_info *info);
// How far a slow source smears a load to both sides: a window widened by this holds all of a
// request's energy above idle (twice meter_reach_ns). 0 for sources that are fast enough, and for
// models; at most 30 s.
int64_t settle_reach_ns(const struct meter_info *info);
// Rests for the longest reach, then until every source has given a reading that lies before now.
// One that gives none in time is left to the window, which then lacks it.
enum wl_status settle_begin(struct sampler *sampler, const struct meter_set *meters,
                            struct wl_err *err);
// Until every source is known up to its reach after `t_ns`, or has had the time for it.
// INTERRUPTED on Ctrl-C.
enum wl_status settle_end(struct sampler *sampler, const struct meter_set *meters, int64_t t_ns,
                          struct wl_err *err);

#endif
