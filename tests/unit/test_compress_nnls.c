// Least squares without negative unknowns: exact where the truth is, on the border where it is not;
// and the curve that sensitivities are read from.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compress/curve.h"
#include "compress/nnls.h"

enum { M = 12, N = 5 };

static void test_finds_the_truth(void **state) {
    (void)state;
    struct rng rng;
    double a[M * N], b[M], x[N], truth[N], residual;
    rng_seed(&rng, 1);
    for (int t = 0; t < 200; t++) {
        for (size_t j = 0; j < N; j++) {
            truth[j] = rng_below(&rng, 3) == 0 ? 0 : pow(10, 4 * rng_uniform(&rng) - 6);
        }
        for (size_t i = 0; i < M; i++) {
            b[i] = 0;
            for (size_t j = 0; j < N; j++) {
                a[i * N + j] = rng_uniform(&rng) * pow(10, (double)j);
                b[i] += a[i * N + j] * truth[j];
            }
        }
        assert_int_equal(nnls_solve(a, b, M, N, x, &residual, NULL), WL_OK);
        assert_true(residual < 1e-10);
        for (size_t j = 0; j < N; j++) {
            assert_true(fabs(x[j] - truth[j]) < 1e-9);
        }
    }
}

// At the least distance no unknown above 0 pulls, and none at 0 pulls upwards.
static void test_conditions_of_the_least(void **state) {
    (void)state;
    struct rng rng;
    double a[M * N], b[M], x[N], residual;
    size_t n_border = 0;
    rng_seed(&rng, 2);
    for (int t = 0; t < 200; t++) {
        for (size_t i = 0; i < M; i++) {
            b[i] = rng_normal(&rng);
            for (size_t j = 0; j < N; j++) {
                a[i * N + j] = rng_normal(&rng);
            }
        }
        assert_int_equal(nnls_solve(a, b, M, N, x, &residual, NULL), WL_OK);
        double off[M], squares = 0;
        for (size_t i = 0; i < M; i++) {
            off[i] = b[i];
            for (size_t j = 0; j < N; j++) {
                off[i] -= a[i * N + j] * x[j];
            }
            squares += off[i] * off[i];
        }
        assert_true(fabs(sqrt(squares) - residual) < 1e-12);
        for (size_t j = 0; j < N; j++) {
            double pull = 0;
            for (size_t i = 0; i < M; i++) {
                pull += a[i * N + j] * off[i];
            }
            assert_true(x[j] >= 0 && pull < 1e-9 && (x[j] == 0 || fabs(pull) < 1e-9));
            n_border += x[j] == 0;
        }
    }
    assert_true(n_border > 100);
}

static void test_columns_that_depend(void **state) {
    (void)state;
    const double a[] = {1, 2, 0, 2, 4, 0, 3, 6, 0}, b[] = {2, 4, 6};
    double x[3], residual;
    assert_int_equal(nnls_solve(a, b, 3, 3, x, &residual, NULL), WL_OK);
    assert_true(residual < 1e-12 && fabs(x[0] + 2 * x[1] - 2) < 1e-12 && x[2] == 0);
    assert_true(x[0] == 0 || x[1] == 0);
}

static void test_refuses(void **state) {
    (void)state;
    const double a[] = {1, NAN}, b[] = {1, 2};
    double x[2], residual;
    assert_int_equal(nnls_solve(a, b, 2, 1, x, &residual, NULL), WL_INPUT);
    assert_int_equal(nnls_solve(a, b, 0, 1, x, &residual, NULL), WL_INPUT);
    assert_int_equal(nnls_solve(a, b, 1, NNLS_MAX_UNKNOWNS + 1, x, &residual, NULL), WL_INPUT);
}

static void test_curve(void **state) {
    (void)state;
    const double x[] = {0, 1, 2, 3, 4, 5}, y[] = {1, 0.6, 0.5, 0.2, 0.25, 0};
    struct curve curve;
    curve_hull(&curve, x, y, 6);
    assert_true(curve_at(&curve, 0) == 1 && curve_at(&curve, 5) == 0);
    assert_true(fabs(curve_at(&curve, 1) - 0.6) < 1e-12); // on the hull
    assert_true(curve_at(&curve, 2) < 0.5);               // was above it
    assert_true(curve_at(&curve, -1) == 1 && curve_at(&curve, 9) == 0);
    for (double at = 0; at < 4; at += 0.25) {
        double before = curve_at(&curve, at), here = curve_at(&curve, at + 0.5);
        double after = curve_at(&curve, at + 1);
        assert_true(before >= here && here >= after && before + after >= 2 * here - 1e-12);
    }
    for (size_t i = 0; i < 6; i++) {
        assert_true(curve_at(&curve, x[i]) <= y[i] + 1e-12);
    }
    curve_hull(&curve, x, y, 0);
    assert_true(curve_at(&curve, 1) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_the_truth),
        cmocka_unit_test(test_conditions_of_the_least),
        cmocka_unit_test(test_columns_that_depend),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_curve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
