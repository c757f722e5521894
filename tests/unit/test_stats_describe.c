// Summaries: exact small cases, quantiles as R gives them, and what the intervals cover.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "near.h"
#include "stats/bootstrap.h"
#include "stats/describe.h"

static struct stats_summary described(const double *values, size_t n) {
    struct stats_summary summary;
    assert_int_equal(stats_describe(values, n, &summary, NULL), WL_OK);
    return summary;
}

static void test_small_sample(void **state) {
    (void)state;
    const double values[] = {4, 1, 3, 2, 10};
    struct stats_summary s = described(values, 5);
    assert_near(s.mean, 4, 1e-12);
    assert_near(s.median, 3, 1e-12);
    assert_near(s.sd, 3.5355339059327378, 1e-12);
    assert_near(s.mad, 1, 1e-12);
    assert_near(s.quartile1, 2, 1e-12);
    assert_near(s.quartile3, 4, 1e-12);
    assert_true(s.min == 1 && s.max == 10);
    assert_int_equal(s.n_outliers, 1);
    assert_near(s.ci95_mean.high, 4 + 2.7764451051977987 * 3.5355339059327378 / sqrt(5), 1e-8);
}

static void test_one_and_two_values(void **state) {
    (void)state;
    const double values[] = {5, 7};
    struct stats_summary s = described(values, 1);
    assert_true(s.mean == 5 && s.median == 5 && isnan(s.sd) && isnan(s.ci95_mean.low));
    s = described(values, 2);
    assert_near(s.sd, sqrt(2), 1e-12);
    assert_true(isnan(s.ci95_mean.low) && isnan(s.ci95_mean.high));
}

static void test_bad_values(void **state) {
    (void)state;
    const double values[] = {1, (double)NAN};
    struct stats_summary s;
    assert_int_equal(stats_describe(values, 0, &s, NULL), WL_INPUT);
    assert_int_equal(stats_describe(values, 2, &s, NULL), WL_INPUT);
}

static void test_quantile_type_7(void **state) {
    (void)state;
    const double sorted[] = {1, 2, 4, 8};
    assert_near(stats_quantile_sorted(sorted, 4, 0.1), 1.3, 1e-12);
    assert_near(stats_quantile_sorted(sorted, 4, 0.5), 3, 1e-12);
    assert_near(stats_quantile_sorted(sorted, 4, 0.9), 6.8, 1e-12);
    assert_true(stats_quantile_sorted(sorted, 4, 0) == 1 &&
                stats_quantile_sorted(sorted, 4, 1) == 8);
    assert_true(isnan(stats_quantile_sorted(sorted, 0, 0.5)));
}

static void test_trimmed_mean(void **state) {
    (void)state;
    const double sorted[] = {-100, 1, 2, 3, 1000};
    assert_near(stats_trimmed_mean_sorted(sorted, 5, 0.2), 2, 1e-12);
    assert_near(stats_trimmed_mean_sorted(sorted, 5, 0.19), 181.2, 1e-12);
    assert_near(stats_trimmed_mean_sorted(sorted, 5, 0.49), 2, 1e-12);
}

static double mean_of_rows(const size_t *rows, size_t n, void *context) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += ((const double *)context)[rows[i]];
    }
    return sum / (double)n;
}

static void draw(struct rng *rng, double *values, size_t n, bool is_skewed) {
    for (size_t i = 0; i < n; i++) {
        double z = rng_normal(rng);
        values[i] = is_skewed ? exp(0.3 * z - 0.045) : 1 + 0.05 * z; // mean 1
    }
}

// Student's t is honest at every n; the plain percentile bootstrap is not at small n.
static void test_interval_covers(void **state) {
    (void)state;
    static const size_t sizes[] = {3, 5, 8, 10, 20};
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t k = 0; k < 5; k++) {
        for (int is_skewed = 0; is_skewed < 2; is_skewed++) {
            int n_t = 0, n_percentile = 0, n_bca = 0, n_runs = 500;
            for (int run = 0; run < n_runs; run++) {
                double values[20];
                draw(&rng, values, sizes[k], is_skewed);
                struct stats_summary s = described(values, sizes[k]);
                n_t += s.ci95_mean.low <= 1 && 1 <= s.ci95_mean.high;
                struct stats_estimate e;
                stats_bootstrap(sizes[k], mean_of_rows, values, STATS_BOOTSTRAP_PERCENTILE, 500,
                                (uint64_t)run, &e, NULL);
                n_percentile += e.ci95.low <= 1 && 1 <= e.ci95.high;
                stats_bootstrap(sizes[k], mean_of_rows, values, STATS_BOOTSTRAP_BCA, 500,
                                (uint64_t)run, &e, NULL);
                n_bca += e.ci95.low <= 1 && 1 <= e.ci95.high;
            }
            print_message("n %2zu %s: t %.1f %%, percentile %.1f %%, BCa %.1f %%\n", sizes[k],
                          is_skewed ? "skewed" : "normal", n_t / 5.0, n_percentile / 5.0,
                          n_bca / 5.0);
            assert_true(n_t >= (is_skewed ? 0.90 : 0.92) * n_runs && n_t <= 0.98 * n_runs);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_sample), cmocka_unit_test(test_one_and_two_values),
        cmocka_unit_test(test_bad_values),   cmocka_unit_test(test_quantile_type_7),
        cmocka_unit_test(test_trimmed_mean), cmocka_unit_test(test_interval_covers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
