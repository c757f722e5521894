#include "image/image.h"

#include <string.h>

const struct image_limits IMAGE_LIMITS = {
    .max_bytes = (size_t)64 << 20, .max_pixels = (uint64_t)64 << 20, .max_side = 32768};

const char *image_format_name(enum image_format format) {
    static const char *const names[] = {"jpeg", "png", "webp"};
    return names[format];
}

static enum wl_status not_yet(struct wl_err *err) {
    return wl_err_set(err, WL_UNSUPPORTED, "pictures are not supported yet");
}

enum wl_status image_probe(const void *bytes, size_t n, const struct image_limits *limits,
                           struct image_header *out, struct wl_err *err) {
    (void)bytes, (void)n, (void)limits;
    memset(out, 0, sizeof *out);
    return not_yet(err);
}

void image_decoded_size(const struct image_header *header, uint32_t enough_width,
                        uint32_t enough_height, uint32_t *width, uint32_t *height) {
    (void)enough_width, (void)enough_height;
    *width = header->width;
    *height = header->height;
}

enum wl_status image_decode(const void *bytes, size_t n, const struct image_limits *limits,
                            uint32_t enough_width, uint32_t enough_height, struct image *out,
                            struct wl_err *err) {
    (void)bytes, (void)n, (void)limits, (void)enough_width, (void)enough_height;
    memset(out, 0, sizeof *out);
    return not_yet(err);
}

void image_release(struct image *image) {
    memset(image, 0, sizeof *image);
}

enum wl_status image_resize(const struct image *in, uint32_t width, uint32_t height,
                            struct image *out, struct wl_err *err) {
    (void)in, (void)width, (void)height;
    memset(out, 0, sizeof *out);
    return not_yet(err);
}

enum wl_status image_encode(const struct image *image, enum image_format format, int quality,
                            unsigned char **bytes, size_t *n, struct wl_err *err) {
    (void)image, (void)format, (void)quality, (void)bytes, (void)n;
    return not_yet(err);
}

enum wl_status image_from_data_uri(const char *uri, size_t n_uri, const struct image_limits *limits,
                                   unsigned char **bytes, size_t *n, struct wl_err *err) {
    (void)uri, (void)n_uri, (void)limits, (void)bytes, (void)n;
    return not_yet(err);
}
