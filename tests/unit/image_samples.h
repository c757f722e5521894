// Pictures made by formula, and files made of them by hand: EXIF put into JPEG, PNG of every kind
// without a compressor, WebP containers.
#ifndef WATTLAW_TESTS_IMAGE_SAMPLES_H
#define WATTLAW_TESTS_IMAGE_SAMPLES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "image/image.h"

static inline unsigned char sample_at(uint32_t x, uint32_t y, uint32_t c) {
    uint32_t values[3] = {x * 7 + y * 3, y * 11 + x * 5, x * y + 60};
    return (unsigned char)(values[c] % 256);
}

// Steps of a few levels only, so that lossy formats come close.
static inline unsigned char smooth_at(uint32_t x, uint32_t y, uint32_t c) {
    uint32_t values[3] = {40 + x * 2, 60 + y * 2, 150 + x - y / 2};
    return (unsigned char)(values[c] > 255 ? 255 : values[c]);
}

static inline struct image make_image(uint32_t width, uint32_t height,
                                      unsigned char (*at)(uint32_t, uint32_t, uint32_t)) {
    struct image image = {width, height, malloc((size_t)width * height * 3)};
    unsigned char *to = image.rgb;
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            for (uint32_t c = 0; c < 3; c++) {
                *to++ = at(x, y, c);
            }
        }
    }
    return image;
}

static inline const unsigned char *pixel(const struct image *image, uint32_t x, uint32_t y) {
    return image->rgb + ((size_t)y * image->width + x) * 3;
}

static inline int largest_difference(const struct image *a, const struct image *b) {
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    int largest = 0;
    for (size_t i = 0; i < (size_t)a->width * a->height * 3; i++) {
        int difference = abs(a->rgb[i] - b->rgb[i]);
        largest = difference > largest ? difference : largest;
    }
    return largest;
}

static inline void encode_to(struct buf *out, const struct image *image, enum image_format format,
                             int quality) {
    unsigned char *bytes;
    size_t n;
    struct wl_err err = {0};
    if (image_encode(image, format, quality, &bytes, &n, &err)) {
        fail_msg("%s", err.message);
    }
    buf_init(out, SIZE_MAX / 2);
    buf_append(out, bytes, n);
    free(bytes);
}

static inline struct image decode_all(const struct buf *file) {
    struct image image;
    struct wl_err err = {0};
    if (image_decode(file->data, file->len, NULL, 0, 0, &image, &err)) {
        fail_msg("%s", err.message);
    }
    return image;
}

// From memory of exactly this size, so that the address sanitizer sees one byte too many.
static inline enum wl_status decode_exact(const void *bytes, size_t n, struct wl_err *err) {
    void *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    struct image image;
    enum wl_status status = image_decode(copy, n, NULL, 0, 0, &image, err);
    image_release(&image);
    free(copy);
    return status;
}

static inline void assert_refused(const struct buf *file, enum wl_status expected,
                                  const char *word) {
    struct wl_err err = {0};
    assert_int_equal(decode_exact(file->data, file->len, &err), expected);
    if (!strstr(err.message, word)) {
        fail_msg("no '%s' in '%s'", word, err.message);
    }
}

// --- numbers -------------------------------------------------------------------------------------

static inline void put_be(struct buf *out, uint32_t value, int n_bytes) {
    for (int i = n_bytes - 1; i >= 0; i--) {
        unsigned char byte = (unsigned char)(value >> (8 * i));
        buf_append(out, &byte, 1);
    }
}

static inline void put_le(struct buf *out, uint32_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) {
        unsigned char byte = (unsigned char)(value >> (8 * i));
        buf_append(out, &byte, 1);
    }
}

// --- EXIF ----------------------------------------------------------------------------------------

// A TIFF structure whose second entry is the orientation, of type 3 (short) or 4 (long).
static inline void put_tiff(struct buf *out, unsigned orientation, bool is_big_endian,
                            uint32_t type) {
    void (*put)(struct buf *, uint32_t, int) = is_big_endian ? put_be : put_le;
    buf_puts(out, is_big_endian ? "MM" : "II");
    put(out, 42, 2);
    put(out, 8, 4);
    put(out, 2, 2);
    put(out, 0x010f, 2), put(out, 2, 2), put(out, 4, 4), put(out, 0x00414141, 4);
    put(out, 0x0112, 2), put(out, type, 2), put(out, 1, 4);
    put(out, orientation, type == 3 ? 2 : 4);
    put(out, 0, type == 3 ? 2 : 0);
    put(out, 0, 4);
}

// An APP1 segment behind the first marker of a JPEG file.
static inline struct buf jpeg_with_exif(const struct buf *jpeg, const void *tiff, size_t n) {
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    buf_append(&out, jpeg->data, 2);
    buf_append(&out, "\xff\xe1", 2);
    put_be(&out, (uint32_t)n + 8, 2);
    buf_append(&out, "Exif\0", 6);
    buf_append(&out, tiff, n);
    buf_append(&out, jpeg->data + 2, jpeg->len - 2);
    return out;
}

// --- PNG -----------------------------------------------------------------------------------------

static inline uint32_t png_crc(const char *bytes, size_t n) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned char)bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
    }
    return ~crc;
}

static inline void put_chunk(struct buf *out, const char *name, const void *data, size_t n) {
    put_be(out, (uint32_t)n, 4);
    size_t start = out->len;
    buf_append(out, name, 4);
    buf_append(out, data, n);
    put_be(out, png_crc(out->data + start, n + 4), 4);
}

static inline void put_png_start(struct buf *out, uint32_t width, uint32_t height, uint32_t depth,
                                 uint32_t type, uint32_t interlace) {
    buf_append(out, "\x89PNG\r\n\x1a\n", 8);
    struct buf ihdr;
    buf_init(&ihdr, 64);
    put_be(&ihdr, width, 4), put_be(&ihdr, height, 4);
    put_be(&ihdr, depth, 1), put_be(&ihdr, type, 1);
    put_be(&ihdr, 0, 2), put_be(&ihdr, interlace, 1);
    put_chunk(out, "IHDR", ihdr.data, ihdr.len);
    buf_release(&ihdr);
}

static inline uint32_t adler(const char *bytes, size_t n) {
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < n; i++) {
        a = (a + (unsigned char)bytes[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

// `raw` as zlib's format stores what it does not compress.
static inline void put_stored(struct buf *out, const struct buf *raw) {
    buf_append(out, "\x78\x01", 2);
    for (size_t at = 0; at < raw->len;) {
        size_t n = raw->len - at < 65535 ? raw->len - at : 65535;
        put_le(out, at + n == raw->len, 1);
        put_le(out, (uint32_t)n, 2), put_le(out, ~(uint32_t)n, 2);
        buf_append(out, raw->data + at, n);
        at += n;
    }
    put_be(out, adler(raw->data, raw->len), 4);
}

static inline void put_png_end(struct buf *out, const struct buf *raw) {
    struct buf idat;
    buf_init(&idat, SIZE_MAX / 2);
    put_stored(&idat, raw);
    put_chunk(out, "IDAT", idat.data, idat.len);
    put_chunk(out, "IEND", "", 0);
    buf_release(&idat);
}

#endif
