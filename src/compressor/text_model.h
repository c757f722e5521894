// A text model that libllama has loaded, for its vocabulary and for the logits of chosen positions.
#ifndef WATTLAW_COMPRESSOR_TEXT_MODEL_H
#define WATTLAW_COMPRESSOR_TEXT_MODEL_H

#include <llama.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

// Asks now and then, also while llama.cpp loads or computes, whether to go on. Once stopped it
// stays stopped; what was running then returns INTERRUPTED.
struct text_watch {
    bool (*go_on)(void *context, double share_done); // NULL: never stops
    void *context;
    double share_done;
    int64_t last_ns;
    bool is_stopped;
};
bool text_watch_stops(struct text_watch *watch); // asks at most ten times a second

struct text_model {
    const char *path; // the caller's
    struct text_watch *watch;
    struct llama_model *model;
    const struct llama_vocab *vocab;
    uint32_t n_vocab;
    uint32_t n_embd;           // of a row in place of a token
    uint32_t n_ctx_train;      // 0: the file does not say
    struct llama_context *ctx; // from text_model_start
    struct llama_batch batch;
    uint32_t max_batch;
    uint32_t n_axes;     // positions of a row: 4 for M-RoPE, else 1
    llama_pos *row_axes; // [n_axes][max_batch]
};

enum text_model_part { TEXT_MODEL_VOCABULARY, TEXT_MODEL_WHOLE };

// The back ends must be there (worker/backends.h). INPUT with llama.cpp's reason for a file that is
// none, or does not load. After a failure nothing stays loaded.
enum wl_status text_model_load(struct text_model *model, const char *path,
                               enum text_model_part part, struct text_watch *watch,
                               struct wl_err *err);
// Before anything is computed: up to n_sequences at once, each of up to sequence_length tokens;
// threads 0: as many as there are cores.
enum wl_status text_model_start(struct text_model *model, uint32_t n_sequences,
                                uint32_t sequence_length, int32_t threads, struct wl_err *err);
void text_model_unload(struct text_model *model); // zeroed ones are fine

// A batch is filled token by token (at most max_batch), then run, which empties it.
void text_model_add(struct text_model *model, int32_t token, uint32_t position, uint32_t sequence,
                    bool has_logits);
enum wl_status text_model_run(struct text_model *model, struct wl_err *err);
// Rows in place of tokens, the batch being empty: at most max_batch of sequence 0, run at once.
struct text_rows {
    const float *rows;        // [n][n_embd]
    const int32_t *positions; // of M-RoPE's axes: those of row i are at i, stride + i, ...
    size_t stride;
    uint32_t n;
    bool has_logits; // of the last one
};
enum wl_status text_model_run_rows(struct text_model *model, const struct text_rows *rows,
                                   struct wl_err *err);
// Of the token or row that was number `i` in the batch that ran last: [n_vocab], until the next
// run.
enum wl_status text_model_logits(const struct text_model *model, uint32_t i, const float **out,
                                 struct wl_err *err);
// The sequence begins anew.
void text_model_forget(struct text_model *model, uint32_t sequence);

#endif
