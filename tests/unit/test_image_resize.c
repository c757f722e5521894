// Resizing against Pillow's BICUBIC. The arrays are what Pillow 9.4 made of the same pictures:
//   Image.resize((width, height), Image.BICUBIC)
#include "image/resize_taps.h"
#include "image_samples.h"

static const unsigned char FROM_23X17_TO_7X5[] = {
    13,  20,  61,  35,  36,  66,  58,  53,  70,  81,  69,  74, 104, 85,  78,  127, 102, 83,
    149, 118, 87,  23,  56,  66,  45,  72,  80,  68,  89,  95, 91,  105, 110, 114, 121, 125,
    137, 138, 140, 159, 154, 159, 33,  94,  70,  55,  110, 95, 78,  127, 122, 101, 143, 148,
    124, 159, 177, 147, 176, 208, 169, 193, 187, 43,  132, 74, 65,  148, 110, 88,  165, 148,
    111, 181, 188, 134, 198, 216, 157, 220, 114, 179, 229, 50, 53,  168, 78,  75,  184, 124,
    98,  201, 174, 121, 218, 220, 144, 226, 93,  167, 172, 52, 189, 81,  107};
static const unsigned char FROM_5X4_TO_9X7[] = {
    0,  0,  60, 2,  0,  60, 6,  3,  60, 10, 6,  60, 14, 9,  60, 18, 12, 60, 22, 15, 60, 26, 18, 60,
    29, 19, 60, 0,  3,  60, 3,  4,  60, 7,  7,  60, 11, 10, 60, 15, 13, 61, 19, 16, 61, 23, 19, 61,
    27, 22, 61, 30, 23, 61, 2,  10, 60, 5,  11, 60, 9,  14, 61, 13, 17, 61, 17, 20, 62, 21, 23, 63,
    25, 26, 63, 29, 29, 64, 32, 30, 64, 3,  17, 60, 7,  18, 60, 11, 21, 62, 15, 24, 62, 19, 27, 63,
    23, 30, 64, 27, 33, 65, 31, 36, 66, 34, 37, 66, 5,  23, 60, 8,  24, 60, 12, 27, 62, 16, 30, 63,
    20, 33, 64, 24, 36, 65, 28, 39, 66, 32, 42, 68, 35, 43, 68, 7,  30, 60, 10, 31, 61, 14, 34, 63,
    18, 37, 64, 22, 40, 65, 26, 43, 67, 30, 46, 68, 34, 49, 70, 37, 50, 71, 8,  34, 60, 11, 35, 61,
    15, 38, 63, 19, 41, 64, 23, 44, 66, 27, 47, 68, 31, 50, 69, 35, 53, 71, 38, 54, 72};
static const unsigned char FROM_640X480_TO_4X3[] = {
    191, 203, 192, 255, 203, 255, 255, 203, 255, 255, 203, 255, 191, 255, 118, 255, 255, 239,
    255, 255, 255, 255, 255, 255, 191, 255, 104, 255, 255, 184, 255, 255, 255, 255, 255, 255};
static const unsigned char FROM_40X3_TO_6X11[] = {
    21, 14, 60, 66, 46, 59, 113, 80,  58, 160, 113, 57,  215, 147, 57,  149, 179, 56,
    21, 15, 60, 66, 47, 60, 113, 81,  59, 160, 114, 59,  215, 148, 59,  149, 180, 59,
    21, 16, 60, 66, 48, 61, 113, 82,  62, 160, 115, 63,  215, 149, 63,  150, 181, 64,
    22, 19, 61, 67, 51, 63, 114, 85,  66, 161, 118, 68,  216, 152, 71,  152, 184, 73,
    23, 22, 62, 68, 54, 66, 115, 88,  71, 162, 121, 76,  217, 155, 81,  154, 187, 85,
    24, 26, 63, 69, 58, 69, 116, 92,  76, 163, 125, 83,  218, 159, 90,  152, 191, 96,
    25, 30, 64, 70, 62, 72, 117, 96,  81, 164, 129, 90,  219, 163, 99,  143, 195, 107,
    26, 33, 65, 71, 65, 75, 118, 99,  86, 165, 132, 98,  219, 166, 109, 129, 198, 119,
    27, 36, 66, 72, 68, 78, 119, 102, 90, 166, 135, 103, 220, 169, 116, 118, 201, 128,
    27, 37, 66, 72, 69, 79, 119, 103, 93, 166, 136, 107, 220, 170, 120, 111, 202, 133,
    27, 38, 66, 72, 70, 80, 119, 104, 94, 166, 137, 109, 220, 171, 122, 109, 203, 136};

static void assert_like_pillow(uint32_t width, uint32_t height, uint32_t to_width,
                               uint32_t to_height, const unsigned char *pillow,
                               unsigned char (*at)(uint32_t, uint32_t, uint32_t)) {
    struct image image = make_image(width, height, at), out;
    struct wl_err err = {0};
    if (image_resize(&image, to_width, to_height, &out, &err)) {
        fail_msg("%s", err.message);
    }
    struct image reference = {to_width, to_height, malloc((size_t)to_width * to_height * 3)};
    memcpy(reference.rgb, pillow, (size_t)to_width * to_height * 3);
    assert_true(largest_difference(&out, &reference) <= 1);
    image_release(&reference);
    image_release(&out);
    image_release(&image);
}

static void agrees_with_pillow(void **state) {
    (void)state;
    assert_like_pillow(23, 17, 7, 5, FROM_23X17_TO_7X5, sample_at);
    assert_like_pillow(5, 4, 9, 7, FROM_5X4_TO_9X7, sample_at);
    assert_like_pillow(640, 480, 4, 3, FROM_640X480_TO_4X3, smooth_at);
    assert_like_pillow(40, 3, 6, 11, FROM_40X3_TO_6X11, sample_at);
}

static unsigned char constant(uint32_t x, uint32_t y, uint32_t c) {
    (void)x, (void)y;
    static const unsigned char colour[3] = {0, 255, 77};
    return colour[c];
}

// Whatever the sizes, the weights add up to one: one colour stays what it is, the ends included.
static void keeps_one_colour(void **state) {
    (void)state;
    static const uint32_t sides[] = {1, 2, 3, 7, 64, 199};
    enum { N = sizeof sides / sizeof sides[0] };
    for (int i = 0; i < N * N; i++) {
        struct image image = make_image(sides[i % N], sides[i / N], constant), out;
        for (int k = 0; k < N; k++) {
            uint32_t width = sides[k], height = sides[(k + i) % N];
            assert_int_equal(image_resize(&image, width, height, &out, NULL), WL_OK);
            struct image expected = make_image(width, height, constant);
            assert_true(largest_difference(&out, &expected) == 0);
            image_release(&expected);
            image_release(&out);
        }
        image_release(&image);
    }
}

static void copies_where_nothing_changes(void **state) {
    (void)state;
    struct image image = make_image(23, 17, sample_at), out;
    assert_int_equal(image_resize(&image, 23, 17, &out, NULL), WL_OK);
    assert_ptr_not_equal(out.rgb, image.rgb);
    assert_int_equal(largest_difference(&image, &out), 0);
    image_release(&out);
    image_release(&image);
}

// The weights of one pixel add up to 2^22 but for rounding, and their negative part is small: sums
// of 32 bits hold the brightest line, at every size a picture may have.
static void stays_within_32_bits(void **state) {
    (void)state;
    static const uint32_t sides[] = {1, 2, 3, 4, 5, 6, 7, 9, 100, 101, 4000, 32767, 32768};
    enum { N = sizeof sides / sizeof sides[0] };
    for (int i = 0; i < N * N; i++) {
        struct resize_taps taps;
        uint32_t n_in = sides[i % N];
        assert_int_equal(resize_taps_init(&taps, n_in, sides[i / N], NULL), WL_OK);
        for (uint32_t k = 0; k < taps.n_out; k++) {
            int64_t sum = 0, positive = 0;
            assert_true(taps.n[k] >= 1 && taps.n[k] <= taps.stride);
            assert_true(taps.first[k] < n_in && taps.n[k] <= n_in - taps.first[k]);
            for (uint32_t t = 0; t < taps.n[k]; t++) {
                int64_t weight = taps.weight[(size_t)k * taps.stride + t];
                sum += weight;
                positive += weight > 0 ? weight : 0;
            }
            assert_true(llabs(sum - (1 << RESIZE_WEIGHT_BITS)) <= taps.n[k]);
            assert_true(positive * 255 + (1 << RESIZE_WEIGHT_BITS) < INT32_MAX);
            assert_true((positive - sum) * 255 < INT32_MAX);
        }
        resize_taps_release(&taps);
    }
}

static void keeps_its_memory_for_absurd_shapes(void **state) {
    (void)state;
    struct image tall = make_image(1, 32768, smooth_at), out;
    // Lines first would need 3 GB in between.
    assert_int_equal(image_resize(&tall, 32768, 1, &out, NULL), WL_OK);
    assert_int_equal(out.width, 32768);
    image_release(&out);
    assert_int_equal(image_resize(&tall, 336, 336, &out, NULL), WL_OK);
    image_release(&out);
    struct wl_err err = {0};
    assert_int_equal(image_resize(&tall, 32768, 32768, &out, &err), WL_LIMIT);
    assert_int_equal(image_resize(&tall, 32769, 1, &out, &err), WL_LIMIT);
    assert_int_equal(image_resize(&tall, UINT32_MAX, UINT32_MAX, &out, &err), WL_LIMIT);
    assert_int_equal(image_resize(&tall, 0, 1, &out, &err), WL_INPUT);
    assert_null(out.rgb);
    struct image none = {0};
    assert_int_equal(image_resize(&none, 1, 1, &out, &err), WL_INPUT);
    image_release(&tall);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_pillow),
        cmocka_unit_test(keeps_one_colour),
        cmocka_unit_test(copies_where_nothing_changes),
        cmocka_unit_test(stays_within_32_bits),
        cmocka_unit_test(keeps_its_memory_for_absurd_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
