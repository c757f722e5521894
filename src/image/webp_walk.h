// The chunks of a WebP file, read without decoding anything; PURE.
#ifndef WATTLAW_IMAGE_WEBP_WALK_H
#define WATTLAW_IMAGE_WEBP_WALK_H

#include "image/codec.h"

// What is shown first: the picture itself, or an animation's first frame.
struct webp_frame {
    struct image_bytes bytes; // what the decoder gets
    uint32_t x, y, width, height;
};

struct webp_layout {
    uint32_t width, height;
    uint8_t orientation;
    struct webp_frame frame; // within the picture
};

bool webp_walk_is_mine(struct image_bytes file);
// INPUT.
enum wl_status webp_walk(struct image_bytes file, struct webp_layout *out, struct wl_err *err);

#endif
