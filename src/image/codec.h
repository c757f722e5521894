// What each format offers to image.c; not for other folders. The bytes are no more than
// limits->max_bytes long, and a header was read and found within the limits before `decode` sees
// them.
#ifndef WATTLAW_IMAGE_CODEC_H
#define WATTLAW_IMAGE_CODEC_H

#include <stdbool.h>

#include "base/buf.h"
#include "image/image.h"

struct image_bytes {
    const unsigned char *data;
    size_t n;
};

// As stored: the orientation is not applied.
struct codec_header {
    uint32_t width, height;
    uint8_t orientation; // EXIF 1..8
};

struct image_codec {
    const char *name;     // "jpeg"
    uint32_t max_divisor; // decodes at 1/1, 1/2, ... 1/max_divisor of the size
    bool (*is_mine)(struct image_bytes file);
    enum wl_status (*read_header)(struct image_bytes file, struct codec_header *out,
                                  struct wl_err *err);
    // Makes a picture of codec_scaled() sides, on white, not turned upright. On failure `out` is
    // whatever image_release takes.
    enum wl_status (*decode)(struct image_bytes file, const struct codec_header *header,
                             uint32_t divisor, struct image *out, struct wl_err *err);
    enum wl_status (*encode)(const struct image *image, int quality, struct buf *out,
                             struct wl_err *err);
};

extern const struct image_codec IMAGE_CODEC_JPEG, IMAGE_CODEC_PNG, IMAGE_CODEC_WEBP;

static inline uint32_t codec_scaled(uint32_t side, uint32_t divisor) {
    return side / divisor + (side % divisor != 0);
}

#endif
