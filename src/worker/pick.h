// Choosing the next token from the logits: greedy by default, else llama.cpp's sampler chain.
#ifndef WATTLAW_WORKER_PICK_H
#define WATTLAW_WORKER_PICK_H

#include <jansson.h>
#include <llama.h>
#include <stdbool.h>

#include "worker/session.h"

struct picker {
    struct llama_sampler *chain; // NULL: greedy
    bool ignores_eos;            // end-of-generation tokens are never picked
};

enum wl_status picker_init(struct picker *picker, const json_t *request, struct wl_err *err);
// From the logits of the last position; -1 when there are none.
llama_token picker_next(const struct picker *picker, const struct session *session);
void picker_release(struct picker *picker);

#endif
