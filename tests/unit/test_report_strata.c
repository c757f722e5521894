// Means and ratios over cells: exact cases, and intervals that cover the truth as often as they
// say.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "report/strata.h"

static void near(double got, double expected, double tolerance) {
    if (!(fabs(got - expected) <= tolerance)) {
        fail_msg("got %.12g, expected %.12g", got, expected);
    }
}

static void each_cell_counts_the_same(void **state) {
    (void)state;
    const struct strata_pair pairs[] = {{1, 2, 0}, {1, 4, 0}, {1, 3, 0}, {2, 11, 0}, {2, 9, 0}};
    struct strata_result r;
    strata_mean(pairs, 5, &r);
    assert_int_equal(r.n, 5);
    assert_int_equal(r.n_cells, 2);
    near(r.value, 6.5, 1e-12); // (3 + 10) / 2, not 29 / 5
    assert_true(r.ci95.low < 6.5 && r.ci95.high > 6.5);
    near(r.ci95.high - r.value, r.value - r.ci95.low, 1e-12);
}

// One cell is the textbook case: mean +- t(0.975, n-1) s / sqrt(n).
static void one_cell_is_students_t(void **state) {
    (void)state;
    const struct strata_pair pairs[] = {{7, 1, 0}, {7, 2, 0}, {7, 3, 0}, {7, 4, 0}, {7, 5, 0}};
    struct strata_result r;
    strata_mean(pairs, 5, &r);
    near(r.value, 3, 1e-12);
    near(r.ci95.high, 3 + 2.776445105 * sqrt(2.5 / 5), 1e-6);
}

static void few_points(void **state) {
    (void)state;
    const struct strata_pair one[] = {{1, 5, 10}};
    struct strata_result r;
    strata_mean(one, 0, &r);
    assert_int_equal(r.n_cells, 0);
    assert_true(isnan(r.value));
    strata_mean(one, 1, &r);
    near(r.value, 5, 0);
    assert_true(isnan(r.ci95.low));
    strata_ratio(one, 1, &r);
    near(r.value, 2, 0);
    assert_true(isnan(r.ci95.low));
    strata_ratio(one, 0, &r);
    assert_true(isnan(r.value));
}

static void ratio_is_of_the_sums_of_means(void **state) {
    (void)state;
    const struct strata_pair pairs[] = {{1, 10, 5}, {1, 10, 5}, {2, 30, 9}, {2, 30, 9}};
    struct strata_result r;
    strata_ratio(pairs, 4, &r);
    near(r.value, 14.0 / 40.0, 1e-12);
    near(r.ci95.low, r.value, 1e-9); // no scatter, no width
    near(r.ci95.high, r.value, 1e-9);
}

// What both members of a pair share cancels: a common factor leaves no width at all.
static void shared_drift_cancels(void **state) {
    (void)state;
    const struct strata_pair pairs[] = {
        {1, 10, 5}, {1, 12, 6}, {1, 9, 4.5}, {2, 20, 10}, {2, 24, 12}};
    struct strata_result r;
    strata_ratio(pairs, 5, &r);
    near(r.value, 0.5, 1e-12);
    near(r.ci95.high - r.ci95.low, 0, 1e-6);
}

static void base_around_zero_gives_no_interval(void **state) {
    (void)state;
    const struct strata_pair noisy[] = {{1, -3, 1}, {1, 4, 1}, {1, 1, 2}};
    const struct strata_pair negative[] = {{1, -3, 1}, {1, -4, 1}};
    struct strata_result r;
    strata_ratio(noisy, 3, &r);
    assert_true(isnan(r.ci95.low));
    strata_ratio(negative, 2, &r);
    assert_true(isnan(r.value));
}

// 4 cells of very different size x `n_repeats`; 3 % noise, 2 % drift shared by a pair.
static void simulate(struct rng *rng, uint32_t n_repeats, struct strata_pair *out) {
    for (uint32_t cell = 0; cell < 4; cell++) {
        double size = pow(4, cell);
        for (uint32_t i = 0; i < n_repeats; i++) {
            double drift = 1 + 0.02 * rng_normal(rng);
            *out++ = (struct strata_pair){cell, size * drift * (1 + 0.03 * rng_normal(rng)),
                                          0.4 * size * drift * (1 + 0.03 * rng_normal(rng))};
        }
    }
}

static double coverage(uint32_t n_repeats, double *mean_coverage) {
    enum { N = 3000, MAX_PAIRS = 4 * 16 };
    struct strata_pair pairs[MAX_PAIRS];
    struct rng rng;
    rng_seed(&rng, 100 + n_repeats);
    int n_ratio = 0, n_mean = 0;
    for (int i = 0; i < N; i++) {
        struct strata_result ratio, mean;
        simulate(&rng, n_repeats, pairs);
        strata_ratio(pairs, 4 * (size_t)n_repeats, &ratio);
        strata_mean(pairs, 4 * (size_t)n_repeats, &mean);
        n_ratio += ratio.ci95.low <= 0.4 && ratio.ci95.high >= 0.4;
        n_mean += mean.ci95.low <= 85.0 / 4 && mean.ci95.high >= 85.0 / 4;
    }
    *mean_coverage = (double)n_mean / N;
    return (double)n_ratio / N;
}

static void intervals_cover_the_truth(void **state) {
    (void)state;
    static const uint32_t REPEATS[] = {3, 5, 10};
    for (int i = 0; i < 3; i++) {
        double mean, ratio = coverage(REPEATS[i], &mean);
        if (!(ratio > 0.92 && ratio < 0.98 && mean > 0.92 && mean < 0.98)) {
            fail_msg("%u repeats: ratio %.3f, mean %.3f", REPEATS[i], ratio, mean);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_cell_counts_the_same),
        cmocka_unit_test(one_cell_is_students_t),
        cmocka_unit_test(few_points),
        cmocka_unit_test(ratio_is_of_the_sums_of_means),
        cmocka_unit_test(shared_drift_cancels),
        cmocka_unit_test(base_around_zero_gives_no_interval),
        cmocka_unit_test(intervals_cover_the_truth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
