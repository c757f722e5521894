#include "worker/tokenize.h"

#include <stdlib.h>

#include "worker/prompt.h"

static enum wl_status send_tokens(const struct prompt *prompt, const struct reply *reply,
                                  struct wl_err *err) {
    size_t len = 4 * prompt->n_tokens;
    unsigned char *bytes = malloc(len + 1);
    if (!bytes) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", prompt->n_tokens);
    }
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (unsigned char)((uint32_t)prompt->tokens[i / 4] >> (8 * (i % 4)));
    }
    enum wl_status status = WL_OK;
    if (len > engine_frame_max_bytes(ENGINE_TOKENS)) {
        status = wl_err_set(err, WL_LIMIT, "%zu tokens do not fit a frame", prompt->n_tokens);
    } else {
        frame_write(reply->io, ENGINE_TOKENS, reply->request_id, bytes, len);
    }
    free(bytes);
    return status;
}

enum wl_status tokenize_request(const struct session *session, const struct reply *reply,
                                const json_t *request, json_t **result, struct wl_err *err) {
    struct prompt prompt;
    enum wl_status status = session_require_model(session, err);
    if (status == WL_OK) {
        status = prompt_from_tokenize(session, request, &prompt, err);
    }
    if (status != WL_OK) {
        return status;
    }
    status = send_tokens(&prompt, reply, err);
    if (status == WL_OK) {
        *result = json_pack("{s:I, s:b}", "n_tokens", (json_int_t)prompt.n_tokens, "has_template",
                            prompt.has_template);
    }
    prompt_release(&prompt);
    return status;
}
