// Work on whole pictures that every format shares; not for other folders.
#ifndef WATTLAW_IMAGE_PIXELS_H
#define WATTLAW_IMAGE_PIXELS_H

#include "image/image.h"

// Room for width x height pixels of 3 or 4 bytes in out->rgb. INPUT when a side is 0, LIMIT when
// the size does not fit this machine's numbers, MEMORY.
enum wl_status pixels_alloc(struct image *out, uint32_t width, uint32_t height,
                            uint32_t bytes_per_pixel, struct wl_err *err);

// Four bytes a pixel become three, in place; what is left over is given back.
void pixels_rgba_on_white(struct image *image);
// As Adobe's programs store CMYK in JPEG files, and all others after them: 255 is no ink.
void pixels_inverted_cmyk_to_rgb(struct image *image);

// Turns and mirrors a picture so that it is upright; `orientation` is EXIF's, 1..8. On failure the
// picture stays as it was.
enum wl_status pixels_turn_upright(struct image *image, unsigned orientation, struct wl_err *err);

#endif
