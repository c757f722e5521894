// Parts of eye.c: the blocks as they will be. Matrices that were computed anew lie in a scratch
// file, so that one block at a time is in memory.
#ifndef WATTLAW_COMPRESSOR_EYE_NARROW_H
#define WATTLAW_COMPRESSOR_EYE_NARROW_H

#include "compressor/eye_plan.h"

enum { EYE_NOT_STORED = -1 };

struct eye_made_layer {
    bool is_removed, is_changed; // changed: down and down_bias are there
    uint32_t n_ff;
    uint32_t *kept;   // [n_ff] neurons, ascending; NULL: all
    int64_t down;     // where in the store [n_embd][n_ff] begins
    int64_t up;       // [n_ff][n_embd], when healed; else EYE_NOT_STORED: rows of the original
    float *down_bias; // [n_embd]
    float *up_bias;   // [n_ff], when healed; else NULL
    double error_cut, error_repaired, error_healed; // on held-out pictures; NaN: not done
};

struct eye_made {
    struct eye_made_layer *layers;
    uint32_t n_layer;
    struct states store; // rows of one float
    size_t n_stored;
};

enum wl_status eye_narrow_all(struct eye_made *made, struct eye_walk *walk,
                              const struct eye_plan *plan, struct wl_err *err);
void eye_made_release(struct eye_made *made); // zeroed ones are fine

#endif
