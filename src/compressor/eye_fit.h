// Parts of eye.c: the projector's last matrix, fitted so that the smaller encoder gives the text
// model what the original gave it.
#ifndef WATTLAW_COMPRESSOR_EYE_FIT_H
#define WATTLAW_COMPRESSOR_EYE_FIT_H

#include "compressor/eye_write.h"

// `path`: the smaller encoder with the old matrix, which libmtmd runs on the pictures that are
// learnt from. out->matrix stays NULL when there are too many inputs to be fitted (EYE_MAX_FIT).
enum { EYE_MAX_FIT = 8192 };
enum wl_status eye_fit(struct eye_last *out, const struct eye_source *source, const char *path,
                       const struct eye_record *record, const struct eye_text *text,
                       const struct eye_options *options, struct text_watch *watch,
                       struct wl_err *err);
void eye_last_release(struct eye_last *last); // zeroed ones are fine

#endif
