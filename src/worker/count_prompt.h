// COUNT of a prompt: a plain text, or messages in the model's chat template with images among them.
// Needs a vocabulary and, for images, an encoder's header; no weights.
#ifndef WATTLAW_WORKER_COUNT_PROMPT_H
#define WATTLAW_WORKER_COUNT_PROMPT_H

#include <jansson.h>

#include "base/err.h"
#include "worker/session.h"

// *result is {n_tokens}. UNSUPPORTED when the number would not be the exact one.
enum wl_status count_prompt(const struct session *session, const json_t *request, json_t **result,
                            struct wl_err *err);

#endif
