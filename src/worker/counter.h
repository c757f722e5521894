// COUNTER: an image encoder, or only a text model's vocabulary, loaded to count tokens, in a
// fraction of a second whatever the size of the files: no weights are read.
#ifndef WATTLAW_WORKER_COUNTER_H
#define WATTLAW_WORKER_COUNTER_H

#include <jansson.h>

#include "base/err.h"
#include "worker/vision.h"

// Of a COUNTER request; `vision` must be closed.
enum wl_status counter_open(struct vision *vision, const json_t *request, struct wl_err *err);
// The shape and the tokenizer of a text model; its tensors are not read. Freed by the caller.
enum wl_status counter_open_text(const char *path, struct llama_model **out, struct wl_err *err);

#endif
