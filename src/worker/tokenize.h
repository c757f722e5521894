// TOKENIZE: the tokens of a text, as one TOKENS frame.
#ifndef WATTLAW_WORKER_TOKENIZE_H
#define WATTLAW_WORKER_TOKENIZE_H

#include <jansson.h>

#include "worker/session.h"

enum wl_status tokenize_request(const struct session *session, const struct reply *reply,
                                const json_t *request, json_t **result, struct wl_err *err);

#endif
