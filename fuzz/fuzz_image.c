// Pictures made of arbitrary bytes: no crash, no endless work, nothing decoded beyond the limits,
// and what the header promised is what comes out. PNG's checksums are put right after each
// mutation, or nothing behind the first chunk would ever be reached.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t max_len, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t len, size_t max_len);

static const struct image_limits LIMITS = {
    .max_bytes = 1 << 20, .max_pixels = 1 << 18, .max_side = 8192};

static void require(int is_true) {
    if (!is_true) {
        abort();
    }
}

static void decode(const uint8_t *data, size_t len, const struct image_header *header,
                   uint32_t enough) {
    struct image image, small;
    struct wl_err err = {0};
    enum wl_status status = image_decode(data, len, &LIMITS, enough, enough, &image, &err);
    if (status) {
        require(!image.rgb && err.status == status && err.message[0]);
        return;
    }
    uint32_t width, height;
    image_decoded_size(header, enough, enough, &width, &height);
    require(image.width == width && image.height == height);
    require(!enough || width >= enough || width == header->width);
    require(!enough || height >= enough || height == header->height);
    if (!image_resize(&image, enough ? enough : 17, 9, &small, &err)) {
        require(small.height == 9);
    }
    image_release(&small);
    image_release(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct image_header header;
    struct wl_err err = {0};
    enum wl_status status = image_probe(data, len, &LIMITS, &header, &err);
    require(status == WL_OK || status == WL_INPUT || status == WL_LIMIT ||
            status == WL_UNSUPPORTED);
    if (status) {
        require(err.status == status && err.message[0]);
        return 0;
    }
    require(header.width >= 1 && header.width <= LIMITS.max_side);
    require(header.height >= 1 && header.height <= LIMITS.max_side);
    require((uint64_t)header.width * header.height <= LIMITS.max_pixels);
    require(header.orientation >= 1 && header.orientation <= 8);
    decode(data, len, &header, 0);
    if (header.format == IMAGE_JPEG) {
        decode(data, len, &header, data[len - 1] % 64);
    }
    return 0;
}

static uint32_t crc_of(const uint8_t *data, size_t len) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
    }
    return ~crc;
}

static void put_be32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static uint32_t get_be32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t max_len, unsigned seed) {
    len = LLVMFuzzerMutate(data, len, max_len);
    if (len < 8 || memcmp(data, "\x89PNG\r\n\x1a\n", 8) != 0 || seed % 16 == 0) {
        return len;
    }
    for (size_t at = 8; len - at >= 12;) {
        uint32_t n = get_be32(data + at);
        if (n > len - at - 12) {
            break;
        }
        put_be32(data + at + 8 + n, crc_of(data + at + 4, (size_t)n + 4));
        at += (size_t)n + 12;
    }
    return len;
}
