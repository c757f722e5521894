// A thread of its own for a source that may block: it reads on and on and keeps what came in a
// bounded ring, so that a slow plug or a chatty USB meter never delays the sampler. When nobody
// takes the readings the oldest are forgotten.
#ifndef WATTLAW_METER_METER_THREAD_H
#define WATTLAW_METER_METER_THREAD_H

#include "meter/source.h"

struct meter_thread;

// `state` is an open source's; only the thread uses it from now until meter_thread_stop.
enum wl_status meter_thread_start(const struct meter_source *source, void *state,
                                  const struct meter_info *info, const struct os_clock *clock,
                                  struct meter_thread **out, struct wl_err *err);
// The oldest reading kept, or is_empty. A failure of the source is returned once its readings have
// been taken.
enum wl_status meter_thread_read(struct meter_thread *thread, struct meter_reading *out,
                                 struct wl_err *err);
// Waits for the read under way (sources bound theirs to a few seconds). NULL is fine.
void meter_thread_stop(struct meter_thread *thread);

#endif
