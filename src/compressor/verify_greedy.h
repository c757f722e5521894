// Parts of verify.c: does the changed model write what the original writes? The original goes on
// from the first half of some sequences, always with its likeliest token. The changed one writes
// the same exactly where its likeliest token is the original's at every step behind the same
// beginning, so it only has to read: one pass instead of one for each token.
#ifndef WATTLAW_COMPRESSOR_VERIFY_GREEDY_H
#define WATTLAW_COMPRESSOR_VERIFY_GREEDY_H

#include "compressor/text.h"
#include "compressor/text_model.h"
#include "compressor/verify.h"
#include "compressor/verify_record.h"

struct verify_answer {
    const int32_t *prompt; // in the text
    uint32_t n_prompt;
    int32_t written[VERIFY_ANSWER_TOKENS]; // by the original
    uint32_t n_written, n_same;            // n_same: up to the first that differs
};

struct verify_greedy {
    struct verify_answer answers[VERIFY_MAX_ANSWERS];
    size_t n;
};

// Of the sequences of text alone that are judged, evenly chosen ones. Those that are too short for
// a prompt and an answer are passed over.
void verify_greedy_choose(struct verify_greedy *greedy, const struct compress_text *text,
                          const bool *is_left_out, size_t n_wanted);
// With sequences of the longest one's length (text_model_start).
enum wl_status verify_greedy_write(struct verify_greedy *greedy, struct text_model *original,
                                   struct wl_err *err);
enum wl_status verify_greedy_follow(struct verify_greedy *greedy, struct text_model *changed,
                                    const struct verify_shape *shape, struct wl_err *err);
// n_answers, exact_share and same_share of *out; NaN without answers.
void verify_greedy_result(const struct verify_greedy *greedy, struct verify_result *out);

#endif
