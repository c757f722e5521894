#include "image/image.h"

#include <stdlib.h>
#include <string.h>

#include "image/codec.h"
#include "image/pixels.h"

const struct image_limits IMAGE_LIMITS = {
    .max_bytes = (size_t)64 << 20, .max_pixels = (uint64_t)64 << 20, .max_side = 32768};

static const struct image_codec *const CODECS[] = {
    [IMAGE_JPEG] = &IMAGE_CODEC_JPEG,
    [IMAGE_PNG] = &IMAGE_CODEC_PNG,
    [IMAGE_WEBP] = &IMAGE_CODEC_WEBP,
};
enum { N_CODECS = sizeof CODECS / sizeof CODECS[0] };

// What people have as well, so that a refusal can call it by its name.
static const struct {
    const char *name;
    size_t at;
    const char *magic;
} OTHERS[] = {{"GIF", 0, "GIF8"},      {"BMP", 0, "BM"},         {"TIFF", 0, "II*"},
              {"TIFF", 0, "MM"},       {"HEIC", 4, "ftyphei"},   {"HEIC", 4, "ftypmif1"},
              {"AVIF", 4, "ftypavif"}, {"JPEG XL", 4, "JXL "},   {"JPEG XL", 0, "\xff\x0a"},
              {"SVG", 0, "<svg"},      {"XML or SVG", 0, "<?x"}, {"PDF", 0, "%PDF"}};

const char *image_format_name(enum image_format format) {
    return CODECS[format]->name;
}

static enum wl_status refuse_format(struct image_bytes file, struct wl_err *err) {
    for (size_t i = 0; i < sizeof OTHERS / sizeof OTHERS[0]; i++) {
        size_t len = strlen(OTHERS[i].magic);
        if (file.n >= OTHERS[i].at + len &&
            memcmp(file.data + OTHERS[i].at, OTHERS[i].magic, len) == 0) {
            return wl_err_set(err, WL_INPUT,
                              "the picture is a %s file: only JPEG, PNG and WebP are read, so "
                              "convert it first",
                              OTHERS[i].name);
        }
    }
    return wl_err_set(err, WL_INPUT, "not a JPEG, PNG or WebP picture (%zu bytes)", file.n);
}

static enum wl_status check_limits(const struct codec_header *header,
                                   const struct image_limits *limits, struct wl_err *err) {
    if (header->width == 0 || header->height == 0) {
        return wl_err_set(err, WL_INPUT, "damaged picture: its header says %u x %u pixels",
                          header->width, header->height);
    }
    if (header->width > limits->max_side || header->height > limits->max_side) {
        return wl_err_set(err, WL_LIMIT, "the picture is %u x %u pixels; a side may have %u",
                          header->width, header->height, limits->max_side);
    }
    if ((uint64_t)header->width * header->height > limits->max_pixels) {
        return wl_err_set(err, WL_LIMIT, "the picture is %u x %u pixels; %llu are the most in all",
                          header->width, header->height, (unsigned long long)limits->max_pixels);
    }
    return WL_OK;
}

static enum wl_status read_header(struct image_bytes file, const struct image_limits *limits,
                                  enum image_format *format, struct codec_header *out,
                                  struct wl_err *err) {
    limits = limits ? limits : &IMAGE_LIMITS;
    if (file.n > limits->max_bytes) {
        return wl_err_set(err, WL_LIMIT, "the picture's file has %zu bytes; %zu are the most",
                          file.n, limits->max_bytes);
    }
    for (int i = 0; i < N_CODECS; i++) {
        if (CODECS[i]->is_mine(file)) {
            *format = (enum image_format)i;
            *out = (struct codec_header){.orientation = 1};
            enum wl_status status = CODECS[i]->read_header(file, out, err);
            return status ? status : check_limits(out, limits, err);
        }
    }
    return refuse_format(file, err);
}

static bool is_on_its_side(uint8_t orientation) {
    return orientation >= 5;
}

enum wl_status image_probe(const void *bytes, size_t n, const struct image_limits *limits,
                           struct image_header *out, struct wl_err *err) {
    memset(out, 0, sizeof *out);
    struct codec_header header = {0};
    enum image_format format = IMAGE_JPEG; // until it is known
    enum wl_status status =
        read_header((struct image_bytes){bytes, n}, limits, &format, &header, err);
    if (status) {
        return status;
    }
    bool is_swapped = is_on_its_side(header.orientation);
    *out = (struct image_header){.format = format,
                                 .width = is_swapped ? header.height : header.width,
                                 .height = is_swapped ? header.width : header.height,
                                 .orientation = header.orientation};
    return WL_OK;
}

static uint32_t divisor_for(enum image_format format, uint32_t width, uint32_t height,
                            uint32_t enough_width, uint32_t enough_height) {
    if (enough_width == 0 || enough_height == 0) {
        return 1;
    }
    uint32_t divisor = 1;
    while (divisor * 2 <= CODECS[format]->max_divisor &&
           codec_scaled(width, divisor * 2) >= enough_width &&
           codec_scaled(height, divisor * 2) >= enough_height) {
        divisor *= 2;
    }
    return divisor;
}

void image_decoded_size(const struct image_header *header, uint32_t enough_width,
                        uint32_t enough_height, uint32_t *width, uint32_t *height) {
    uint32_t divisor =
        divisor_for(header->format, header->width, header->height, enough_width, enough_height);
    *width = codec_scaled(header->width, divisor);
    *height = codec_scaled(header->height, divisor);
}

enum wl_status image_decode(const void *bytes, size_t n, const struct image_limits *limits,
                            uint32_t enough_width, uint32_t enough_height, struct image *out,
                            struct wl_err *err) {
    memset(out, 0, sizeof *out);
    struct image_bytes file = {bytes, n};
    struct codec_header header = {0};
    enum image_format format = IMAGE_JPEG; // until it is known
    enum wl_status status = read_header(file, limits, &format, &header, err);
    if (status) {
        return status;
    }
    bool is_swapped = is_on_its_side(header.orientation);
    uint32_t divisor =
        divisor_for(format, header.width, header.height, is_swapped ? enough_height : enough_width,
                    is_swapped ? enough_width : enough_height);
    status = CODECS[format]->decode(file, &header, divisor, out, err);
    if (!status) {
        status = pixels_turn_upright(out, header.orientation, err);
    }
    if (status) {
        image_release(out);
    }
    return status;
}

void image_release(struct image *image) {
    free(image->rgb);
    memset(image, 0, sizeof *image);
}

enum wl_status image_encode(const struct image *image, enum image_format format, int quality,
                            unsigned char **bytes, size_t *n, struct wl_err *err) {
    *bytes = NULL;
    *n = 0;
    if (image->width == 0 || image->height == 0 || !image->rgb) {
        return wl_err_set(err, WL_INPUT, "there is no picture to encode");
    }
    if (format != IMAGE_PNG && (quality < 1 || quality > 100)) {
        return wl_err_set(err, WL_USAGE, "the quality of a %s picture is 1 to 100, not %d",
                          image_format_name(format), quality);
    }
    struct buf buf;
    buf_init(&buf, SIZE_MAX / 2);
    enum wl_status status = CODECS[format]->encode(image, quality, &buf, err);
    if (!status && buf.is_failed) {
        status = wl_err_set(err, WL_MEMORY, "no memory for the encoded picture");
    }
    if (!status) {
        *n = buf.len;
        *bytes = (unsigned char *)buf_detach(&buf);
    }
    buf_release(&buf);
    return status;
}
