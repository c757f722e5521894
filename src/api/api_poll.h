// Inside api only: a thread that reads a meter while windows are open, so that a gauge is sampled
// and a counter does not wrap unseen while the caller works.
#ifndef WATTLAW_API_API_POLL_H
#define WATTLAW_API_API_POLL_H

#include <stdint.h>

#include "base/err.h"

struct api_poll;

// Calls `read` every period_ns until api_poll_stop, which waits for the call under way.
enum wl_status api_poll_start(void (*read)(void *context), void *context, int64_t period_ns,
                              struct api_poll **out, struct wl_err *err);
void api_poll_stop(struct api_poll *poll); // NULL is fine

#endif
