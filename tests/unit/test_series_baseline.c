// Idle baselines: level and sd, drift, the busy check, before against after.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "near.h"
#include "series/baseline.h"

enum { N = 150 };
static const int64_t STEP_NS = 200000000;

// Noise with lag-1 correlation `r` around level + slope*t.
static void fill(struct rng *rng, struct series_point *points, size_t n, double level,
                 double slope_per_s, double sd, double r) {
    double noise = rng_normal(rng) * sd;
    for (size_t i = 0; i < n; i++) {
        double t_s = 0.2 * (double)i;
        points[i] = (struct series_point){(int64_t)i * STEP_NS, level + slope_per_s * t_s + noise};
        noise = r * noise + sqrt(1 - r * r) * sd * rng_normal(rng);
    }
}

static struct series_baseline found(const struct series_point *points, size_t n) {
    struct series_baseline baseline;
    assert_int_equal(series_baseline_find(points, n, &baseline, NULL), WL_OK);
    return baseline;
}

static void test_constant(void **state) {
    (void)state;
    struct series_point points[N];
    struct rng rng;
    rng_seed(&rng, 1);
    fill(&rng, points, N, 3, 0, 0, 0);
    struct series_baseline b = found(points, N);
    assert_near(b.level, 3, 1e-12);
    assert_near(b.sd, 0, 1e-12);
    assert_near(b.drift, 0, 1e-12);
    assert_false(b.is_drifting);
}

static void test_one_spike_does_not_move_the_level(void **state) {
    (void)state;
    struct series_point points[N];
    struct rng rng;
    rng_seed(&rng, 2);
    fill(&rng, points, N, 3, 0, 0.1, 0);
    double level = found(points, N).level;
    points[N / 2].value = 100;
    assert_near(found(points, N).level, level, 0.02);
}

static void test_drift_is_found_and_noise_is_not_drift(void **state) {
    (void)state;
    struct series_point points[N];
    struct rng rng;
    rng_seed(&rng, 3);
    int n_false = 0;
    for (int run = 0; run < 300; run++) {
        fill(&rng, points, N, 3, 0, 0.3, 0.3);
        n_false += found(points, N).is_drifting;
    }
    print_message("false drift alarms: %.1f %%\n", n_false / 3.0);
    assert_true(n_false < 24);
    fill(&rng, points, N, 3, 0.01, 0.1, 0.2); // 0.3 over 30 s: 10 %
    struct series_baseline b = found(points, N);
    assert_true(b.is_drifting);
    assert_near(b.slope_per_s, 0.01, 0.003);
    fill(&rng, points, N, 100, 0.01, 0.1, 0.2); // 0.3 % only
    assert_false(found(points, N).is_drifting);
}

static void test_long_stretches_are_condensed(void **state) {
    (void)state;
    static struct series_point points[20000];
    struct rng rng;
    rng_seed(&rng, 4);
    fill(&rng, points, 20000, 5, 0.001, 0.2, 0);
    struct series_baseline b = found(points, 20000);
    assert_near(b.slope_per_s, 0.001, 1e-5);
    assert_true(b.is_drifting);
}

// The stated sd of level and mean covers the truth, independent and correlated samples alike.
static void test_sd_covers(void **state) {
    (void)state;
    struct series_point points[N];
    struct rng rng;
    rng_seed(&rng, 5);
    for (int c = 0; c < 3; c++) {
        double r = 0.3 * c;
        int n_level = 0, n_mean = 0, n_runs = 1000;
        for (int run = 0; run < n_runs; run++) {
            fill(&rng, points, N, 3, 0, 0.5, r);
            struct series_baseline b = found(points, N);
            n_level += fabs(b.level - 3) <= 1.96 * b.sd_of_level;
            n_mean += fabs(b.mean - 3) <= 1.96 * b.sd_of_mean;
        }
        print_message("autocorrelation %.1f: 1.96 sd covers level %.1f %%, mean %.1f %%\n", r,
                      100.0 * n_level / n_runs, 100.0 * n_mean / n_runs);
        assert_true(n_mean >= 0.92 * n_runs && n_mean <= 0.98 * n_runs);
        assert_true(n_level >= 0.92 * n_runs);
    }
}

static void test_share_above(void **state) {
    (void)state;
    struct series_point points[] = {{0, 1}, {1, 3}, {2, 5}, {3, 2}};
    assert_near(series_share_above(points, 4, 2), 0.5, 1e-12);
    assert_near(series_share_above(points, 0, 2), 0, 1e-12);
}

static void test_before_and_after(void **state) {
    (void)state;
    struct series_baseline before = {
        .n_effective = 30, .level = 3, .sd_of_level = 0.03, .t0_ns = 0, .t1_ns = 10 * STEP_NS};
    struct series_baseline after = before;
    after.t0_ns = 100 * STEP_NS;
    after.t1_ns = 110 * STEP_NS;
    after.level = 3.05;
    struct series_baseline_level level;
    series_baseline_at(&before, NULL, 0, &level);
    assert_true(level.value == 3 && level.sd == 0.03 && !level.has_moved);
    series_baseline_at(&before, &after, 0, &level); // 1.6 % apart: one level
    assert_near(level.value, 3.025, 1e-12);
    assert_near(level.sd, hypot(0.03 / sqrt(2), 0.05 / sqrt(12)), 1e-12);
    assert_false(level.has_moved);
    after.level = 4;
    series_baseline_at(&before, &after, 55 * STEP_NS, &level);
    assert_true(level.has_moved);
    assert_near(level.value, 3.5, 1e-9);
    assert_true(level.sd > 1 / sqrt(12));
    series_baseline_at(&before, &after, -50 * STEP_NS, &level);
    assert_near(level.value, 3, 1e-9);
    series_baseline_at(&before, &after, 500 * STEP_NS, &level);
    assert_near(level.value, 4, 1e-9);
}

static void test_too_few(void **state) {
    (void)state;
    struct series_point points[] = {{0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}};
    struct series_baseline b;
    struct wl_err err;
    assert_int_equal(series_baseline_find(points, 4, &b, &err), WL_INPUT);
    assert_int_equal(series_baseline_find(points, 5, &b, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "at least 5"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_one_spike_does_not_move_the_level),
        cmocka_unit_test(test_drift_is_found_and_noise_is_not_drift),
        cmocka_unit_test(test_long_stretches_are_condensed),
        cmocka_unit_test(test_sd_covers),
        cmocka_unit_test(test_share_above),
        cmocka_unit_test(test_before_and_after),
        cmocka_unit_test(test_too_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
