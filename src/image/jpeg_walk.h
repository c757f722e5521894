// The markers of a JPEG file, read without decoding anything; PURE.
#ifndef WATTLAW_IMAGE_JPEG_WALK_H
#define WATTLAW_IMAGE_JPEG_WALK_H

#include "image/codec.h"

// As many scans as no program makes (ten are usual in a progressive file): each one goes over
// all pixels, so a small file of many scans would buy hours of work.
enum { JPEG_MAX_SCANS = 64 };

// Size and orientation, from everything before the first scan. INPUT, UNSUPPORTED.
enum wl_status jpeg_walk_header(struct image_bytes file, struct codec_header *out,
                                struct wl_err *err);
// From the start to the end-of-image marker: INPUT when there is none (the file was cut), LIMIT
// above JPEG_MAX_SCANS.
enum wl_status jpeg_walk_scans(struct image_bytes file, struct wl_err *err);

#endif
