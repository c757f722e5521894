// WebP: lossy, lossless, transparent, animated, with EXIF; the containers are made by hand.
#include <webp/encode.h>

#include "image_samples.h"

static void put_riff_chunk(struct buf *out, const char *name, const void *data, size_t n) {
    buf_append(out, name, 4);
    put_le(out, (uint32_t)n, 4);
    buf_append(out, data, n);
    buf_append(out, "", n % 2);
}

// "RIFF", the length, "WEBP", and the chunks.
static struct buf make_riff(const struct buf *chunks) {
    struct buf file;
    buf_init(&file, SIZE_MAX / 2);
    buf_puts(&file, "RIFF");
    put_le(&file, (uint32_t)chunks->len + 4, 4);
    buf_puts(&file, "WEBP");
    buf_append(&file, chunks->data, chunks->len);
    return file;
}

static void put_extended(struct buf *chunks, uint32_t flags, uint32_t width, uint32_t height) {
    struct buf data;
    buf_init(&data, 64);
    put_le(&data, flags, 4), put_le(&data, width - 1, 3), put_le(&data, height - 1, 3);
    put_riff_chunk(chunks, "VP8X", data.data, data.len);
    buf_release(&data);
}

// What stands behind the 12 bytes of a simple file is its one chunk.
static void put_frame(struct buf *chunks, const struct buf *simple, uint32_t x, uint32_t y,
                      uint32_t width, uint32_t height) {
    struct buf data;
    buf_init(&data, SIZE_MAX / 2);
    put_le(&data, x / 2, 3), put_le(&data, y / 2, 3);
    put_le(&data, width - 1, 3), put_le(&data, height - 1, 3), put_le(&data, 100, 4);
    buf_append(&data, simple->data + 12, simple->len - 12);
    put_riff_chunk(chunks, "ANMF", data.data, data.len);
    buf_release(&data);
}

static void puts_alpha_on_white(void **state) {
    (void)state;
    enum { SIDE = 32 };
    unsigned char rgba[SIDE * SIDE * 4];
    struct image white = make_image(SIDE, SIDE, smooth_at);
    for (uint32_t i = 0; i < SIDE * SIDE; i++) {
        uint32_t alpha = i % SIDE * 8;
        for (uint32_t c = 0; c < 3; c++) {
            uint32_t colour = white.rgb[i * 3 + c];
            rgba[i * 4 + c] = (unsigned char)colour;
            white.rgb[i * 3 + c] =
                (unsigned char)((colour * alpha + 255 * (255 - alpha) + 127) / 255);
        }
        rgba[i * 4 + 3] = (unsigned char)alpha;
    }
    for (int is_lossy = 0; is_lossy < 2; is_lossy++) {
        uint8_t *bytes;
        size_t n = is_lossy ? WebPEncodeRGBA(rgba, SIDE, SIDE, SIDE * 4, 98, &bytes)
                            : WebPEncodeLosslessRGBA(rgba, SIDE, SIDE, SIDE * 4, &bytes);
        struct image image;
        assert_int_equal(image_decode(bytes, n, NULL, 0, 0, &image, NULL), WL_OK);
        assert_true(largest_difference(&image, &white) <= (is_lossy ? 12 : 0));
        image_release(&image);
        WebPFree(bytes);
    }
    image_release(&white);
}

static void gives_the_first_frame(void **state) {
    (void)state;
    struct image first = make_image(12, 10, sample_at), second = make_image(20, 16, smooth_at);
    struct buf one, two, chunks;
    encode_to(&one, &first, IMAGE_WEBP, 100);
    encode_to(&two, &second, IMAGE_WEBP, 100);
    buf_init(&chunks, SIZE_MAX / 2);
    put_extended(&chunks, 2, 20, 16);
    put_riff_chunk(&chunks, "ANIM", "\xff\0\0\xff\0\0", 6); // a background that nobody applies
    put_frame(&chunks, &one, 4, 6, 12, 10);
    put_frame(&chunks, &two, 0, 0, 20, 16);
    struct buf file = make_riff(&chunks);
    struct image image = decode_all(&file);
    assert_int_equal(image.width, 20);
    assert_int_equal(image.height, 16);
    for (uint32_t y = 0; y < 16; y++) {
        for (uint32_t x = 0; x < 20; x++) {
            bool is_inside = x >= 4 && x < 16 && y >= 6;
            assert_memory_equal(
                pixel(&image, x, y),
                is_inside ? pixel(&first, x - 4, y - 6) : (const unsigned char *)"\xff\xff\xff", 3);
        }
    }
    image_release(&image);
    buf_release(&file);
    buf_release(&chunks);
    buf_release(&two);
    buf_release(&one);
    image_release(&second);
    image_release(&first);
}

static void refuses_frames_that_do_not_fit(void **state) {
    (void)state;
    struct image image = make_image(12, 10, sample_at);
    struct buf simple, chunks;
    encode_to(&simple, &image, IMAGE_WEBP, 100);
    static const struct {
        uint32_t x, width, canvas;
        const char *word;
    } cases[] = {{10, 12, 20, "beyond"}, {0, 11, 20, "read as 11 x 10"}, {0, 12, 11, "beyond"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buf_init(&chunks, SIZE_MAX / 2);
        put_extended(&chunks, 2, cases[i].canvas, 10);
        put_frame(&chunks, &simple, cases[i].x, 0, cases[i].width, 10);
        struct buf file = make_riff(&chunks);
        assert_refused(&file, WL_INPUT, cases[i].word);
        buf_release(&file);
        buf_release(&chunks);
    }
    buf_init(&chunks, SIZE_MAX / 2);
    put_extended(&chunks, 2, 20, 16);
    struct buf file = make_riff(&chunks);
    assert_refused(&file, WL_INPUT, "without a frame");
    buf_release(&file);
    buf_release(&chunks);
    buf_init(&chunks, SIZE_MAX / 2);
    put_extended(&chunks, 0, 13, 10); // not what the pixels say
    buf_append(&chunks, simple.data + 12, simple.len - 12);
    file = make_riff(&chunks);
    assert_refused(&file, WL_INPUT, "damaged WebP picture");
    buf_release(&file);
    buf_release(&chunks);
    buf_release(&simple);
    image_release(&image);
}

static void turns_upright(void **state) {
    (void)state;
    struct image image = make_image(12, 10, sample_at);
    struct buf simple, chunks, tiff;
    encode_to(&simple, &image, IMAGE_WEBP, 100);
    for (int has_prefix = 0; has_prefix < 2; has_prefix++) {
        buf_init(&chunks, SIZE_MAX / 2);
        buf_init(&tiff, 4096);
        buf_append(&tiff, "Exif\0", has_prefix ? 6 : 0);
        put_tiff(&tiff, 6, false, 3);
        put_extended(&chunks, 8, 12, 10);
        buf_append(&chunks, simple.data + 12, simple.len - 12);
        put_riff_chunk(&chunks, "EXIF", tiff.data, tiff.len);
        struct buf file = make_riff(&chunks);
        struct image upright = decode_all(&file);
        assert_int_equal(upright.width, 10);
        assert_int_equal(upright.height, 12);
        assert_memory_equal(pixel(&upright, 2, 7), pixel(&image, 7, 9 - 2), 3);
        image_release(&upright);
        buf_release(&file);
        buf_release(&tiff);
        buf_release(&chunks);
    }
    buf_release(&simple);
    image_release(&image);
}

// The lengths in the container are made to agree with what is left of a file that was cut.
static void refuses_what_was_cut_and_mended(void **state) {
    (void)state;
    struct image image = make_image(40, 30, sample_at);
    for (int quality = 80; quality <= 100; quality += 20) {
        struct buf simple;
        encode_to(&simple, &image, IMAGE_WEBP, quality);
        const char *name = quality == 100 ? "VP8L" : "VP8 ";
        for (size_t n = 0; n < simple.len - 20 - 16; n += 3) {
            struct buf chunks;
            buf_init(&chunks, SIZE_MAX / 2);
            put_riff_chunk(&chunks, name, simple.data + 20, n);
            struct buf file = make_riff(&chunks);
            struct wl_err err = {0};
            assert_int_equal(decode_exact(file.data, file.len, &err), WL_INPUT);
            buf_release(&file);
            buf_release(&chunks);
        }
        buf_release(&simple);
    }
    image_release(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_alpha_on_white),
        cmocka_unit_test(gives_the_first_frame),
        cmocka_unit_test(refuses_frames_that_do_not_fit),
        cmocka_unit_test(turns_upright),
        cmocka_unit_test(refuses_what_was_cut_and_mended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
