// The knee of counted tokens: staircases that flicker, families that step, fall again or never
// change, and growth that only looks flat.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "near.h"
#include "stats/knee.h"

enum { MAX_COUNTS = 256 };

// Squares of `step`, 2 * `step`, ... pixels a side against the tokens that `count` gives them.
static size_t count_squares(double (*count)(double side), double step, double largest,
                            struct knee_point *points) {
    size_t n = 0;
    for (double side = step; side <= largest && n < MAX_COUNTS; side += step) {
        points[n++] = (struct knee_point){side * side, count(side)};
    }
    return n;
}

// Qwen2-VL's cells of 28 pixels, at most 1024: rounded below, both sides floored above.
static double smart_resize(double side) {
    double cells = floor(side / 28 + 0.5);
    if (cells * cells <= 1024) {
        return fmax(cells * cells, 4);
    }
    return fmod(side, 56) < 28 ? 1024 : 1015;
}

static double fixed_count(double side) {
    return side > 0 ? 256 : 0;
}

static double unclamped(double side) {
    double cells = floor(side / 28 + 0.5);
    return fmax(cells * cells, 1);
}

// One view up to 512, tiles from there on, and fewer of them for the largest pictures.
static double falling_again(double side) {
    return side <= 512 ? floor(side / 32) * floor(side / 32) : side < 1400 ? 2300 : 1770;
}

static double one_step(double side) {
    return side <= 448 ? 512 : 3328;
}

static enum knee_shape shape_of(double (*count)(double side), double step, double largest,
                                double tolerance, double *knee_side) {
    struct knee_point points[MAX_COUNTS];
    size_t n = count_squares(count, step, largest, points);
    double knee_x;
    enum knee_shape shape = knee_of_counts(points, n, tolerance, &knee_x);
    *knee_side = sqrt(knee_x);
    return shape;
}

static void test_flickering_clamp(void **state) {
    (void)state;
    double side;
    assert_int_equal(shape_of(smart_resize, 28, 1792, 0.02, &side), KNEE_FLAT_AFTER);
    assert_near(side, 896, 0.1);
    assert_int_equal(shape_of(smart_resize, 50, 1800, 0.02, &side), KNEE_FLAT_AFTER);
    assert_near(side, 900, 0.1);
    // Without a tolerance it flickers to the end.
    assert_int_equal(shape_of(smart_resize, 28, 1792, 0, &side), KNEE_NONE_GROWING);
}

static void test_constant(void **state) {
    (void)state;
    double side;
    assert_int_equal(shape_of(fixed_count, 56, 1792, 0, &side), KNEE_NONE_CONSTANT);
    assert_true(isnan(side));
    struct knee_point one = {1, 5};
    assert_int_equal(knee_of_counts(&one, 1, 0.01, &side), KNEE_NONE_CONSTANT);
    assert_int_equal(knee_of_counts(&one, 0, 0.01, &side), KNEE_NONE_CONSTANT);
}

static void test_growing(void **state) {
    (void)state;
    double side;
    assert_int_equal(shape_of(unclamped, 56, 1792, 0.02, &side), KNEE_NONE_GROWING);
    // Steps so small that the last ones are within the tolerance.
    assert_int_equal(shape_of(unclamped, 8, 1792, 0.02, &side), KNEE_NONE_GROWING);
    assert_int_equal(shape_of(unclamped, 28, 4480, 0.12, &side), KNEE_NONE_GROWING);
    // A clamp at the very end of the range.
    assert_int_equal(shape_of(smart_resize, 8, 904, 0.02, &side), KNEE_NONE_GROWING);
    assert_true(isnan(side));
}

static void test_families_that_step_or_fall(void **state) {
    (void)state;
    double side;
    assert_int_equal(shape_of(falling_again, 64, 2048, 0.02, &side), KNEE_FLAT_AFTER);
    assert_near(side, 1408, 0.1);
    assert_int_equal(shape_of(one_step, 64, 2048, 0.02, &side), KNEE_FLAT_AFTER);
    assert_near(side, 512, 0.1);
    struct knee_point falling[20];
    for (size_t i = 0; i < 20; i++) {
        falling[i] = (struct knee_point){(double)i, 100 - 4 * (double)i};
    }
    double knee_x;
    assert_int_equal(knee_of_counts(falling, 20, 0.02, &knee_x), KNEE_NONE_GROWING);
    assert_true(isnan(knee_x));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flickering_clamp),
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_growing),
        cmocka_unit_test(test_families_that_step_or_fall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
