// A model pair as libllama and libmtmd run it, for comparing its figures with those of another
// program: everything as users get it (tokenizer, preprocessing, positions), but an F32 KV cache,
// no flash attention and one thread, so that only the arithmetic of the products is left.
#ifndef WATTLAW_TESTS_WORKER_PARITY_PAIR_H
#define WATTLAW_TESTS_WORKER_PARITY_PAIR_H

#include <llama.h>
#include <mtmd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/image.h"

enum { PAIR_READS_BYTES = 512 };
#define PAIR_MARKER "<__media__>" // stands for the image in a prompt

struct pair {
    struct llama_model *model;
    struct llama_context *context;
    struct mtmd_context *mtmd;
    size_t n_vocab;
    size_t width; // values of an image token
    llama_pos n_past;
};

// What one prompt gave.
struct pair_figures {
    llama_token *before, *after; // token ids around the image; all are before where there is none
    size_t n_before, n_after;
    float *embedding; // n_cells x width
    size_t n_cells;
    float *logits;       // after the last token
    llama_token *answer; // greedy, without the token that ends it
    size_t n_answer;
    char reads[PAIR_READS_BYTES]; // the same as text, for messages
};

// INPUT: llama.cpp does not load a file (its reason is on stderr), UNSUPPORTED: no CPU back end.
enum wl_status pair_open(struct pair *pair, const char *text_path, const char *mmproj_path,
                         struct wl_err *err);
void pair_close(struct pair *pair);

// Decodes a whole prompt from nothing; special tokens are parsed. `image` is NULL where the prompt
// has no marker. With `is_turned` the text half is told rows for columns and the reverse: a fault
// that a comparison must notice. `out` is zeroed first, release it in any case.
enum wl_status pair_ask(struct pair *pair, const char *prompt, const struct image *image,
                        bool is_turned, struct pair_figures *out, struct wl_err *err);
// Goes on from pair_ask: the likeliest tokens, up to `limit` of them or to the token `end`.
enum wl_status pair_answer(struct pair *pair, llama_token end, size_t limit,
                           struct pair_figures *out, struct wl_err *err);
void pair_figures_release(struct pair_figures *figures);

// The likeliest token.
llama_token pair_argmax(const float *logits, size_t n);

#endif
