// Headers, read before anything is decoded: what is a picture, how large, which way up, and what is
// refused from its header alone.
#include "image_samples.h"

static enum wl_status probe(const struct buf *file, struct image_header *header,
                            struct wl_err *err) {
    void *copy = malloc(file->len + 1);
    memcpy(copy, buf_text(file), file->len);
    void *exact = realloc(copy, file->len ? file->len : 1);
    enum wl_status status = image_probe(exact, file->len, NULL, header, err);
    free(exact);
    return status;
}

static void assert_probe_refuses(const void *bytes, size_t n, enum wl_status expected,
                                 const char *word) {
    struct buf file;
    buf_init(&file, SIZE_MAX / 2);
    buf_append(&file, bytes, n);
    struct image_header header;
    struct wl_err err = {0};
    assert_int_equal(probe(&file, &header, &err), expected);
    assert_int_equal(header.width, 0);
    if (!strstr(err.message, word)) {
        fail_msg("no '%s' in '%s'", word, err.message);
    }
    buf_release(&file);
}

static void reads_the_size_of_each_format(void **state) {
    (void)state;
    struct image image = make_image(31, 17, smooth_at);
    for (int format = IMAGE_JPEG; format <= IMAGE_WEBP; format++) {
        for (int quality = 50; quality <= 100; quality += 50) { // WebP: lossy, lossless
            struct buf file;
            encode_to(&file, &image, (enum image_format)format, quality);
            struct image_header header;
            struct wl_err err = {0};
            assert_int_equal(probe(&file, &header, &err), WL_OK);
            assert_int_equal(header.format, format);
            assert_int_equal(header.width, 31);
            assert_int_equal(header.height, 17);
            assert_int_equal(header.orientation, 1);
            buf_release(&file);
        }
    }
    assert_string_equal(image_format_name(IMAGE_JPEG), "jpeg");
    assert_string_equal(image_format_name(IMAGE_PNG), "png");
    assert_string_equal(image_format_name(IMAGE_WEBP), "webp");
    image_release(&image);
}

static void calls_other_formats_by_name(void **state) {
    (void)state;
    assert_probe_refuses("", 0, WL_INPUT, "not a JPEG, PNG or WebP");
    assert_probe_refuses("\xff\xd8", 2, WL_INPUT, "not a JPEG");
    assert_probe_refuses("hello, world", 12, WL_INPUT, "not a JPEG");
    assert_probe_refuses("GIF89a......", 12, WL_INPUT, "GIF file");
    assert_probe_refuses("BM..........", 12, WL_INPUT, "BMP file");
    assert_probe_refuses("\0\0\0\x18"
                         "ftypavif",
                         12, WL_INPUT, "AVIF file");
    assert_probe_refuses("\0\0\0\x18"
                         "ftypheic",
                         12, WL_INPUT, "HEIC file");
    assert_probe_refuses("<svg xmlns=>", 12, WL_INPUT, "SVG file");
}

static void refuses_bombs_from_their_header(void **state) {
    (void)state;
    struct buf file;
    buf_init(&file, 4096);
    put_png_start(&file, 30000, 30000, 8, 2, 0);
    assert_probe_refuses(file.data, file.len, WL_LIMIT, "30000 x 30000");
    assert_refused(&file, WL_LIMIT, "30000 x 30000");
    buf_clear(&file);
    put_png_start(&file, 0xffffffff, 0xffffffff, 16, 6, 0);
    assert_probe_refuses(file.data, file.len, WL_LIMIT, "4294967295");
    buf_clear(&file);
    put_png_start(&file, 32769, 1, 8, 0, 0);
    assert_probe_refuses(file.data, file.len, WL_LIMIT, "32769");
    buf_clear(&file);
    put_png_start(&file, 0, 7, 8, 0, 0);
    assert_probe_refuses(file.data, file.len, WL_INPUT, "0 x 7");
    buf_release(&file);
    static const char jpeg[] = "\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00"
                               "\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00";
    assert_probe_refuses(jpeg, sizeof jpeg - 1, WL_LIMIT, "65535 x 65535");
    static const char webp[] = "RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff";
    assert_probe_refuses(webp, sizeof webp - 1, WL_LIMIT, "16777216");
}

static void keeps_the_limits_given(void **state) {
    (void)state;
    struct image image = make_image(30, 20, smooth_at);
    struct buf file;
    encode_to(&file, &image, IMAGE_PNG, 0);
    struct image_header header;
    struct image_limits limits = {.max_bytes = file.len, .max_pixels = 600, .max_side = 30};
    assert_int_equal(image_probe(file.data, file.len, &limits, &header, NULL), WL_OK);
    limits.max_pixels = 599;
    assert_int_equal(image_probe(file.data, file.len, &limits, &header, NULL), WL_LIMIT);
    limits = (struct image_limits){.max_bytes = file.len, .max_pixels = 600, .max_side = 29};
    assert_int_equal(image_probe(file.data, file.len, &limits, &header, NULL), WL_LIMIT);
    limits = (struct image_limits){.max_bytes = file.len - 1, .max_pixels = 600, .max_side = 30};
    assert_int_equal(image_probe(file.data, file.len, &limits, &header, NULL), WL_LIMIT);
    buf_release(&file);
    image_release(&image);
}

static void refuses_odd_jpeg(void **state) {
    (void)state;
    static const char twelve_bits[] = "\xff\xd8\xff\xc1\x00\x0b\x0c\x00\x08\x00\x08\x01\x01\x11";
    assert_probe_refuses(twelve_bits, sizeof twelve_bits, WL_UNSUPPORTED, "12 bits");
    static const char lossless[] = "\xff\xd8\xff\xc3\x00\x0b\x08\x00\x08\x00\x08\x01\x01\x11";
    assert_probe_refuses(lossless, sizeof lossless, WL_UNSUPPORTED, "frame type 3");
    static const char twice[] = "\xff\xd8\xff\xc0\x00\x08\x08\x00\x08\x00\x08\x01"
                                "\xff\xc0\x00\x08\x08\x00\x09\x00\x08\x01";
    assert_probe_refuses(twice, sizeof twice - 1, WL_INPUT, "second frame");
    assert_probe_refuses("\xff\xd8\xff\xd9", 4, WL_INPUT, "no frame");
    assert_probe_refuses("\xff\xd8\xff\xe0\x00\x01", 6, WL_INPUT, "length of 1");
    assert_probe_refuses("\xff\xd8\xff\xe0\x00\x10", 6, WL_INPUT, "ends early");
    assert_probe_refuses("\xff\xd8\xff\xff\xff\xff", 6, WL_INPUT, "ends early");
}

static unsigned orientation_of(const struct buf *jpeg, const struct buf *tiff) {
    struct buf file = jpeg_with_exif(jpeg, tiff->data, tiff->len);
    struct image_header header;
    struct wl_err err = {0};
    if (probe(&file, &header, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(header.width, header.orientation >= 5 ? 17 : 31);
    assert_int_equal(header.height, header.orientation >= 5 ? 31 : 17);
    buf_release(&file);
    return header.orientation;
}

static void reads_the_orientation(void **state) {
    (void)state;
    struct image image = make_image(31, 17, smooth_at);
    struct buf jpeg, tiff;
    encode_to(&jpeg, &image, IMAGE_JPEG, 80);
    buf_init(&tiff, 4096);
    for (unsigned value = 0; value <= 10; value++) {
        for (unsigned way = 0; way < 4; way++) {
            buf_clear(&tiff);
            put_tiff(&tiff, value, way % 2, way < 2 ? 3 : 4);
            unsigned expected = value >= 1 && value <= 8 ? value : 1;
            assert_int_equal(orientation_of(&jpeg, &tiff), expected);
        }
    }
    buf_release(&tiff);
    buf_release(&jpeg);
    image_release(&image);
}

// Cut anywhere, or with any byte changed, it gives some orientation and no harm.
static void survives_damaged_exif(void **state) {
    (void)state;
    struct image image = make_image(31, 17, smooth_at);
    struct buf jpeg, tiff;
    encode_to(&jpeg, &image, IMAGE_JPEG, 80);
    buf_init(&tiff, 4096);
    put_tiff(&tiff, 6, true, 3);
    for (size_t n = 0; n < tiff.len; n++) {
        struct buf cut = tiff;
        cut.len = n;
        unsigned found = orientation_of(&jpeg, &cut);
        assert_true(found == 1 || n >= 34); // it ends at byte 34
        tiff.data[n] ^= (char)0xff;
        orientation_of(&jpeg, &tiff);
        tiff.data[n] ^= (char)0xff;
    }
    buf_release(&tiff);
    buf_release(&jpeg);
    image_release(&image);
}

static void says_what_will_be_decoded(void **state) {
    (void)state;
    static const struct {
        enum image_format format;
        uint32_t width, height, enough_width, enough_height, expect_width, expect_height;
    } cases[] = {
        {IMAGE_JPEG, 4000, 3000, 0, 0, 4000, 3000},
        {IMAGE_JPEG, 4000, 3000, 336, 0, 4000, 3000},
        {IMAGE_JPEG, 4000, 3000, 336, 336, 500, 375},
        {IMAGE_JPEG, 4000, 3000, 500, 375, 500, 375},
        {IMAGE_JPEG, 4000, 3000, 501, 375, 1000, 750},
        {IMAGE_JPEG, 4000, 3000, 500, 376, 1000, 750},
        {IMAGE_JPEG, 4000, 3000, 1500, 10, 2000, 1500},
        {IMAGE_JPEG, 4000, 3000, 2001, 10, 4000, 3000},
        {IMAGE_JPEG, 4000, 3000, 9000, 9000, 4000, 3000},
        {IMAGE_JPEG, 101, 7, 1, 1, 13, 1},
        {IMAGE_JPEG, 101, 7, 13, 2, 26, 2},
        {IMAGE_PNG, 4000, 3000, 336, 336, 4000, 3000},
        {IMAGE_WEBP, 4000, 3000, 336, 336, 4000, 3000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct image_header header = {cases[i].format, cases[i].width, cases[i].height, 1};
        uint32_t width, height;
        image_decoded_size(&header, cases[i].enough_width, cases[i].enough_height, &width, &height);
        assert_int_equal(width, cases[i].expect_width);
        assert_int_equal(height, cases[i].expect_height);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_size_of_each_format),
        cmocka_unit_test(calls_other_formats_by_name),
        cmocka_unit_test(refuses_bombs_from_their_header),
        cmocka_unit_test(keeps_the_limits_given),
        cmocka_unit_test(refuses_odd_jpeg),
        cmocka_unit_test(reads_the_orientation),
        cmocka_unit_test(survives_damaged_exif),
        cmocka_unit_test(says_what_will_be_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
