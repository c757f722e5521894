// Least squares with a ridge: against elimination in double, and what it does with too many inputs,
// too little data and bad data.
#include <cblas.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compress/repair.h"
#include "near.h"

enum { N = 12, OUT = 5, ROWS = 200 };

struct problem {
    float hh[N * N], th[OUT * N], w0[OUT * N];
};

static struct problem random_problem(uint64_t seed) {
    struct problem p = {0};
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t t = 0; t < ROWS; t++) {
        double h[N], y[OUT], common = rng_normal(&rng);
        for (size_t i = 0; i < N; i++) {
            h[i] = rng_normal(&rng) + common;
        }
        for (size_t o = 0; o < OUT; o++) {
            y[o] = rng_normal(&rng) + h[o] - 2 * h[N - 1 - o];
        }
        for (size_t i = 0; i < N; i++) {
            for (size_t j = 0; j < N; j++) {
                p.hh[i * N + j] += (float)(h[i] * h[j] / ROWS);
            }
            for (size_t o = 0; o < OUT; o++) {
                p.th[o * N + i] += (float)(y[o] * h[i] / ROWS);
            }
        }
    }
    for (size_t i = 0; i < sizeof p.w0 / sizeof *p.w0; i++) {
        p.w0[i] = (float)rng_normal(&rng);
    }
    return p;
}

static void solve(const struct problem *p, const float *w0, double ridge, float w[OUT * N]) {
    struct problem copy = *p;
    struct wl_err err = {0};
    if (repair_solve(copy.hh, copy.th, w0, OUT, N, ridge, w, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
}

static double mean_diagonal(const struct problem *p) {
    double sum = 0;
    for (size_t i = 0; i < N; i++) {
        sum += (double)p->hh[i * N + i] / N;
    }
    return sum;
}

// w (HH + lambda I) = TH + lambda w0 is what being the minimum means.
static void test_solves_the_normal_equations(void **state) {
    (void)state;
    const double ridges[] = {0, 1e-3, 1e-2, 1};
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct problem p = random_problem(seed);
        double ridge = ridges[seed % 4], lambda = ridge * mean_diagonal(&p);
        const float *w0 = seed % 3 ? p.w0 : NULL;
        float w[OUT * N];
        solve(&p, w0, ridge, w);
        for (size_t o = 0; o < OUT; o++) {
            for (size_t j = 0; j < N; j++) {
                double left = lambda * (double)w[o * N + j];
                for (size_t i = 0; i < N; i++) {
                    left += (double)w[o * N + i] * (double)p.hh[i * N + j];
                }
                double fallback = w0 ? (double)w0[o * N + j] : 0;
                assert_near(left, (double)p.th[o * N + j] + lambda * fallback, 1e-4);
            }
        }
    }
}

// h has every neuron twice; the first copies alone give the same outputs.
static void test_duplicates_are_repaired(void **state) {
    (void)state;
    struct problem p = random_problem(7);
    double ridge = 1e-7;
    float twice[OUT * 2 * N], w[OUT * N];
    struct rng rng;
    rng_seed(&rng, 3);
    for (size_t o = 0; o < OUT; o++) {
        for (size_t j = 0; j < N; j++) {
            p.w0[o * N + j] = twice[o * 2 * N + j] = (float)rng_normal(&rng);
            twice[o * 2 * N + N + j] = (float)rng_normal(&rng);
        }
        for (size_t j = 0; j < N; j++) { // E[t h^T], t = twice [h; h]
            double sum = 0;
            for (size_t i = 0; i < N; i++) {
                sum += ((double)twice[o * 2 * N + i] + (double)twice[o * 2 * N + N + i]) *
                       (double)p.hh[i * N + j];
            }
            p.th[o * N + j] = (float)sum;
        }
    }
    solve(&p, p.w0, ridge, w);
    double lost = 0, all = 0;
    for (size_t t = 0; t < 100; t++) {
        double h[N];
        for (size_t i = 0; i < N; i++) {
            h[i] = rng_normal(&rng);
        }
        for (size_t o = 0; o < OUT; o++) {
            double before = 0, after = 0;
            for (size_t i = 0; i < N; i++) {
                before += ((double)twice[o * 2 * N + i] + (double)twice[o * 2 * N + N + i]) * h[i];
                after += (double)w[o * N + i] * h[i];
            }
            lost += (before - after) * (before - after);
            all += before * before;
        }
    }
    assert_near(sqrt(lost / all), 0, 1e-5);
}

static void test_falls_back_where_the_data_say_nothing(void **state) {
    (void)state;
    struct problem p = random_problem(1);
    float w[OUT * N];
    for (size_t i = 0; i < N; i++) { // input 4 never fires
        p.hh[4 * N + i] = p.hh[i * N + 4] = 0;
    }
    for (size_t o = 0; o < OUT; o++) {
        p.th[o * N + 4] = 0;
    }
    solve(&p, p.w0, 1e-2, w);
    for (size_t o = 0; o < OUT; o++) {
        assert_near((double)w[o * N + 4], (double)p.w0[o * N + 4], 1e-5);
    }
    solve(&p, NULL, 1e-2, w);
    for (size_t o = 0; o < OUT; o++) {
        assert_near((double)w[o * N + 4], 0, 1e-6);
    }
    solve(&p, p.w0, 1e6, w);
    for (size_t i = 0; i < OUT * N; i++) {
        assert_near((double)w[i], (double)p.w0[i], 1e-4);
    }
}

static void test_ridge_is_in_units_of_the_moments(void **state) {
    (void)state;
    struct problem p = random_problem(2), scaled = p;
    float w[OUT * N], w_scaled[OUT * N];
    for (size_t i = 0; i < N * N; i++) {
        scaled.hh[i] *= 1024;
    }
    for (size_t i = 0; i < OUT * N; i++) {
        scaled.th[i] *= 1024;
    }
    solve(&p, p.w0, 0.05, w);
    solve(&scaled, p.w0, 0.05, w_scaled);
    for (size_t i = 0; i < OUT * N; i++) {
        assert_near((double)w_scaled[i], (double)w[i], 1e-6);
    }
}

static void refuse(float *hh, double ridge, const char *expected) {
    const float th[] = {1, 1};
    float w[2];
    struct wl_err err = {0};
    assert_int_equal(repair_solve(hh, th, NULL, 1, 2, ridge, w, &err), WL_INPUT);
    if (!strstr(err.message, expected)) {
        fail_msg("'%s' does not say '%s'", err.message, expected);
    }
}

static void test_bad_moments(void **state) {
    (void)state;
    refuse((float[]){1, 2, 2, 1}, 0.01, "not positive definite (found at input 1)");
    refuse((float[]){1, 1, 1, 1}, 0, "larger ridge");
    refuse((float[]){0, 0, 0, 0}, 0.01, "all zero");
    refuse((float[]){1, 0, 0, NAN}, 0.01, "not finite");
    refuse((float[]){1, NAN, NAN, 1}, 0.01, "");
    refuse((float[]){1, 0, 0, 1}, -1, "ridge of -1");
    refuse((float[]){1, 0, 0, 1}, NAN, "ridge of nan");
    struct wl_err err;
    assert_int_equal(repair_solve(NULL, NULL, NULL, 0, 2, 0, NULL, &err), WL_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_solves_the_normal_equations),
        cmocka_unit_test(test_duplicates_are_repaired),
        cmocka_unit_test(test_falls_back_where_the_data_say_nothing),
        cmocka_unit_test(test_ridge_is_in_units_of_the_moments),
        cmocka_unit_test(test_bad_moments),
    };
    openblas_set_num_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
