// From the text or messages of a request to the exact tokens that the engine will compute.
#ifndef WATTLAW_WORKER_PROMPT_H
#define WATTLAW_WORKER_PROMPT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "worker/session.h"

struct prompt {
    llama_token *tokens;
    size_t n_tokens;
    bool has_template; // the model's chat template was applied
};

// Of a RUN request: `prompt` or `messages`, `template`, `n_prompt`.
enum wl_status prompt_from_run(const struct session *session, const json_t *request,
                               struct prompt *prompt, struct wl_err *err);
// Of a TOKENIZE request: `text`, `add_special`, `template`.
enum wl_status prompt_from_tokenize(const struct session *session, const json_t *request,
                                    struct prompt *prompt, struct wl_err *err);
// Of a RUN request with images: the text, in which VISION_MARKER stands for each image. A prompt
// without markers gets them before it (before the last user message), then `after_images`; any
// other number than one each is an INPUT error.
enum wl_status prompt_text_for_images(const struct session *session, const json_t *request,
                                      size_t n_images, const char *after_images, struct buf *text,
                                      bool *has_template, struct wl_err *err);
void prompt_release(struct prompt *prompt);

// Of a COUNT request with `messages`: the text that a server makes of them, VISION_MARKER where the
// contents have it (INPUT unless they have n_images of them). UNSUPPORTED: template_check.h.
enum wl_status prompt_text_to_count(const struct llama_model *model, const json_t *request,
                                    size_t n_images, struct buf *text, struct wl_err *err);
// As a server reads a prompt: special tokens are added and parsed.
enum wl_status prompt_count_tokens(const struct llama_vocab *vocab, const struct buf *text,
                                   size_t *n_tokens, struct wl_err *err);

#endif
