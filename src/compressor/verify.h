// How far a changed model is from the original, on held-out text: Kullback-Leibler divergence of
// the next-token distributions, agreement of the likeliest token, perplexity of both.
//
// The two are loaded one after the other, so memory is that of one. Of the original's distribution
// the VERIFY_TOP likeliest tokens and the mass of the rest are kept (in a scratch file): the
// divergence is exact on those and one bucket, a lower bound that is tight when the rest is small;
// the mass that fell into the bucket is told. Of small vocabularies (VERIFY_WHOLE_VOCABULARY) all
// is kept, and the divergence is exact.
//
// Judged are tokens of text, those behind images among them; parts of images are only seen.
#ifndef WATTLAW_COMPRESSOR_VERIFY_H
#define WATTLAW_COMPRESSOR_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/text.h"

enum {
    VERIFY_TOP = 64,
    VERIFY_WHOLE_VOCABULARY = 2048,
    VERIFY_MAX_ANSWERS = 64,
    VERIFY_ANSWER_TOKENS = 24, // the longest
};

struct verify_side {
    double nll_mean; // of the true next token, nats; perplexity is exp of it
    double nll_sem;  // standard error over sequences; this and others are NaN for one sequence
};

struct verify_result {
    size_t n;          // judged tokens
    size_t n_left_out; // sequences with a token that is gone
    struct verify_side original, changed;
    double kl_mean, kl_sem, kl_median, kl_p99, kl_max; // nats; sem over sequences
    size_t n_image;                                    // judged tokens of sequences with pictures
    double kl_image;                                   // their mean; NaN when there are none
    double top1_share;                                 // same likeliest token
    double rest_mass;                                  // mean of the bucket
    double lost_mass;                                  // mean of the tokens that are gone
    double log_ppl_ratio, log_ppl_ratio_sem;           // changed - original, paired
    // What both write, always the likeliest token, behind the first half of as many sequences:
    // answers that are the same to the end, and tokens up to the first that differs. NaN: none.
    size_t n_answers;
    double exact_share, same_share;
};

struct verify_options {
    uint32_t skip;   // first tokens of each sequence that are not judged (context to begin with)
    int32_t threads; // 0: as many as there are cores
    const char *scratch_dir;
    // new_ids [old vocabulary]: number of an old token in the changed model, -1 = gone; NULL: the
    // same. Sequences with a token that is gone are left out; for the divergence p is renormalised
    // on what is left, the original's perplexity is that of the file as it is.
    const int32_t *new_ids;
    // What the changed model's own image encoder gives for the same pictures, as text->embeddings;
    // NULL: the same.
    const float *changed_embeddings;
    size_t n_answers;                                // that both write; 0: none
    bool (*go_on)(void *context, double share_done); // false: cancelled
    void *context;
};

// The back ends must be there (worker/backends.h). *is_done is false after a cancel. INPUT: a file
// that does not load, vocabularies or widths that do not fit, a token outside of the vocabulary,
// nothing to judge, or a model whose logits are not numbers. LIMIT: a sequence longer than the
// model knows.
enum wl_status compress_verify(const char *original_path, const char *changed_path,
                               const struct compress_text *text,
                               const struct verify_options *options, struct verify_result *out,
                               bool *is_done, struct wl_err *err);

#endif
