// Parts of eye.c: the new file. What is neither changed nor of another type is copied as bytes;
// the rest is made row by row while it is written.
#ifndef WATTLAW_COMPRESSOR_EYE_WRITE_H
#define WATTLAW_COMPRESSOR_EYE_WRITE_H

#include "compressor/eye_narrow.h"

struct eye_last {  // the projector's last matrix, fitted again
    float *matrix; // [n_out][n_in]; NULL: as it is
    float *bias;   // [n_out]; NULL: as it is, or the family has none
    size_t n_in, n_out;
};

// `made` NULL: no block is changed. `type` GGML_TYPE_COUNT: as they are.
enum wl_status eye_write(const struct eye_source *source, const struct eye_made *made,
                         const struct eye_last *last, enum ggml_type type, const char *out,
                         struct text_watch *watch, struct wl_err *err);

#endif
