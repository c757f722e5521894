// Parts of eye.c: the original and the new encoder side by side, in libmtmd as users have it.
#ifndef WATTLAW_COMPRESSOR_EYE_JUDGE_H
#define WATTLAW_COMPRESSOR_EYE_JUDGE_H

#include "compressor/eye.h"
#include "compressor/eye_look.h"

// error_projected, cosine and the encode times of *result, on the held-out pictures; NaN without.
enum wl_status eye_judge(struct eye_result *result, const char *before, const char *after,
                         const struct eye_text *text, const struct eye_options *options,
                         struct text_watch *watch, struct wl_err *err);

#endif
