// Parts of eye.c: which blocks go, and how many neurons each of the others keeps. The original
// stream goes through all blocks once; what a width costs is told by optimal brain surgeon, in
// squares of the residual stream, which all blocks share.
#ifndef WATTLAW_COMPRESSOR_EYE_PLAN_H
#define WATTLAW_COMPRESSOR_EYE_PLAN_H

#include "compressor/eye_walk.h"

struct eye_plan {
    struct eye_plan_layer {
        bool is_removed;
        uint32_t n_ff;
        double influence;
        double *loss; // [n_ff of the source + 1] after so many neurons have gone; NaN: not known
    } * layers;
    uint32_t n_layer;
};

// UNSUPPORTED when libmtmd's states are not the ones that were computed. LIMIT: cut is out of
// reach.
enum wl_status eye_plan_make(struct eye_plan *plan, struct eye_walk *walk, struct wl_err *err);
void eye_plan_release(struct eye_plan *plan); // zeroed ones are fine

// Weights of the matrices of all blocks, of those that stay with their widths.
uint64_t eye_plan_weights(const struct eye_plan *plan, const struct eye_source *source);
uint64_t eye_plan_weights_before(const struct eye_source *source);

#endif
