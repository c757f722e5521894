// From text to tokens, as the model would see it in use: in its chat template where it has one.
#ifndef WATTLAW_COMPRESSOR_CALIB_CHAT_H
#define WATTLAW_COMPRESSOR_CALIB_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/text_model.h"

struct calib_tokens {
    int32_t *ids;
    size_t n, capacity;
};
void calib_tokens_release(struct calib_tokens *tokens); // zeroed ones are fine
enum wl_status calib_tokens_add(struct calib_tokens *tokens, const int32_t *ids, size_t n,
                                struct wl_err *err);

struct calib_chat {
    const struct llama_vocab *vocab;
    const char *chat_template;         // NULL: none that libllama can apply
    int32_t begin;                     // of a text; -1: the model has no such token
    bool adds_begin;                   // in front of every sequence
    int32_t end;                       // of an answer; -1: none
    struct calib_tokens before, after; // what stands around a text
};

// is_plain: around a text there is only its beginning, else it is the message of a user.
enum wl_status calib_chat_init(struct calib_chat *chat, const struct text_model *model,
                               bool is_plain, struct wl_err *err);
void calib_chat_release(struct calib_chat *chat); // zeroed ones are fine

// Each replaces what was in `out`.
// Text without anything around it; special tokens in it are just characters.
enum wl_status calib_chat_text(const struct calib_chat *chat, const char *text, size_t n,
                               struct calib_tokens *out, struct wl_err *err);
// A question up to where the answer begins.
enum wl_status calib_chat_prompt(const struct calib_chat *chat, const char *prompt,
                                 struct calib_tokens *out, struct wl_err *err);
// With its answer, up to the token that ends it.
enum wl_status calib_chat_answered(const struct calib_chat *chat, const char *prompt,
                                   const char *answer, struct calib_tokens *out,
                                   struct wl_err *err);
// Of tokens with an answer, those of the question being the first n_prompt: up to what ends it.
enum wl_status calib_chat_end(const struct calib_chat *chat, size_t n_prompt,
                              struct calib_tokens *tokens, struct wl_err *err);

#endif
