// Parts of eye.c: what the original encoder makes of the calibration pictures. Every graph that
// libmtmd computes (a picture, or a tile of one) is a view.
#ifndef WATTLAW_COMPRESSOR_EYE_RECORD_H
#define WATTLAW_COMPRESSOR_EYE_RECORD_H

#include "compressor/eye.h"
#include "compressor/eye_look.h"
#include "compressor/eye_source.h"
#include "compressor/states.h"
#include "compressor/text_model.h"

struct eye_record {
    size_t n_views, n_learnt_views; // views of held-out pictures come last
    uint32_t *lengths;              // [n_views] patches
    size_t *firsts;                 // [n_views] rows of `input`
    int32_t *rows, *columns;        // [n_patches]; NULL without rope
    size_t n_patches, longest;
    struct states input;  // [n_patches][n_embd]: what enters block 0
    struct states tokens; // [n_tokens][n_embd_out]: what the text model gets
    size_t n_tokens, n_learnt_tokens;
    float *first_end; // [lengths[0]][n_embd]: behind the last block, of the first view
};

enum wl_status eye_record_make(struct eye_record *record, const struct eye_source *source,
                               const char *path, const struct eye_text *text,
                               const struct eye_options *options, struct text_watch *watch,
                               struct wl_err *err);
void eye_record_release(struct eye_record *record); // zeroed ones are fine

#endif
