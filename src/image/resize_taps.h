// Which pixels of a line make each pixel of a longer or shorter one, and how much of each; PURE.
// Not for other folders.
#ifndef WATTLAW_IMAGE_RESIZE_TAPS_H
#define WATTLAW_IMAGE_RESIZE_TAPS_H

#include <stdint.h>

#include "base/err.h"

// Weights are whole numbers that add up to 2^22: the largest sum of weighted bytes, with the
// negative lobes of the curve, stays below 2^31.
enum { RESIZE_WEIGHT_BITS = 22 };

struct resize_taps {
    uint32_t n_out;
    uint32_t stride; // weights per output pixel in `weight`, those not used included
    uint32_t *first; // [n_out] input pixel
    uint32_t *n;     // [n_out] input pixels from there
    int32_t *weight; // [n_out * stride]
};

// Both sides are 1 to IMAGE_LIMITS.max_side. MEMORY.
enum wl_status resize_taps_init(struct resize_taps *taps, uint32_t n_in, uint32_t n_out,
                                struct wl_err *err);
void resize_taps_release(struct resize_taps *taps);

#endif
