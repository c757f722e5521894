// Parts of eye*.c: the original and the new encoder side by side, in libmtmd as users have it.
#ifndef WATTLAW_COMPRESSOR_EYE_BOTH_H
#define WATTLAW_COMPRESSOR_EYE_BOTH_H

#include "compressor/eye_look.h"

enum { EYE_BEFORE, EYE_AFTER, EYE_SIDES };

struct eye_both {
    struct eye_look looks[EYE_SIDES];
    struct eye_both_rows {
        float *x; // [n][n_embd_text]
        size_t n, capacity;
    } rows[EYE_SIDES];
    size_t n_tokens; // of the picture that was encoded last
};

// `options` apply to both. Not to be moved while it is open.
enum wl_status eye_both_open(struct eye_both *both, const char *before, const char *after,
                             const struct eye_text *text, const struct eye_look_options *options,
                             struct text_watch *watch, struct wl_err *err);
void eye_both_close(struct eye_both *both); // zeroed ones are fine

// What the text model gets of a picture, from both. FAILED where these are not as many tokens.
enum wl_status eye_both_encode(struct eye_both *both, const char *path, struct wl_err *err);

#endif
