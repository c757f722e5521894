// A text model that is only a vocabulary and a kind of positions: enough for libmtmd to count the
// tokens of images when the real text model is not at hand.
#ifndef WATTLAW_WORKER_STAND_IN_H
#define WATTLAW_WORKER_STAND_IN_H

#include <llama.h>

#include "base/err.h"
#include "worker/vision_family.h"

// llama_model_free() it.
enum wl_status stand_in_make(const struct vision_family *family, struct llama_model **out,
                             struct wl_err *err);

#endif
