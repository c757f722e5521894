// Calibration and held-out text as one text, the held-out sequences last, as
// analysis.h wants it.
#ifndef WATTLAW_COMPRESSOR_ANALYSIS_TEXT_H
#define WATTLAW_COMPRESSOR_ANALYSIS_TEXT_H

#include "base/err.h"
#include "compressor/calib.h"

struct analysis_text {
    struct compress_text text;
    size_t n_held_out; // sequences
    // What the text points to.
    int32_t *tokens, *positions;
    uint32_t *lengths;
    float *embeddings;
};

enum wl_status analysis_text_join(struct analysis_text *out, const struct calib *calib,
                                  uint32_t n_embd, struct wl_err *err);
void analysis_text_release(struct analysis_text *text); // zeroed ones are fine

#endif
