// Global distillation of low-rank changes: a narrowed model learns to give the original's
// next-token distributions again (LoRA, Hu et al. 2021; Kullback-Leibler divergence to the
// original's likeliest tokens, computed once and kept in a scratch file). From file to file: what
// was learnt is merged into the matrices. One block's weights are in memory at a time; the states
// between blocks are kept, those inside of a block are computed again on the way back.
#ifndef WATTLAW_COMPRESSOR_DISTILL_H
#define WATTLAW_COMPRESSOR_DISTILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/text.h"

struct distill_options {
    size_t n_held_out; // the last sequences of the text: never learnt from
    uint32_t rank;     // of each change: 16
    double rate;       // peak, AdamW
    double seconds;    // in all
    size_t max_steps;
    size_t batch_tokens;    // of a step, whole sequences: about so many
    const int32_t *new_ids; // as verify.h has them; NULL: the same vocabulary
    uint64_t seed;
    int32_t threads; // of the teacher
    const char *scratch_dir;
    // A folder in which what was learnt survives an interruption; NULL: nothing does.
    const char *checkpoint_dir;
    bool (*go_on)(void *context, double share_done); // false: stop with INTERRUPTED
    void *context;
};

struct distill_result {
    double kl_before, kl_after; // nats a token, on held-out text
    size_t n_steps, n_tokens;   // learnt from
    double seconds;
    bool is_kept; // false: the held-out divergence did not fall, and nothing was written
};

// `made` is what narrow.h (and so on) wrote of `original`; `out` is written (os/draft.h) only when
// it is better. UNSUPPORTED names an architecture whose way back is not known.
enum wl_status distill_run(const char *original, const char *made, const char *out,
                           const struct compress_text *text, const struct distill_options *options,
                           struct distill_result *result, struct wl_err *err);

#endif
