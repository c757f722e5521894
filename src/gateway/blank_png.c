// The zlib stream of n zero bytes is written directly: one literal 0, then "the byte before, 258
// times" as often as needed, in deflate's fixed codes (RFC 1950, RFC 1951).
#include "gateway/blank_png.h"

#include <stdbool.h>
#include <string.h>

enum { LONGEST_COPY = 258, ADLER_BASE = 65521 };

struct bits {
    struct buf *out;
    unsigned waiting, n_waiting;
};

static void put_bit(struct bits *bits, unsigned bit) {
    bits->waiting |= bit << bits->n_waiting;
    if (++bits->n_waiting == 8) {
        unsigned char byte = (unsigned char)bits->waiting;
        buf_append(bits->out, &byte, 1);
        bits->waiting = bits->n_waiting = 0;
    }
}

// Codes begin with their highest bit.
static void put_code(struct bits *bits, unsigned code, unsigned n_bits) {
    while (n_bits-- > 0) {
        put_bit(bits, code >> n_bits & 1);
    }
}

static void put_zero(struct bits *bits) {
    put_code(bits, 0x30, 8);
}

static void put_be32(struct buf *out, uint32_t value) {
    const unsigned char bytes[4] = {(unsigned char)(value >> 24), (unsigned char)(value >> 16),
                                    (unsigned char)(value >> 8), (unsigned char)value};
    buf_append(out, bytes, sizeof bytes);
}

static void put_zeros(struct buf *out, uint64_t n) {
    struct bits bits = {.out = out};
    buf_append(out, "\x78\x01", 2);
    put_bit(&bits, 1);                    // the last block
    put_bit(&bits, 1), put_bit(&bits, 0); // of fixed codes
    put_zero(&bits);
    uint64_t left = n - 1;
    for (; left >= LONGEST_COPY; left -= LONGEST_COPY) {
        put_code(&bits, 0xc5, 8); // length 258
        put_code(&bits, 0, 5);    // distance 1
    }
    for (; left > 0; left--) {
        put_zero(&bits);
    }
    put_code(&bits, 0, 7); // the end
    while (bits.n_waiting > 0) {
        put_bit(&bits, 0);
    }
    put_be32(out, (uint32_t)(n % ADLER_BASE) << 16 | 1);
}

static uint32_t crc_of(const char *bytes, size_t n) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned char)bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
    }
    return ~crc;
}

// The length comes before the name and the data, which the sum is of.
static void end_chunk(struct buf *out, size_t start) {
    if (!out->is_failed) {
        size_t n = out->len - start - 8;
        const unsigned char length[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16),
                                         (unsigned char)(n >> 8), (unsigned char)n};
        memcpy(out->data + start, length, sizeof length);
        put_be32(out, crc_of(out->data + start + 4, n + 4));
    }
}

static size_t begin_chunk(struct buf *out, const char *name) {
    size_t start = out->len;
    put_be32(out, 0);
    buf_append(out, name, 4);
    return start;
}

void blank_png_write(struct buf *out, uint32_t width, uint32_t height) {
    buf_append(out, "\x89PNG\r\n\x1a\n", 8);
    size_t start = begin_chunk(out, "IHDR");
    put_be32(out, width);
    put_be32(out, height);
    buf_append(out, "\x01\0\0\0\0", 5); // 1 bit, grey
    end_chunk(out, start);
    start = begin_chunk(out, "IDAT");
    uint64_t row_bytes = 1 + ((uint64_t)width + 7) / 8;
    put_zeros(out, row_bytes * height);
    end_chunk(out, start);
    end_chunk(out, begin_chunk(out, "IEND"));
}
