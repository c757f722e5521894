// A request as our own engine can count it: everything that is needed, copied, because the caller's
// request may be gone while the worker's thread is at it.
#ifndef WATTLAW_GATEWAY_COUNTING_JOB_H
#define WATTLAW_GATEWAY_COUNTING_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/client.h"
#include "gateway/upstream.h"
#include "openai/request.h"

struct counting_picture {
    char *uri; // data:
    size_t n_uri;
};

struct counting_prompt {
    struct engine_message *messages; // of a chat; its strings are ours
    size_t n_messages;
    struct counting_picture *pictures; // where the contents have ENGINE_IMAGE_MARKER
    size_t n_pictures;
    char **texts; // of the other endpoints
    size_t n_texts;
    int64_t n_ids; // tokens that were given as such
};

// UNSUPPORTED: what becomes of the request in a server cannot be told from the model's file alone.
enum wl_status counting_prompt_make(const struct openai_request *request, enum upstream_kind kind,
                                    struct counting_prompt *out, struct wl_err *err);
void counting_prompt_release(struct counting_prompt *prompt); // zeroed ones are fine

#endif
