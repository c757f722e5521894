#include "gateway/picture_file.h"

#include <stdbool.h>
#include <stdlib.h>

#include "gateway/picture_uri.h"

enum { PNG_TIMES_JPEG = 4 };

struct encoded {
    enum image_format format;
    unsigned char *bytes;
    size_t n;
};

static enum wl_status fault_of(const struct wl_err *err, const char *input_code,
                               const char *limit_code, struct openai_fault *fault) {
    switch (err->status) {
    case WL_LIMIT: return openai_fault_set(fault, WL_LIMIT, limit_code, NULL, "%s", err->message);
    case WL_UNSUPPORTED: // the client's matter, not the server's
        return openai_fault_set(fault, WL_INPUT, "unsupported_image_media_type", NULL, "%s",
                                err->message);
    case WL_INPUT: return openai_fault_set(fault, WL_INPUT, input_code, NULL, "%s", err->message);
    default: return openai_fault_set(fault, err->status, NULL, NULL, "%s", err->message);
    }
}

enum wl_status picture_file_open(const char *uri, size_t n_uri, const struct image_limits *limits,
                                 struct picture_file *out, struct openai_fault *fault) {
    struct wl_err err;
    *out = (struct picture_file){0};
    if (image_from_data_uri(uri, n_uri, limits, &out->bytes, &out->n, &err)) {
        return fault_of(&err, "invalid_image_url", "image_file_too_large", fault);
    }
    return picture_file_check(out, limits, fault);
}

enum wl_status picture_file_check(struct picture_file *file, const struct image_limits *limits,
                                  struct openai_fault *fault) {
    struct wl_err err;
    if (image_probe(file->bytes, file->n, limits, &file->header, &err)) {
        return fault_of(&err, "image_parse_error", "image_too_large", fault);
    }
    return WL_OK;
}

void picture_file_release(struct picture_file *file) {
    free(file->bytes);
    *file = (struct picture_file){0};
}

static enum wl_status write_uri(enum image_format format, const unsigned char *bytes, size_t n,
                                struct buf *uri, struct openai_fault *fault) {
    picture_uri_write(uri, format, bytes, n);
    return uri->is_failed
               ? openai_fault_set(fault, WL_MEMORY, NULL, NULL,
                                  "no memory for the address of a picture of %zu bytes", n)
               : WL_OK;
}

static enum wl_status encode(const struct image *image, enum image_format format, int quality,
                             struct encoded *out, struct wl_err *err) {
    out->format = format;
    return image_encode(image, format, quality, &out->bytes, &out->n, err);
}

// PNG where it is not much larger.
static enum wl_status encode_png_or_jpeg(const struct image *image, int quality,
                                         struct encoded *out, struct wl_err *err) {
    struct encoded png;
    enum wl_status status = encode(image, IMAGE_PNG, 0, &png, err);
    if (status) {
        return status;
    }
    status = encode(image, IMAGE_JPEG, quality, out, err);
    if (status || out->n < png.n / PNG_TIMES_JPEG) {
        free(png.bytes);
        return status;
    }
    free(out->bytes);
    *out = png;
    return WL_OK;
}

static enum wl_status resize(const struct picture_file *file, const struct image_limits *limits,
                             struct picture_size size, struct image *out, struct wl_err *err) {
    struct image full;
    enum wl_status status =
        image_decode(file->bytes, file->n, limits, size.width, size.height, &full, err);
    if (status) {
        return status;
    }
    if (full.width == size.width && full.height == size.height) {
        *out = full;
        return WL_OK;
    }
    status = image_resize(&full, size.width, size.height, out, err);
    image_release(&full);
    return status;
}

enum wl_status picture_file_shrink(const struct picture_file *file,
                                   const struct image_limits *limits, struct picture_size size,
                                   int jpeg_quality, struct buf *uri, struct openai_fault *fault) {
    struct image image = {0};
    struct encoded made = {0};
    struct wl_err err;
    enum wl_status status = resize(file, limits, size, &image, &err);
    if (!status && file->header.format == IMAGE_PNG) {
        status = encode_png_or_jpeg(&image, jpeg_quality, &made, &err);
    } else if (!status) {
        status = encode(&image, IMAGE_JPEG, jpeg_quality, &made, &err);
    }
    image_release(&image);
    if (status) {
        return fault_of(&err, "image_parse_error", "image_too_large", fault);
    }
    status = write_uri(made.format, made.bytes, made.n, uri, fault);
    free(made.bytes);
    return status;
}

enum wl_status picture_file_wrap(const struct picture_file *file, struct buf *uri,
                                 struct openai_fault *fault) {
    return write_uri(file->header.format, file->bytes, file->n, uri, fault);
}
