// Least squares: a textbook case, rank, weights, and what its intervals cover.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "near.h"
#include "stats/fit.h"

enum { N = 40 };

static struct stats_fit fitted(const struct stats_fit_data *data, enum stats_covariance kind) {
    struct stats_fit fit;
    struct wl_err err = {0};
    if (stats_fit(data, kind, &fit, NULL, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return fit;
}

// By hand: y = 1 + 2x with residuals that are orthogonal to 1 and x.
static void test_straight_line_by_hand(void **state) {
    (void)state;
    const double rows[] = {1, -1, 1, 0, 1, 1, 1, 2}, y[] = {-1 + 0.1, 1 - 0.3, 3 + 0.3, 5 - 0.1};
    struct stats_fit fit =
        fitted(&(struct stats_fit_data){.rows = rows, .y = y, .n = 4, .n_columns = 2},
               STATS_COVARIANCE_PLAIN);
    assert_near(fit.coef[0], 1, 1e-12);
    assert_near(fit.coef[1], 2, 1e-12);
    assert_int_equal(fit.dof, 2);
    assert_near(fit.residual_variance, 0.1, 1e-12);    // (0.01+0.09+0.09+0.01)/2
    assert_near(fit.covariance[1][1], 0.1 / 5, 1e-12); // over sum (x - 0.5)^2 = 5
    assert_near(fit.covariance[0][1], -0.5 * 0.1 / 5, 1e-12);
    assert_near(fit.r2, 1 - 0.2 / 20.2, 1e-12);
    assert_near(fit.ci95[1].high, 2 + 4.30265272975 * sqrt(0.02), 1e-8);
    struct stats_prediction at;
    const double row[] = {1, 0.5};
    stats_fit_predict(&fit, row, 1, &at);
    assert_near(at.value, 2, 1e-12);
    assert_near(at.sd_mean, sqrt(0.1 / 4), 1e-12);
    assert_near(at.sd_single, sqrt(0.1 / 4 + 0.1), 1e-12);
}

// NIST StRD Longley (condition number 5e9 before scaling): certified coefficients.
static void test_longley(void **state) {
    (void)state;
    static const double table[16][7] = {{60323, 83.0, 234289, 2356, 1590, 107608, 1947},
                                        {61122, 88.5, 259426, 2325, 1456, 108632, 1948},
                                        {60171, 88.2, 258054, 3682, 1616, 109773, 1949},
                                        {61187, 89.5, 284599, 3351, 1650, 110929, 1950},
                                        {63221, 96.2, 328975, 2099, 3099, 112075, 1951},
                                        {63639, 98.1, 346999, 1932, 3594, 113270, 1952},
                                        {64989, 99.0, 365385, 1870, 3547, 115094, 1953},
                                        {63761, 100.0, 363112, 3578, 3350, 116219, 1954},
                                        {66019, 101.2, 397469, 2904, 3048, 117388, 1955},
                                        {67857, 104.6, 419180, 2822, 2857, 118734, 1956},
                                        {68169, 108.4, 442769, 2936, 2798, 120445, 1957},
                                        {66513, 110.8, 444546, 4681, 2637, 121950, 1958},
                                        {68655, 112.6, 482704, 3813, 2552, 123366, 1959},
                                        {69564, 114.2, 502601, 3931, 2514, 125368, 1960},
                                        {69331, 115.7, 518173, 4806, 2572, 127852, 1961},
                                        {70551, 116.9, 554894, 4007, 2827, 130081, 1962}};
    static const double certified[7] = {
        -3482258.63459582, 15.0618722713733,       -0.358191792925910E-01, -2.02022980381683,
        -1.03322686717359, -0.511041056535807E-01, 1829.15146461355};
    double rows[16 * 7], y[16];
    for (size_t i = 0; i < 16; i++) {
        y[i] = table[i][0];
        rows[7 * i] = 1;
        memcpy(rows + 7 * i + 1, table[i] + 1, 6 * sizeof(double));
    }
    struct stats_fit fit =
        fitted(&(struct stats_fit_data){.rows = rows, .y = y, .n = 16, .n_columns = 7},
               STATS_COVARIANCE_PLAIN);
    for (int j = 0; j < 7; j++) {
        assert_near(fit.coef[j] / certified[j], 1, 1e-8);
    }
    assert_near(fit.residual_sd, 304.854073561965, 1e-6);
    assert_near(sqrt(fit.covariance[6][6]), 455.478499142212, 1e-5);
    assert_near(fit.r2, 0.995479004577296, 1e-10);
}

static void test_collinear_column_is_named(void **state) {
    (void)state;
    double rows[N * 3], y[N];
    for (size_t i = 0; i < N; i++) {
        rows[3 * i] = 1;
        rows[3 * i + 1] = (double)i;
        rows[3 * i + 2] = 3 * (double)i + 7;
        y[i] = (double)(i % 5);
    }
    const char *const names[] = {"fixed", "prompt", "twin"};
    struct stats_fit_data data = {.rows = rows, .y = y, .n = N, .n_columns = 3, .names = names};
    struct stats_fit fit;
    struct wl_err err;
    size_t bad;
    assert_int_equal(stats_fit(&data, STATS_COVARIANCE_PLAIN, &fit, &bad, &err), WL_INPUT);
    assert_int_equal(bad, 2);
    assert_non_null(strstr(err.message, "twin"));
    for (size_t i = 0; i < N; i++) {
        rows[3 * i + 1] = 0;
    }
    assert_int_equal(stats_fit(&data, STATS_COVARIANCE_PLAIN, &fit, &bad, &err), WL_INPUT);
    assert_int_equal(bad, 1);
}

static void test_bad_data(void **state) {
    (void)state;
    double rows[] = {1, 1, 1, 1}, y[] = {1, 2, 3, 4}, weights[] = {1, 0, 1, 1};
    struct stats_fit fit;
    struct stats_fit_data data = {.rows = rows, .y = y, .n = 1, .n_columns = 1};
    assert_int_equal(stats_fit(&data, STATS_COVARIANCE_PLAIN, &fit, NULL, NULL), WL_INPUT);
    data.n = 4;
    data.weights = weights;
    assert_int_equal(stats_fit(&data, STATS_COVARIANCE_PLAIN, &fit, NULL, NULL), WL_INPUT);
    weights[1] = 1;
    y[2] = (double)NAN;
    assert_int_equal(stats_fit(&data, STATS_COVARIANCE_PLAIN, &fit, NULL, NULL), WL_INPUT);
    data.n_columns = STATS_FIT_MAX_COLUMNS + 1;
    assert_int_equal(stats_fit(&data, STATS_COVARIANCE_PLAIN, &fit, NULL, NULL), WL_INPUT);
}

// A weight of 2 is the same as the row twice.
static void test_weights_repeat_rows(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    double rows[2 * N * 2], y[2 * N], weights[N];
    for (size_t i = 0; i < N; i++) {
        weights[i] = i % 2 ? 2 : 1;
        rows[2 * i] = 1;
        rows[2 * i + 1] = rng_uniform(&rng) * 1e6;
        y[i] = rng_normal(&rng) + 1e-6 * rows[2 * i + 1];
    }
    struct stats_fit weighted = fitted(
        &(struct stats_fit_data){.rows = rows, .y = y, .weights = weights, .n = N, .n_columns = 2},
        STATS_COVARIANCE_PLAIN);
    size_t n = N;
    for (size_t i = 1; i < N; i += 2) {
        rows[2 * n] = 1;
        rows[2 * n + 1] = rows[2 * i + 1];
        y[n++] = y[i];
    }
    struct stats_fit repeated =
        fitted(&(struct stats_fit_data){.rows = rows, .y = y, .n = n, .n_columns = 2},
               STATS_COVARIANCE_PLAIN);
    assert_near(weighted.coef[0], repeated.coef[0], 1e-10);
    assert_near(weighted.coef[1], repeated.coef[1], 1e-14);
    assert_near(weighted.inverse_normal[1][1] / repeated.inverse_normal[1][1], 1, 1e-10);
}

// Slope 2; noise that grows with x when `is_growing`.
static void draw(struct rng *rng, double *rows, double *y, int is_growing) {
    for (size_t i = 0; i < N; i++) {
        double x = 10 * rng_uniform(rng);
        rows[2 * i] = 1;
        rows[2 * i + 1] = x;
        y[i] = 1 + 2 * x + (is_growing ? 0.02 * x * x : 0.5) * rng_normal(rng);
    }
}

static void test_coverage(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    int n_plain = 0, n_mean = 0, n_single = 0, n_naive = 0, n_hc3 = 0, n_runs = 2000;
    for (int run = 0; run < n_runs; run++) {
        double rows[2 * N], y[N];
        struct stats_fit_data data = {.rows = rows, .y = y, .n = N, .n_columns = 2};
        draw(&rng, rows, y, 0);
        struct stats_fit fit = fitted(&data, STATS_COVARIANCE_PLAIN);
        n_plain += fit.ci95[1].low <= 2 && 2 <= fit.ci95[1].high;
        struct stats_prediction at;
        const double row[] = {1, 4};
        double single = 9 + 0.5 * rng_normal(&rng);
        stats_fit_predict(&fit, row, 1, &at);
        n_mean += at.ci95.low <= 9 && 9 <= at.ci95.high;
        n_single += at.pi95.low <= single && single <= at.pi95.high;
        draw(&rng, rows, y, 1);
        fit = fitted(&data, STATS_COVARIANCE_PLAIN);
        n_naive += fit.ci95[1].low <= 2 && 2 <= fit.ci95[1].high;
        fit = fitted(&data, STATS_COVARIANCE_HC3);
        n_hc3 += fit.ci95[1].low <= 2 && 2 <= fit.ci95[1].high;
    }
    print_message("slope %.1f %%, mean %.1f %%, single %.1f %%; growing noise: plain %.1f %%, "
                  "HC3 %.1f %%\n",
                  n_plain / 20.0, n_mean / 20.0, n_single / 20.0, n_naive / 20.0, n_hc3 / 20.0);
    assert_true(n_plain >= 0.92 * n_runs && n_plain <= 0.98 * n_runs);
    assert_true(n_mean >= 0.92 * n_runs && n_mean <= 0.98 * n_runs);
    assert_true(n_single >= 0.92 * n_runs && n_single <= 0.98 * n_runs);
    assert_true(n_hc3 >= 0.92 * n_runs && n_hc3 <= 0.98 * n_runs);
    assert_true(n_naive < n_hc3);
}

static void test_larger_covariance_is_never_smaller(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    for (int run = 0; run < 200; run++) {
        double rows[2 * N], y[N];
        struct stats_fit_data data = {.rows = rows, .y = y, .n = N, .n_columns = 2};
        draw(&rng, rows, y, run % 2);
        struct stats_fit plain = fitted(&data, STATS_COVARIANCE_PLAIN);
        struct stats_fit hc3 = fitted(&data, STATS_COVARIANCE_HC3);
        struct stats_fit larger = fitted(&data, STATS_COVARIANCE_LARGER);
        for (int j = 0; j < 2; j++) {
            double least = fmax(plain.covariance[j][j], hc3.covariance[j][j]);
            assert_near(larger.covariance[j][j] / least, 1, 1e-12);
        }
        assert_true(pow(larger.covariance[0][1], 2) <=
                    larger.covariance[0][0] * larger.covariance[1][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_straight_line_by_hand),
        cmocka_unit_test(test_longley),
        cmocka_unit_test(test_collinear_column_is_named),
        cmocka_unit_test(test_bad_data),
        cmocka_unit_test(test_weights_repeat_rows),
        cmocka_unit_test(test_coverage),
        cmocka_unit_test(test_larger_covariance_is_never_smaller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
