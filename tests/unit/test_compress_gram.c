// Second moments in packed form are those that a plain sum gives.
#include <cblas.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compress/gram.h"
#include "near.h"

static float *random_rows(struct rng *rng, size_t n) {
    float *x = calloc(n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(rng_normal(rng) + 0.3);
    }
    return x;
}

static double moment(const float *x, size_t n_rows, size_t n, size_t i, size_t j) {
    double sum = 0;
    for (size_t t = 0; t < n_rows; t++) {
        sum += (double)x[t * n + i] * (double)x[t * n + j];
    }
    return sum;
}

// Every third element, and all.
static void check_part(const struct gram *gram, const float *square) {
    float *part = calloc(gram->n * gram->n, sizeof *part);
    uint32_t *kept = calloc(gram->n, sizeof *kept);
    for (uint32_t step = 1; step <= 3; step += 2) {
        size_t n_kept = 0;
        for (uint32_t i = step / 2; i < gram->n; i += step) {
            kept[n_kept++] = i;
        }
        gram_part(gram, kept, n_kept, part);
        for (size_t i = 0; i < n_kept; i++) {
            for (size_t j = 0; j < n_kept; j++) {
                assert_near((double)part[i * n_kept + j],
                            (double)square[kept[i] * gram->n + kept[j]], 0);
            }
        }
    }
    free(part);
    free(kept);
}

static void check_width(size_t n) {
    enum { A = 37, B = 11 };
    struct rng rng;
    rng_seed(&rng, n);
    float *a = random_rows(&rng, A * n), *b = random_rows(&rng, B * n);
    float *square = calloc(n * n, sizeof *square), *diagonal = calloc(n, sizeof *diagonal);
    struct gram gram;
    assert_int_equal(gram_init(&gram, n, NULL), WL_OK);
    gram_add(&gram, a, A, 1);
    gram_add(&gram, b, B, 2.5F);
    gram_add(&gram, b, 0, 1);
    gram_square(&gram, square);
    gram_diagonal(&gram, diagonal);
    double count = A + 2.5 * B;
    assert_near(gram.count, count, 1e-9);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t t = 0; t < A; t++) {
            sum += (double)a[t * n + i];
        }
        for (size_t t = 0; t < B; t++) {
            sum += 2.5 * (double)b[t * n + i];
        }
        assert_near(gram.sum[i], sum, 1e-9);
        assert_near((double)diagonal[i], (double)square[i * n + i], 0);
        for (size_t j = 0; j < n; j++) {
            double expected = (moment(a, A, n, i, j) + 2.5 * moment(b, B, n, i, j)) / count;
            assert_near((double)square[i * n + j], expected, 1e-5);
            assert_near((double)square[i * n + j], (double)square[j * n + i], 0);
        }
    }
    check_part(&gram, square);
    gram_release(&gram);
    free(a);
    free(b);
    free(square);
    free(diagonal);
}

static void test_equals_a_plain_sum(void **state) {
    (void)state;
    const size_t widths[] = {1, 2, 3, 4, 5, 6, 7, 63, 64, 65, 130, 131};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        check_width(widths[i]);
    }
}

static void test_rows_in_any_portions(void **state) {
    (void)state;
    enum { ROWS = 9001, N = 5 };
    struct rng rng;
    rng_seed(&rng, 1);
    float *x = random_rows(&rng, ROWS * N), square[N * N];
    struct gram gram;
    assert_int_equal(gram_init(&gram, N, NULL), WL_OK);
    gram_add(&gram, x, ROWS, 1);
    gram_square(&gram, square);
    assert_near(gram.count, ROWS, 0);
    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < N; j++) {
            assert_near((double)square[i * N + j], moment(x, ROWS, N, i, j) / ROWS, 1e-5);
        }
    }
    gram_release(&gram);
    free(x);
}

static void test_nothing_added_is_zero(void **state) {
    (void)state;
    struct gram gram;
    float square[9] = {1, 2, 3}, diagonal[3] = {1, 2, 3};
    assert_int_equal(gram_init(&gram, 3, NULL), WL_OK);
    gram_square(&gram, square);
    gram_diagonal(&gram, diagonal);
    for (size_t i = 0; i < 9; i++) {
        assert_near((double)square[i], 0, 0);
        assert_near((double)diagonal[i / 3], 0, 0);
    }
    gram_release(&gram);
}

// A state that is not finite must show in C instead of being left out in silence.
static void test_nan_reaches_the_moments(void **state) {
    (void)state;
    struct gram gram;
    const float x[] = {1, NAN, 2, 3};
    float diagonal[4];
    assert_int_equal(gram_init(&gram, 4, NULL), WL_OK);
    gram_add(&gram, x, 1, 1);
    gram_diagonal(&gram, diagonal);
    assert_true(isnan(diagonal[1]));
    assert_true(isnan(gram.sum[1]));
    assert_near((double)diagonal[3], 9, 0);
    gram_release(&gram);
}

static void test_limits(void **state) {
    (void)state;
    struct gram gram;
    struct wl_err err;
    assert_int_equal(gram_init(&gram, 0, &err), WL_LIMIT);
    gram_release(&gram);
    assert_int_equal(gram_init(&gram, 46341, &err), WL_LIMIT);
    assert_non_null(strstr(err.message, "46341"));
    assert_int_equal(gram_init(&gram, SIZE_MAX, &err), WL_LIMIT);
    gram_release(&gram);
    gram_release(&gram);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_a_plain_sum),
        cmocka_unit_test(test_rows_in_any_portions),
        cmocka_unit_test(test_nothing_added_is_zero),
        cmocka_unit_test(test_nan_reaches_the_moments),
        cmocka_unit_test(test_limits),
    };
    openblas_set_num_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
