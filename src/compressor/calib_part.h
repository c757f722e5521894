// Sequences, collected up to an exact number of tokens. Pictures are in them as rows until all is
// in its order (calib_image_rows.h).
#ifndef WATTLAW_COMPRESSOR_CALIB_PART_H
#define WATTLAW_COMPRESSOR_CALIB_PART_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "compressor/calib.h"

struct calib_origin {
    enum calib_source source;
    uint32_t document;
};

// Room for so many tokens.
enum wl_status calib_part_init(struct calib_part *part, size_t max_tokens, struct wl_err *err);
void calib_part_release(struct calib_part *part); // zeroed ones are fine

// Cuts the sequence so that the part has at most `end` tokens, and never just one less. A sequence
// of fewer than two tokens is passed over.
void calib_part_add(struct calib_part *part, struct calib_origin origin, const int32_t *tokens,
                    size_t n, size_t end);
enum wl_status calib_part_shuffle(struct calib_part *part, struct rng *rng, struct wl_err *err);

#endif
