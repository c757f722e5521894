// Whole files of every format: round trips, all orientations, smaller JPEG, and what was cut or
// changed.
#include <turbojpeg.h>

#include "image_samples.h"

static void comes_back_as_it_went(void **state) {
    (void)state;
    struct image image = make_image(61, 43, smooth_at), noise = make_image(61, 43, sample_at);
    static const struct {
        enum image_format format;
        int quality, most; // difference
    } cases[] = {{IMAGE_JPEG, 95, 6},
                 {IMAGE_JPEG, 85, 12},
                 {IMAGE_PNG, 0, 0},
                 {IMAGE_WEBP, 100, 0},
                 {IMAGE_WEBP, 95, 14}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct image *in = cases[i].most ? &image : &noise;
        struct buf file;
        encode_to(&file, in, cases[i].format, cases[i].quality);
        struct image back = decode_all(&file);
        assert_true(largest_difference(in, &back) <= cases[i].most);
        image_release(&back);
        buf_release(&file);
    }
    image_release(&noise);
    image_release(&image);
}

static void refuses_to_encode_nonsense(void **state) {
    (void)state;
    struct image none = {0}, wide = make_image(16384, 1, smooth_at);
    unsigned char *bytes = (unsigned char *)"";
    size_t n = 7;
    assert_int_equal(image_encode(&none, IMAGE_PNG, 0, &bytes, &n, NULL), WL_INPUT);
    assert_true(!bytes && n == 0);
    assert_int_equal(image_encode(&wide, IMAGE_JPEG, 0, &bytes, &n, NULL), WL_USAGE);
    assert_int_equal(image_encode(&wide, IMAGE_WEBP, 101, &bytes, &n, NULL), WL_USAGE);
    assert_int_equal(image_encode(&wide, IMAGE_WEBP, 80, &bytes, &n, NULL), WL_LIMIT);
    image_release(&wide);
    image_release(&none);
}

// Where the pixel at (x, y) of the upright picture is stored: the definitions of EXIF 2.3, 4.6.4.
static void stored_at(unsigned orientation, uint32_t stored_width, uint32_t stored_height,
                      uint32_t x, uint32_t y, uint32_t *sx, uint32_t *sy) {
    uint32_t right = stored_width - 1, bottom = stored_height - 1;
    uint32_t places[9][2] = {
        {0},    {x, y},          {right - x, y},          {right - x, bottom - y}, {x, bottom - y},
        {y, x}, {y, bottom - x}, {right - y, bottom - x}, {right - y, x}};
    *sx = places[orientation][0];
    *sy = places[orientation][1];
}

static void assert_upright(const struct image *stored, const struct image *upright,
                           unsigned orientation) {
    bool is_swapped = orientation >= 5;
    assert_int_equal(upright->width, is_swapped ? stored->height : stored->width);
    assert_int_equal(upright->height, is_swapped ? stored->width : stored->height);
    for (uint32_t y = 0; y < upright->height; y++) {
        for (uint32_t x = 0; x < upright->width; x++) {
            uint32_t sx, sy;
            stored_at(orientation, stored->width, stored->height, x, y, &sx, &sy);
            assert_memory_equal(pixel(upright, x, y), pixel(stored, sx, sy), 3);
        }
    }
}

static void turns_every_orientation_upright(void **state) {
    (void)state;
    struct image image = make_image(77, 35, sample_at); // more than one tile of the turn
    struct buf jpeg, tiff;
    encode_to(&jpeg, &image, IMAGE_JPEG, 90);
    struct image stored = decode_all(&jpeg);
    for (unsigned orientation = 1; orientation <= 8; orientation++) {
        buf_init(&tiff, 4096);
        put_tiff(&tiff, orientation, orientation % 2, 3);
        struct buf file = jpeg_with_exif(&jpeg, tiff.data, tiff.len);
        struct image upright = decode_all(&file);
        assert_upright(&stored, &upright, orientation);
        image_release(&upright);
        buf_release(&file);
        buf_release(&tiff);
    }
    image_release(&stored);
    buf_release(&jpeg);
    image_release(&image);
}

static void decodes_smaller_where_that_is_enough(void **state) {
    (void)state;
    struct image image = make_image(101, 83, smooth_at);
    struct buf jpeg, tiff;
    encode_to(&jpeg, &image, IMAGE_JPEG, 95);
    buf_init(&tiff, 4096);
    put_tiff(&tiff, 6, false, 3);
    struct buf turned = jpeg_with_exif(&jpeg, tiff.data, tiff.len);
    for (uint32_t divisor = 1; divisor <= 8; divisor *= 2) {
        uint32_t width = (101 + divisor - 1) / divisor, height = (83 + divisor - 1) / divisor;
        struct image small, upright, reference;
        assert_int_equal(image_decode(jpeg.data, jpeg.len, NULL, width, height, &small, NULL),
                         WL_OK);
        assert_int_equal(small.width, width);
        assert_int_equal(small.height, height);
        assert_int_equal(image_resize(&image, width, height, &reference, NULL), WL_OK);
        assert_true(largest_difference(&small, &reference) <= 16); // not at all another picture
        assert_int_equal(image_decode(turned.data, turned.len, NULL, height, width, &upright, NULL),
                         WL_OK);
        assert_upright(&small, &upright, 6);
        image_release(&reference);
        image_release(&upright);
        image_release(&small);
    }
    buf_release(&turned);
    buf_release(&tiff);
    buf_release(&jpeg);
    image_release(&image);
}

// `pixels` of a format of TurboJPEG become a JPEG file.
static struct buf compress(const unsigned char *pixels, int side, int format, int subsampling,
                           int flags) {
    tjhandle handle = tjInitCompress();
    unsigned char *bytes = NULL;
    unsigned long n = 0;
    assert_int_equal(
        tjCompress2(handle, pixels, side, 0, side, format, &bytes, &n, subsampling, 100, flags), 0);
    struct buf file;
    buf_init(&file, SIZE_MAX / 2);
    buf_append(&file, bytes, n);
    tjFree(bytes);
    tjDestroy(handle);
    return file;
}

static void reads_every_kind_of_jpeg(void **state) {
    (void)state;
    enum { SIDE = 40 };
    struct image image = make_image(SIDE, SIDE, smooth_at);
    static const int subsamplings[] = {TJSAMP_444, TJSAMP_422, TJSAMP_420, TJSAMP_440, TJSAMP_411};
    for (size_t i = 0; i < sizeof subsamplings / sizeof subsamplings[0]; i++) {
        for (int flags = 0; flags <= TJFLAG_PROGRESSIVE; flags += TJFLAG_PROGRESSIVE) {
            struct buf file = compress(image.rgb, SIDE, TJPF_RGB, subsamplings[i], flags);
            struct image back = decode_all(&file);
            assert_true(largest_difference(&image, &back) <= 8);
            image_release(&back);
            buf_release(&file);
        }
    }
    struct buf file = compress(image.rgb, SIDE, TJPF_RGB, TJSAMP_GRAY, 0);
    struct image grey = decode_all(&file);
    const unsigned char *at = pixel(&grey, 20, 10), *was = pixel(&image, 20, 10);
    int luma = (299 * was[0] + 587 * was[1] + 114 * was[2]) / 1000;
    assert_true(at[0] == at[1] && at[1] == at[2] && abs(at[0] - luma) <= 2);
    image_release(&grey);
    buf_release(&file);
    image_release(&image);
}

static void makes_rgb_of_cmyk(void **state) {
    (void)state;
    enum { SIDE = 40 };
    unsigned char pixels[SIDE * SIDE * 4];
    struct image expected = make_image(SIDE, SIDE, smooth_at);
    for (size_t i = 0; i < sizeof pixels / 4; i++) { // 255 is no ink
        for (size_t c = 0; c < 3; c++) {
            pixels[i * 4 + c] = expected.rgb[i * 3 + c];
            expected.rgb[i * 3 + c] = (unsigned char)((pixels[i * 4 + c] * 200 + 127) / 255);
        }
        pixels[i * 4 + 3] = 200;
    }
    struct buf file = compress(pixels, SIDE, TJPF_CMYK, TJSAMP_444, 0);
    struct image image = decode_all(&file);
    assert_true(largest_difference(&image, &expected) <= 4);
    image_release(&image);
    image_release(&expected);
    buf_release(&file);
}

// Every shorter file is refused, never a grey half; every file with a byte changed does no harm.
static void refuses_what_was_cut(void **state) {
    (void)state;
    struct image image = make_image(24, 18, sample_at);
    for (int kind = 0; kind < 5; kind++) {
        struct buf file;
        if (kind == 0) {
            file = compress(image.rgb, 18, TJPF_RGB, TJSAMP_420, TJFLAG_PROGRESSIVE);
        } else {
            encode_to(&file, &image, (enum image_format)(kind < 3 ? kind - 1 : IMAGE_WEBP),
                      kind == 4 ? 100 : 70);
        }
        for (size_t n = 0; n < file.len; n++) {
            struct wl_err err = {0};
            assert_int_equal(decode_exact(file.data, n, &err), WL_INPUT);
            assert_int_equal(err.status, WL_INPUT);
        }
        for (size_t i = 0; i < file.len; i++) {
            file.data[i] ^= (char)(1 << i % 8);
            struct wl_err err = {0};
            enum wl_status status = decode_exact(file.data, file.len, &err);
            assert_true(status == WL_OK || err.message[0]);
            file.data[i] ^= (char)(1 << i % 8);
        }
        buf_release(&file);
    }
    image_release(&image);
}

// A file cut in the middle of its pixels, with an end put to it.
static void refuses_jpeg_with_pixels_missing(void **state) {
    (void)state;
    struct image image = make_image(64, 64, sample_at);
    struct buf file;
    encode_to(&file, &image, IMAGE_JPEG, 90);
    file.len = file.len * 3 / 4;
    buf_append(&file, "\xff\xd9", 2);
    assert_refused(&file, WL_INPUT, "damaged JPEG picture");
    buf_release(&file);
    image_release(&image);
}

static void overlooks_harmless_jpeg_faults(void **state) {
    (void)state;
    struct image image = make_image(64, 64, smooth_at);
    struct buf file, padded;
    encode_to(&file, &image, IMAGE_JPEG, 90);
    struct image reference = decode_all(&file);
    buf_init(&padded, SIZE_MAX / 2);
    buf_append(&padded, file.data, file.len - 2);
    buf_append(&padded, "\0\0\0\xff\xd9 and more", 14); // between the pixels and the end, behind it
    struct image same = decode_all(&padded);
    assert_int_equal(largest_difference(&reference, &same), 0);
    image_release(&same);
    image_release(&reference);
    buf_release(&padded);
    buf_release(&file);
    image_release(&image);
}

static void refuses_too_many_scans(void **state) {
    (void)state;
    struct image image = make_image(16, 16, smooth_at);
    struct buf file = compress(image.rgb, 16, TJPF_RGB, TJSAMP_420, TJFLAG_PROGRESSIVE);
    file.len -= 2;
    for (int i = 0; i < 65; i++) {
        buf_append(&file, "\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00", 10);
    }
    buf_append(&file, "\xff\xd9", 2);
    assert_refused(&file, WL_LIMIT, "scans");
    buf_release(&file);
    image_release(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_went),
        cmocka_unit_test(refuses_to_encode_nonsense),
        cmocka_unit_test(turns_every_orientation_upright),
        cmocka_unit_test(decodes_smaller_where_that_is_enough),
        cmocka_unit_test(reads_every_kind_of_jpeg),
        cmocka_unit_test(makes_rgb_of_cmyk),
        cmocka_unit_test(refuses_what_was_cut),
        cmocka_unit_test(refuses_jpeg_with_pixels_missing),
        cmocka_unit_test(overlooks_harmless_jpeg_faults),
        cmocka_unit_test(refuses_too_many_scans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
