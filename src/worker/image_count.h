// What a picture costs in tokens, read from the chunks that libmtmd makes of it.
#ifndef WATTLAW_WORKER_IMAGE_COUNT_H
#define WATTLAW_WORKER_IMAGE_COUNT_H

#include <stdint.h>

#include "worker/vision.h"

struct image_count {
    uint32_t image_tokens;
    uint32_t text_tokens; // wrapper: markers of tiles, begin and end of image
    uint32_t positions;   // of the context window, wrapper included
    uint32_t n_views;
    uint64_t effective_pixels; // what the encoder sees; 0 when the family does not tell
    // Sides of the picture that the encoder sees, when it is one view of known shape; else 0.
    uint32_t effective_width;
    uint32_t effective_height;
    uint32_t max_chunk_tokens; // of one chunk: what a non-causal model decodes in one piece
};

// Counts without pixels. INPUT when the sides are 0 or beyond what may be decoded (IMAGE_LIMITS).
enum wl_status image_count_size(const struct vision *vision, uint32_t width, uint32_t height,
                                struct image_count *out, struct wl_err *err);
// Adds one chunk of a picture of width x height (its own chunks and the text between them).
void image_count_add(struct image_count *count, const struct mtmd_input_chunk *chunk);
// After the last chunk: views, pixels, sides.
void image_count_finish(struct image_count *count, const struct vision *vision,
                        const struct mtmd_input_chunk *only_chunk, uint32_t width, uint32_t height);

#endif
