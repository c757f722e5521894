// PNG files made by hand: every colour type, depth and order of rows; what is to be passed over;
// and what wants more memory or time than the picture is worth.
#include "image_samples.h"

enum { GREY = 0, RGB = 2, PALETTE = 3, GREY_ALPHA = 4, RGB_ALPHA = 6 };

static const unsigned CHANNELS[7] = {1, 0, 3, 1, 2, 0, 4};

struct kind {
    unsigned type, depth;
};

static const struct kind KINDS[] = {
    {GREY, 1},    {GREY, 2},       {GREY, 4},        {GREY, 8},      {GREY, 16},
    {RGB, 8},     {RGB, 16},       {PALETTE, 1},     {PALETTE, 2},   {PALETTE, 4},
    {PALETTE, 8}, {GREY_ALPHA, 8}, {GREY_ALPHA, 16}, {RGB_ALPHA, 8}, {RGB_ALPHA, 16}};
enum { N_KINDS = sizeof KINDS / sizeof KINDS[0] };

// The sample as stored: all bits of the depth are in use.
static uint32_t stored(struct kind kind, uint32_t x, uint32_t y, uint32_t c) {
    uint32_t value = x * 2654435761u + y * 40503u + c * 97u + x * y * 7919u;
    return (value >> 7) & ((1u << kind.depth) - 1);
}

static uint32_t palette_at(uint32_t index, uint32_t c) {
    return (index * 37 + c * 85) & 255;
}

static uint32_t to_eight(uint32_t value, unsigned depth) {
    return depth == 16 ? value >> 8 : value * 255 / ((1u << depth) - 1);
}

static unsigned char on_white(uint32_t colour, uint32_t alpha) {
    return (unsigned char)((colour * alpha + 255 * (255 - alpha) + 127) / 255);
}

static unsigned char expected(struct kind kind, uint32_t x, uint32_t y, uint32_t c) {
    if (kind.type == PALETTE) {
        return (unsigned char)palette_at(stored(kind, x, y, 0), c);
    }
    uint32_t colour = to_eight(stored(kind, x, y, kind.type & 2 ? c : 0), kind.depth);
    if (!(kind.type & 4)) {
        return (unsigned char)colour;
    }
    return on_white(colour, to_eight(stored(kind, x, y, CHANNELS[kind.type] - 1), kind.depth));
}

static void put_row(struct buf *raw, struct kind kind, uint32_t y, uint32_t x0, uint32_t dx,
                    uint32_t width) {
    put_be(raw, 0, 1); // no filter
    uint32_t bits = 0;
    unsigned n_bits = 0;
    for (uint32_t x = x0; x < width; x += dx) {
        for (uint32_t c = 0; c < CHANNELS[kind.type]; c++) {
            bits = bits << kind.depth | stored(kind, x, y, c);
            n_bits += kind.depth;
            if (n_bits >= 8) {
                put_be(raw, bits, (int)n_bits / 8);
                n_bits = 0;
            }
        }
    }
    if (n_bits > 0) {
        put_be(raw, bits << (8 - n_bits), 1);
    }
}

static void put_pass(struct buf *raw, struct kind kind, const uint32_t from[4], uint32_t width,
                     uint32_t height) {
    if (from[0] >= width) {
        return;
    }
    for (uint32_t y = from[1]; y < height; y += from[3]) {
        put_row(raw, kind, y, from[0], from[2], width);
    }
}

// Adam7, of the PNG specification: first column and row, steps.
static const uint32_t PASSES[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                      {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
static const uint32_t ALL[4] = {0, 0, 1, 1};

static struct buf make_png(struct kind kind, uint32_t width, uint32_t height, bool is_interlaced,
                           void (*put_more)(struct buf *)) {
    struct buf file, raw;
    buf_init(&file, SIZE_MAX / 2);
    buf_init(&raw, SIZE_MAX / 2);
    put_png_start(&file, width, height, kind.depth, kind.type, is_interlaced);
    if (kind.type == PALETTE) {
        unsigned char palette[256 * 3];
        for (uint32_t i = 0; i < sizeof palette; i++) {
            palette[i] = (unsigned char)palette_at(i / 3, i % 3);
        }
        put_chunk(&file, "PLTE", palette, (size_t)3 << kind.depth);
    }
    if (put_more) {
        put_more(&file);
    }
    for (int pass = 0; pass < (is_interlaced ? 7 : 1); pass++) {
        put_pass(&raw, kind, is_interlaced ? PASSES[pass] : ALL, width, height);
    }
    put_png_end(&file, &raw);
    buf_release(&raw);
    return file;
}

static void assert_pixels(const struct buf *file, struct kind kind, uint32_t width,
                          uint32_t height) {
    struct image image = decode_all(file);
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            for (uint32_t c = 0; c < 3; c++) {
                unsigned char want = expected(kind, x, y, c), got = pixel(&image, x, y)[c];
                if (want != got) {
                    fail_msg("type %u depth %u: (%u, %u) channel %u is %u, not %u", kind.type,
                             kind.depth, x, y, c, got, want);
                }
            }
        }
    }
    image_release(&image);
}

static void reads_every_kind(void **state) {
    (void)state;
    static const uint32_t sides[][2] = {{23, 17}, {1, 1}, {4, 1}, {1, 9}, {64, 3}};
    for (int i = 0; i < N_KINDS; i++) {
        for (size_t k = 0; k < sizeof sides / sizeof sides[0]; k++) {
            for (int is_interlaced = 0; is_interlaced < 2; is_interlaced++) {
                struct buf file = make_png(KINDS[i], sides[k][0], sides[k][1], is_interlaced, NULL);
                assert_pixels(&file, KINDS[i], sides[k][0], sides[k][1]);
                buf_release(&file);
            }
        }
    }
}

// --- transparency without an alpha channel -------------------------------------------------------

static void put_transparent_grey(struct buf *out) {
    put_chunk(out, "tRNS", "\0\x03", 2);
}

static void puts_a_transparent_grey_on_white(void **state) {
    (void)state;
    struct kind kind = {GREY, 4};
    struct buf file = make_png(kind, 31, 9, false, put_transparent_grey);
    struct image image = decode_all(&file);
    for (uint32_t y = 0; y < 9; y++) {
        for (uint32_t x = 0; x < 31; x++) {
            uint32_t value = stored(kind, x, y, 0);
            assert_int_equal(pixel(&image, x, y)[1], value == 3 ? 255 : value * 17);
        }
    }
    image_release(&image);
    buf_release(&file);
}

static void put_palette_alpha(struct buf *out) {
    put_chunk(out, "tRNS", "\x00\x40\x80", 3);
}

static void puts_a_palette_with_alpha_on_white(void **state) {
    (void)state;
    struct kind kind = {PALETTE, 2};
    struct buf file = make_png(kind, 31, 9, true, put_palette_alpha);
    struct image image = decode_all(&file);
    for (uint32_t y = 0; y < 9; y++) {
        for (uint32_t x = 0; x < 31; x++) {
            uint32_t index = stored(kind, x, y, 0);
            uint32_t alpha = index < 3 ? index * 64 : 255;
            assert_int_equal(pixel(&image, x, y)[2], on_white(palette_at(index, 2), alpha));
        }
    }
    image_release(&image);
    buf_release(&file);
}

// --- what is passed over -------------------------------------------------------------------------

static void put_colour_notes(struct buf *out) {
    put_chunk(out, "gAMA", "\0\0\x30\x00", 4); // not 1/2.2
    put_chunk(out, "cHRM", "12345678901234567890123456789012", 32);
    put_chunk(out, "iCCP", "name\0\0not deflated", 18);
    put_chunk(out, "sBIT", "\5\5\5", 3);
    put_chunk(out, "bKGD", "\0\1\0\2\0\3", 6);
    put_chunk(out, "zTXt", "key\0\0neither is this", 20);
    put_chunk(out, "tEXt", "key\0value", 9);
    put_chunk(out, "abCd", "unknown", 7);
    put_chunk(out, "acTL", "\0\0\0\2\0\0\0\0", 8); // animated
}

static void applies_no_colour_notes(void **state) {
    (void)state;
    struct kind kind = {RGB, 8};
    struct buf file = make_png(kind, 23, 17, false, put_colour_notes);
    assert_pixels(&file, kind, 23, 17);
    buf_release(&file);
}

static void put_much_text(struct buf *out) {
    enum { BYTES = 9 << 20 };
    char *text = calloc(1, BYTES);
    text[0] = 'k';
    put_chunk(out, "tEXt", text, BYTES);
    for (int i = 0; i < 20000; i++) {
        put_chunk(out, "zTXt", "k\0\0", 3);
    }
    free(text);
}

static void passes_over_much_text(void **state) {
    (void)state;
    struct kind kind = {RGB, 8};
    struct buf file = make_png(kind, 23, 17, false, put_much_text);
    assert_pixels(&file, kind, 23, 17);
    buf_release(&file);
}

static void put_orientation(struct buf *out) {
    struct buf tiff;
    buf_init(&tiff, 4096);
    put_tiff(&tiff, 8, true, 3);
    put_chunk(out, "eXIf", tiff.data, tiff.len);
    buf_release(&tiff);
}

static void turns_upright(void **state) {
    (void)state;
    struct kind kind = {RGB, 8};
    struct buf file = make_png(kind, 23, 17, false, put_orientation);
    struct image image = decode_all(&file);
    assert_int_equal(image.width, 17);
    assert_int_equal(image.height, 23);
    assert_int_equal(pixel(&image, 3, 5)[0], expected(kind, 22 - 5, 3, 0));
    image_release(&image);
    buf_release(&file);
}

// --- damage --------------------------------------------------------------------------------------

static void refuses_what_does_not_fit(void **state) {
    (void)state;
    struct kind kind = {RGB, 8};
    struct buf file = make_png(kind, 23, 17, false, NULL), raw, shorter;
    file.data[60] ^= 1; // in the pixels: a checksum is wrong
    assert_refused(&file, WL_INPUT, "damaged PNG picture");
    file.data[60] ^= 1;
    file.data[30] ^= 1; // the header's checksum
    assert_refused(&file, WL_INPUT, "CRC");
    buf_release(&file);
    buf_init(&raw, 4096);
    buf_init(&shorter, 4096);
    put_png_start(&shorter, 23, 17, 8, RGB, 0);
    put_pass(&raw, kind, ALL, 23, 16); // a row is missing, the rest is right
    put_png_end(&shorter, &raw);
    assert_refused(&shorter, WL_INPUT, "damaged PNG picture");
    buf_clear(&shorter);
    put_png_start(&shorter, 23, 17, 3, RGB, 0); // no such depth
    put_png_end(&shorter, &raw);
    assert_refused(&shorter, WL_INPUT, "damaged PNG picture");
    buf_clear(&shorter);
    put_png_start(&shorter, 23, 17, 8, PALETTE, 0); // no palette
    put_png_end(&shorter, &raw);
    assert_refused(&shorter, WL_INPUT, "damaged PNG picture");
    buf_release(&shorter);
    buf_release(&raw);
}

// Zeros in deflate's fixed code: a 0, then as often as it fits in `n_bytes` "258 bytes as the one
// before", 13 bits each.
static void put_deflated_zeros(struct buf *out, size_t n_bytes) {
    uint32_t bits = 0;
    unsigned n_bits = 0;
    buf_append(out, "\x78\x01", 2);
    // Bit by bit: last block, fixed code, the byte 0 (00110000), a first match.
    static const char start[] = "1"
                                "10"
                                "00110000",
                      match[] = "1100010100000";
    const char *next = start;
    while (out->len < n_bytes) {
        bits |= (uint32_t)(*next++ == '1') << n_bits++;
        next = *next ? next : match;
        if (n_bits == 8) {
            put_le(out, bits, 1);
            bits = n_bits = 0;
        }
    }
}

// Behind the picture's few bytes come 330 MB of zeros in 2 MB: the more of them are unpacked, the
// worse. That they are not is seen from the message, which names the reason.
static void does_not_unpack_what_has_no_room(void **state) {
    (void)state;
    for (uint32_t interlace = 0; interlace < 2; interlace++) {
        struct buf file, idat;
        buf_init(&file, SIZE_MAX / 2);
        buf_init(&idat, SIZE_MAX / 2);
        put_deflated_zeros(&idat, 2 << 20);
        put_png_start(&file, 11, 9, 8, RGB, interlace);
        put_chunk(&file, "IDAT", idat.data, idat.len);
        put_chunk(&file, "IEND", "", 0);
        assert_refused(&file, WL_INPUT, "more compressed data");
        buf_release(&idat);
        buf_release(&file);
    }
}

static void reads_the_longest_lines(void **state) {
    (void)state;
    struct kind kind = {GREY, 1};
    struct buf wide = make_png(kind, 32768, 1, false, NULL);
    assert_pixels(&wide, kind, 32768, 1);
    buf_release(&wide);
    struct buf tall = make_png(kind, 1, 32768, true, NULL);
    assert_pixels(&tall, kind, 1, 32768);
    buf_release(&tall);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind),
        cmocka_unit_test(puts_a_transparent_grey_on_white),
        cmocka_unit_test(puts_a_palette_with_alpha_on_white),
        cmocka_unit_test(applies_no_colour_notes),
        cmocka_unit_test(passes_over_much_text),
        cmocka_unit_test(turns_upright),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(does_not_unpack_what_has_no_room),
        cmocka_unit_test(reads_the_longest_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
