// Pictures from outside (JPEG, PNG, WebP), decoded within bounds into 8-bit RGB. PURE: bytes in,
// pixels out; the header is read and checked before anything is decoded.
#ifndef WATTLAW_IMAGE_IMAGE_H
#define WATTLAW_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum image_format { IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP };
const char *image_format_name(enum image_format format); // "jpeg", "png", "webp"

// Upright: width and height are those after the EXIF orientation was applied.
struct image_header {
    enum image_format format;
    uint32_t width, height;
    uint8_t orientation; // EXIF 1..8 as stored; 1 when there is none
};

struct image_limits {
    size_t max_bytes;    // of the file
    uint64_t max_pixels; // width x height
    uint32_t max_side;
};
// 64 MiB, 64 Mpixel, 32768: what a large camera makes, and no more.
extern const struct image_limits IMAGE_LIMITS;

struct image {
    uint32_t width, height;
    unsigned char *rgb; // rows from the top, 3 bytes a pixel, no padding
};

// Reads the header only. INPUT: not one of the three formats, damaged; LIMIT: beyond `limits`
// (NULL = IMAGE_LIMITS); UNSUPPORTED: JPEG that is lossless, arithmetic-coded or has 12 bits.
enum wl_status image_probe(const void *bytes, size_t n, const struct image_limits *limits,
                           struct image_header *out, struct wl_err *err);

// What image_decode would make with these arguments, without decoding: the sides of the picture.
void image_decoded_size(const struct image_header *header, uint32_t enough_width,
                        uint32_t enough_height, uint32_t *width, uint32_t *height);

// Upright pixels. Where the format can do it cheaply (JPEG: scaling in the DCT by 1/2, 1/4, 1/8), a
// smaller picture is made as long as it is at least enough_width x enough_height; 0 = full size.
// Transparent pixels are put on white, grey becomes RGB, 16 bits become 8, CMYK becomes RGB,
// animations give their first frame. Colour profiles and gamma are not applied. A file that was cut
// is refused, not half decoded. Failures as image_probe, and MEMORY. `out` is zeroed first.
enum wl_status image_decode(const void *bytes, size_t n, const struct image_limits *limits,
                            uint32_t enough_width, uint32_t enough_height, struct image *out,
                            struct wl_err *err);
void image_release(struct image *image); // zeroed ones are fine

// Antialiased bicubic (Catmull-Rom, a = -0.5, support widened by the reduction), as Pillow does it:
// within 1 grey level of it. LIMIT, MEMORY.
enum wl_status image_resize(const struct image *in, uint32_t width, uint32_t height,
                            struct image *out, struct wl_err *err);

// *bytes is malloc'd. `quality` 1..100 for JPEG and WebP; 100 WebP is lossless; ignored by PNG.
enum wl_status image_encode(const struct image *image, enum image_format format, int quality,
                            unsigned char **bytes, size_t *n, struct wl_err *err);

// The bytes of "data:image/...;base64,...": INPUT when it is no such URI or the base64 is damaged,
// LIMIT beyond limits->max_bytes. *bytes is malloc'd. Strict: the standard
// alphabet, padded, no white space, no %-escapes. The media type is not believed: see image_probe.
enum wl_status image_from_data_uri(const char *uri, size_t n_uri, const struct image_limits *limits,
                                   unsigned char **bytes, size_t *n, struct wl_err *err);

#endif
