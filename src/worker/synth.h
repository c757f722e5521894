// SYNTH: writes a GGUF file of a true shape with random weights, for speed and energy before a
// download. Work per token does not depend on the values.
#ifndef WATTLAW_WORKER_SYNTH_H
#define WATTLAW_WORKER_SYNTH_H

#include <jansson.h>

#include "base/err.h"
#include "worker/frame_io.h"

enum wl_status synth_request(const struct reply *reply, const json_t *request, json_t **result,
                             struct wl_err *err);

#endif
