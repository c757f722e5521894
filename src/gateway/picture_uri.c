#include "gateway/picture_uri.h"

#include "base/base64.h"

void picture_uri_write(struct buf *out, enum image_format format, const void *bytes, size_t n) {
    buf_printf(out, "data:image/%s;base64,", image_format_name(format));
    base64_append(out, bytes, n);
}
