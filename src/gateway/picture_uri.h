// The file of a picture as the address of an image part. PURE.
#ifndef WATTLAW_GATEWAY_PICTURE_URI_H
#define WATTLAW_GATEWAY_PICTURE_URI_H

#include <stddef.h>

#include "base/buf.h"
#include "image/image.h"

// Appends "data:image/png;base64,...". A failure stays in the buffer.
void picture_uri_write(struct buf *out, enum image_format format, const void *bytes, size_t n);

#endif
