// Whether llama.cpp's own tokenizer still does with the trimmed vocabulary what it did. Only for
// trim.c.
#ifndef WATTLAW_COMPRESSOR_TRIM_CHECK_H
#define WATTLAW_COMPRESSOR_TRIM_CHECK_H

#include "compressor/trim.h"

// Texts of all sequences (without those with images), tokenized by both files: they must come back
// from the new one as they were, else INPUT. Fills growth and coverage, of the last n_held_out.
enum wl_status trim_check(const char *in, const char *out, const struct compress_text *text,
                          const struct trim_options *options, struct trim_result *result,
                          struct wl_err *err);

#endif
