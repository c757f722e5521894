// Bootstrap and ratios: repeatable, exact where they can be, and honest.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "near.h"
#include "stats/bootstrap.h"
#include "stats/ratio.h"

static double mean_of_rows(const size_t *rows, size_t n, void *context) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += ((const double *)context)[rows[i]];
    }
    return sum / (double)n;
}

static double never_finite(const size_t *rows, size_t n, void *context) {
    (void)context;
    return n && rows[0] == 0 ? 1 : (double)NAN;
}

static void test_same_seed_same_interval(void **state) {
    (void)state;
    double values[] = {1, 2, 3, 4, 5, 9};
    struct stats_estimate a, b, c;
    for (int method = 0; method < 3; method++) {
        enum stats_bootstrap_method m = (enum stats_bootstrap_method)method;
        assert_int_equal(stats_bootstrap(6, mean_of_rows, values, m, 500, 7, &a, NULL), WL_OK);
        assert_int_equal(stats_bootstrap(6, mean_of_rows, values, m, 500, 7, &b, NULL), WL_OK);
        assert_int_equal(stats_bootstrap(6, mean_of_rows, values, m, 500, 8, &c, NULL), WL_OK);
        assert_memory_equal(&a, &b, sizeof a);
        assert_true(a.value == 4 && a.ci95.low < 4 && a.ci95.high > 4);
        assert_true(a.ci95.low != c.ci95.low || a.ci95.high != c.ci95.high);
    }
}

static void test_bootstrap_refuses(void **state) {
    (void)state;
    double values[] = {1, 2, 3};
    struct stats_estimate e;
    assert_int_equal(
        stats_bootstrap(2, mean_of_rows, values, STATS_BOOTSTRAP_BCA, 500, 1, &e, NULL), WL_INPUT);
    assert_int_equal(stats_bootstrap(3, mean_of_rows, values, STATS_BOOTSTRAP_BCA, 10, 1, &e, NULL),
                     WL_INPUT);
    assert_int_equal(stats_bootstrap(50, never_finite, NULL, STATS_BOOTSTRAP_BCA, 500, 1, &e, NULL),
                     WL_INPUT);
}

static void test_constant_sample(void **state) {
    (void)state;
    double values[] = {2, 2, 2, 2};
    struct stats_estimate e;
    assert_int_equal(
        stats_bootstrap(4, mean_of_rows, values, STATS_BOOTSTRAP_BCA, 500, 1, &e, NULL), WL_OK);
    assert_true(e.ci95.low == 2 && e.ci95.high == 2);
    struct stats_ratio ratio;
    const double half[] = {1, 1, 1, 1};
    assert_int_equal(stats_paired_ratio(values, half, 4, 1, &ratio, NULL), WL_OK);
    assert_true(ratio.mean_ratio == 0.5 && ratio.p_equal == 0);
    assert_near(ratio.mean_ci95.low, 0.5, 1e-12);
    assert_near(ratio.mean_ci95.high, 0.5, 1e-12);
    assert_int_equal(stats_paired_ratio(values, values, 4, 1, &ratio, NULL), WL_OK);
    assert_true(ratio.p_equal == 1);
}

static void test_ratio_refuses(void **state) {
    (void)state;
    const double a[] = {1, 2, 3}, zero[] = {1, 0, 3};
    struct stats_ratio ratio;
    assert_int_equal(stats_paired_ratio(a, zero, 3, 1, &ratio, NULL), WL_INPUT);
    assert_int_equal(stats_paired_ratio(a, a, 2, 1, &ratio, NULL), WL_INPUT);
}

static void test_fieller_without_a_base(void **state) {
    (void)state;
    struct stats_moment_pair pair = {.base = 1, .changed = 2, .var_base = 1, .var_changed = 1};
    assert_true(isnan(stats_fieller(&pair, 10).low));
    pair.var_base = pair.var_changed = 1e-4;
    struct stats_interval interval = stats_fieller(&pair, 1e6);
    assert_near(interval.low, 2 - 1.96 * 0.01 * sqrt(5), 2e-3);
    assert_near(interval.high, 2 + 1.96 * 0.01 * sqrt(5), 2e-3);
}

// A drifting machine: the pair shares the drift. True ratio 0.5.
static void draw(struct rng *rng, double *base, double *changed, size_t n, double outlier_share) {
    double drift = 1;
    for (size_t i = 0; i < n; i++) {
        drift *= 1 + 0.05 * rng_normal(rng);
        base[i] = drift * exp(0.04 * rng_normal(rng) - 0.0008);
        changed[i] = 0.5 * drift * exp(0.04 * rng_normal(rng) - 0.0008);
        if (rng_uniform(rng) < outlier_share) {
            changed[i] *= 1.5;
        }
    }
}

static void test_ratio_covers(void **state) {
    (void)state;
    static const size_t sizes[] = {5, 8, 15, 30};
    struct rng rng;
    rng_seed(&rng, 4);
    for (size_t k = 0; k < 4; k++) {
        int n_mean = 0, n_median = 0, n_strayed = 0, n_runs = 500;
        for (int run = 0; run < n_runs; run++) {
            double base[30], changed[30];
            struct stats_ratio ratio;
            draw(&rng, base, changed, sizes[k], 0);
            stats_paired_ratio(base, changed, sizes[k], (uint64_t)run, &ratio, NULL);
            n_mean += ratio.mean_ci95.low <= 0.5 && 0.5 <= ratio.mean_ci95.high;
            n_median += ratio.median_ci95.low <= 0.5 && 0.5 <= ratio.median_ci95.high;
            draw(&rng, base, changed, sizes[k], 0.05);
            stats_paired_ratio(base, changed, sizes[k], (uint64_t)run, &ratio, NULL);
            n_strayed += ratio.median_ci95.low <= 0.5 && 0.5 <= ratio.median_ci95.high;
        }
        print_message("%2zu pairs: mean %.1f %%, median %.1f %%, median with outliers %.1f %%\n",
                      sizes[k], n_mean / 5.0, n_median / 5.0, n_strayed / 5.0);
        assert_true(n_mean >= 0.92 * n_runs && n_mean <= 0.98 * n_runs);
        assert_true(n_median >= 0.90 * n_runs && n_strayed >= 0.88 * n_runs);
    }
}

static void test_outliers_are_counted_and_kept(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 5);
    double base[30], changed[30];
    draw(&rng, base, changed, 30, 0);
    changed[7] *= 2;
    struct stats_ratio ratio;
    assert_int_equal(stats_paired_ratio(base, changed, 30, 1, &ratio, NULL), WL_OK);
    assert_int_equal(ratio.n_outliers, 1);
    assert_int_equal(ratio.n, 30);
    assert_near(ratio.median_ratio, 0.5, 0.03);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_same_interval),
        cmocka_unit_test(test_bootstrap_refuses),
        cmocka_unit_test(test_constant_sample),
        cmocka_unit_test(test_ratio_refuses),
        cmocka_unit_test(test_fieller_without_a_base),
        cmocka_unit_test(test_ratio_covers),
        cmocka_unit_test(test_outliers_are_counted_and_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
