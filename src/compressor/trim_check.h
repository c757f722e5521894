// Whether a trimmed vocabulary still writes and reads text as the whole one did, by llama.cpp's own
// tokenizer. Only for trim*.c.
#ifndef WATTLAW_COMPRESSOR_TRIM_CHECK_H
#define WATTLAW_COMPRESSOR_TRIM_CHECK_H

#include "compressor/text.h"
#include "compressor/text_model.h"

// Marks the tokens of the chat template: the names of the roles, the markers.
enum wl_status trim_need_template(const struct text_model *model, bool *needed, struct wl_err *err);

struct trim_check {
    const struct text_model *before, *after;
    const int32_t *new_ids; // [n_before]
    const struct compress_text *text;
    size_t n_held_out; // last sequences, for the two below
    bool (*go_on)(void *context, double share_done);
    void *context;
    double growth;   // of the number of tokens
    double coverage; // share of the old tokens that are there
};

// INPUT: a token that is another now, a text that does not come back as it did, or one all of whose
// tokens are there and that is split otherwise.
enum wl_status trim_check_run(struct trim_check *check, struct wl_err *err);

#endif
