// The chunks of a PNG file, read without decoding anything; PURE.
#ifndef WATTLAW_IMAGE_PNG_WALK_H
#define WATTLAW_IMAGE_PNG_WALK_H

#include "image/codec.h"

enum { PNG_WALK_SIGNATURE_BYTES = 8 };

bool png_walk_is_mine(struct image_bytes file);
// Size from IHDR, orientation from an eXIf chunk wherever it stands. INPUT.
enum wl_status png_walk_header(struct image_bytes file, struct codec_header *out,
                               struct wl_err *err);

#endif
