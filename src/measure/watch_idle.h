// What the machine takes at rest, from a stretch of samples.
#ifndef WATTLAW_MEASURE_WATCH_IDLE_H
#define WATTLAW_MEASURE_WATCH_IDLE_H

#include "measure/watch_track.h"

void watch_idle_none(struct watch_idle *out); // all unknown

// How long a stretch must be so that every source gives a baseline; at most 20 s.
int64_t watch_idle_needed_ns(const struct meter_set *meters);

// From the samples between t0_ns and t1_ns. A source with too few readings there stays unknown.
void watch_idle_find(const struct watch_track *track, int64_t t0_ns, int64_t t1_ns,
                     struct watch_idle *out);

// Without a stretch of rest before the start: looks at the latest `length_ns`, and takes them
// instead of `best` when the machine's load was lower.
void watch_idle_improve(const struct watch_track *track, int64_t length_ns,
                        struct watch_idle *best);

#endif
