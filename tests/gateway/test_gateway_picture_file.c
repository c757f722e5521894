// The files of pictures: blank ones to count with, addresses, and what shrinking makes of each
// format.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "gateway/blank_png.h"
#include "gateway/picture_file.h"
#include "gateway/picture_uri.h"

// ---- pictures ----

static struct image empty_image(uint32_t width, uint32_t height) {
    return (struct image){width, height, calloc((size_t)width * height, 3)};
}

// Slow changes and some noise.
static struct image photo(uint32_t width, uint32_t height) {
    struct image image = empty_image(width, height);
    uint32_t noise = 1;
    for (size_t i = 0; i < (size_t)width * height * 3; i++) {
        noise = noise * 1664525 + 1013904223;
        image.rgb[i] = (unsigned char)(60 + i / 3 % width * 120 / width + (noise >> 30));
    }
    return image;
}

static struct image drawing(uint32_t width, uint32_t height) {
    struct image image = empty_image(width, height);
    for (size_t i = 0; i < (size_t)width * height; i++) {
        memset(image.rgb + i * 3, i / width / 40 % 2 == i % width / 40 % 2 ? 255 : 20, 3);
    }
    return image;
}

static struct buf uri_of(struct image image, enum image_format format) {
    unsigned char *bytes;
    size_t n;
    struct buf uri;
    buf_init(&uri, 1 << 26);
    assert_int_equal(image_encode(&image, format, 92, &bytes, &n, NULL), WL_OK);
    picture_uri_write(&uri, format, bytes, n);
    assert_false(uri.is_failed);
    free(bytes);
    image_release(&image);
    return uri;
}

static struct picture_file opened(struct buf *uri) {
    struct picture_file file;
    struct openai_fault fault = {0};
    if (picture_file_open(uri->data, uri->len, &IMAGE_LIMITS, &file, &fault)) {
        fail_msg("%s", fault.err.message);
    }
    buf_release(uri);
    return file;
}

// ---- tests ----

static void blank_pictures_are_pictures(void **state) {
    static const uint32_t SIZES[][2] = {{1, 1},    {7, 3},     {8, 1},       {9, 1},
                                        {257, 1},  {2056, 1},  {2064, 1},    {2065, 2},
                                        {1, 4096}, {640, 480}, {4000, 3000}, {32768, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        struct buf png;
        struct image image;
        struct wl_err err;
        buf_init(&png, 1 << 20);
        blank_png_write(&png, SIZES[i][0], SIZES[i][1]);
        assert_false(png.is_failed);
        if (image_decode(png.data, png.len, NULL, 0, 0, &image, &err)) {
            fail_msg("%u x %u: %s", SIZES[i][0], SIZES[i][1], err.message);
        }
        assert_int_equal(image.width, SIZES[i][0]);
        assert_int_equal(image.height, SIZES[i][1]);
        size_t n = (size_t)image.width * image.height * 3;
        assert_int_equal(image.rgb[0], 0);
        assert_memory_equal(image.rgb, image.rgb + 1, n - 1);
        image_release(&image);
        assert_in_range(png.len, 60, 20000);
        buf_release(&png);
    }
    struct buf full;
    buf_init(&full, 30);
    blank_png_write(&full, 100, 100);
    assert_true(full.is_failed);
    buf_release(&full);
}

static void addresses_are_read_back(void **state) {
    unsigned char bytes[5000];
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(i * i >> 3);
    }
    for (size_t n = 1; n < sizeof bytes; n += n < 10 ? 1 : 511) {
        struct buf uri;
        unsigned char *back;
        size_t n_back;
        buf_init(&uri, 1 << 20);
        picture_uri_write(&uri, IMAGE_WEBP, bytes, n);
        assert_memory_equal(uri.data, "data:image/webp;base64,", 23);
        assert_int_equal(image_from_data_uri(uri.data, uri.len, NULL, &back, &n_back, NULL), WL_OK);
        assert_int_equal(n_back, n);
        assert_memory_equal(back, bytes, n);
        free(back);
        buf_release(&uri);
    }
}

static void shrinking_keeps_what_suits_the_format(void **state) {
    static const struct {
        struct image (*make)(uint32_t, uint32_t);
        enum image_format before, after;
    } CASES[] = {{photo, IMAGE_JPEG, IMAGE_JPEG},
                 {photo, IMAGE_WEBP, IMAGE_JPEG},
                 {photo, IMAGE_PNG, IMAGE_JPEG},
                 {drawing, IMAGE_PNG, IMAGE_PNG},
                 {drawing, IMAGE_JPEG, IMAGE_JPEG}};
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct buf uri = uri_of(CASES[i].make(801, 600), CASES[i].before);
        struct picture_file file = opened(&uri);
        assert_int_equal(file.header.width, 801);
        buf_init(&uri, 1 << 24);
        struct openai_fault fault = {0};
        assert_int_equal(picture_file_shrink(&file, &IMAGE_LIMITS, (struct picture_size){320, 240},
                                             90, &uri, &fault),
                         WL_OK);
        picture_file_release(&file);
        file = opened(&uri);
        if (file.header.format != CASES[i].after) {
            fail_msg("case %zu became %s", i, image_format_name(file.header.format));
        }
        assert_int_equal(file.header.width, 320);
        assert_int_equal(file.header.height, 240);
        picture_file_release(&file);
    }
}

static void the_same_picture_gives_the_same_bytes(void **state) {
    struct buf first, second;
    (void)state;
    struct buf uri = uri_of(photo(500, 400), IMAGE_JPEG);
    struct picture_file file = opened(&uri);
    buf_init(&first, 1 << 24);
    buf_init(&second, 1 << 24);
    const struct picture_size size = {250, 200};
    assert_int_equal(picture_file_shrink(&file, &IMAGE_LIMITS, size, 90, &first, NULL), WL_OK);
    assert_int_equal(picture_file_shrink(&file, &IMAGE_LIMITS, size, 90, &second, NULL), WL_OK);
    assert_string_equal(buf_text(&first), buf_text(&second)); // the server's cache knows it again
    picture_file_release(&file);
    buf_release(&first);
    buf_release(&second);
}

static void assert_fault(const char *uri, const struct image_limits *limits, enum wl_status status,
                         const char *code) {
    struct picture_file file;
    struct openai_fault fault = {0};
    assert_int_equal(picture_file_open(uri, strlen(uri), limits, &file, &fault), status);
    assert_int_equal(fault.err.status, status);
    assert_string_equal(fault.code, code);
    assert_true(fault.err.message[0] != '\0');
    picture_file_release(&file);
}

static void what_is_no_picture_is_refused(void **state) {
    (void)state;
    struct image_limits limits = IMAGE_LIMITS;
    assert_fault("data:text/plain;base64,AAAA", &limits, WL_INPUT, "invalid_image_url");
    assert_fault("data:image/png;base64,AAA", &limits, WL_INPUT, "invalid_image_url");
    assert_fault("data:image/png;base64,AAAA", &limits, WL_INPUT, "image_parse_error");
    struct buf uri = uri_of(photo(100, 80), IMAGE_JPEG);
    limits.max_pixels = 7999;
    assert_fault(buf_text(&uri), &limits, WL_LIMIT, "image_too_large");
    limits = IMAGE_LIMITS;
    limits.max_bytes = 100;
    assert_fault(buf_text(&uri), &limits, WL_LIMIT, "image_file_too_large");
    buf_release(&uri);
}

static void what_is_cut_is_refused_when_it_is_shrunk(void **state) {
    (void)state;
    struct buf uri = uri_of(photo(300, 300), IMAGE_JPEG), out;
    struct picture_file file = opened(&uri);
    struct openai_fault fault = {0};
    file.n /= 2;
    buf_init(&out, 1 << 20);
    assert_int_equal(picture_file_shrink(&file, &IMAGE_LIMITS, (struct picture_size){100, 100}, 90,
                                         &out, &fault),
                     WL_INPUT);
    assert_string_equal(fault.code, "image_parse_error");
    assert_int_equal(out.len, 0);
    picture_file_release(&file);
    buf_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blank_pictures_are_pictures),
        cmocka_unit_test(addresses_are_read_back),
        cmocka_unit_test(shrinking_keeps_what_suits_the_format),
        cmocka_unit_test(the_same_picture_gives_the_same_bytes),
        cmocka_unit_test(what_is_no_picture_is_refused),
        cmocka_unit_test(what_is_cut_is_refused_when_it_is_shrunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
