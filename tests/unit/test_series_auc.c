// The area under a sampled signal: exact cases, the properties every area has, and the error bound.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "near.h"
#include "series/auc.h"

enum { MAX_POINTS = 400 };
static const int64_t MS = 1000000;

static struct series_area area_of(const struct series_point *points, size_t n, int64_t t0_ns,
                                  int64_t t1_ns, double baseline, int64_t period_ns) {
    struct series_area area;
    struct wl_err err = {0};
    enum wl_status status = series_auc(points, n, t0_ns, t1_ns, baseline, period_ns, &area, &err);
    if (status != WL_OK) {
        fail_msg("%s", err.message);
    }
    return area;
}

// Jittered times, random values.
static size_t random_points(struct rng *rng, struct series_point *points) {
    size_t n = 20 + rng_below(rng, MAX_POINTS - 20);
    int64_t t_ns = 1000 * MS;
    for (size_t i = 0; i < n; i++) {
        points[i] = (struct series_point){t_ns, 50 + 30 * rng_normal(rng)};
        t_ns += (150 + rng_below(rng, 100)) * MS;
    }
    return n;
}

static int64_t random_time(struct rng *rng, const struct series_point *points, size_t n) {
    double share = rng_uniform(rng);
    return points[0].t_ns + (int64_t)(share * (double)(points[n - 1].t_ns - points[0].t_ns));
}

static void test_line_is_exact(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int run = 0; run < 200; run++) {
        struct series_point points[MAX_POINTS];
        size_t n = random_points(&rng, points);
        double slope = rng_normal(&rng), offset = 10 * rng_normal(&rng);
        for (size_t i = 0; i < n; i++) {
            points[i].value = offset + slope * series_seconds(points[0].t_ns, points[i].t_ns);
        }
        int64_t a_ns = random_time(&rng, points, n), b_ns = a_ns + 1 + rng_below(&rng, 3000000);
        if (b_ns > points[n - 1].t_ns) {
            continue;
        }
        double a = series_seconds(points[0].t_ns, a_ns), b = series_seconds(points[0].t_ns, b_ns);
        double expected = (offset - 3) * (b - a) + slope * (b * b - a * a) / 2;
        struct series_area area = area_of(points, n, a_ns, b_ns, 3, 200 * MS);
        assert_near(area.area_value_s, expected, 1e-9);
        assert_near(area.mean, offset + slope * (a + b) / 2, 1e-6);
        assert_near(area.coverage, 1, 1e-12);
        assert_false(area.has_gap);
    }
}

static void test_adjacent_windows_add_up(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    for (int run = 0; run < 500; run++) {
        struct series_point points[MAX_POINTS];
        size_t n = random_points(&rng, points);
        int64_t from_ns = points[0].t_ns - 250 * MS, to_ns = points[n - 1].t_ns + 250 * MS;
        int64_t middle_ns = random_time(&rng, points, n) + 1;
        struct series_area left = area_of(points, n, from_ns, middle_ns, 7, 200 * MS);
        struct series_area right = area_of(points, n, middle_ns, to_ns, 7, 200 * MS);
        struct series_area whole = area_of(points, n, from_ns, to_ns, 7, 200 * MS);
        assert_near(left.area_value_s + right.area_value_s, whole.area_value_s, 1e-8);
        assert_true(fmax(left.peak, right.peak) == whole.peak);
    }
}

static void test_scaling_and_baseline_are_linear(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    for (int run = 0; run < 300; run++) {
        struct series_point points[MAX_POINTS], scaled[MAX_POINTS];
        size_t n = random_points(&rng, points);
        double factor = 5 * rng_normal(&rng), baseline = 10 * rng_normal(&rng);
        for (size_t i = 0; i < n; i++) {
            scaled[i] = (struct series_point){points[i].t_ns, factor * points[i].value};
        }
        int64_t a_ns = random_time(&rng, points, n), b_ns = random_time(&rng, points, n);
        if (a_ns >= b_ns) {
            continue;
        }
        double zero = area_of(points, n, a_ns, b_ns, 0, 200 * MS).area_value_s;
        double above = area_of(points, n, a_ns, b_ns, baseline, 200 * MS).area_value_s;
        double times = area_of(scaled, n, a_ns, b_ns, factor * baseline, 200 * MS).area_value_s;
        assert_near(above, zero - baseline * series_seconds(a_ns, b_ns), 1e-8);
        assert_near(times, factor * above, 1e-7);
    }
}

static void test_noise_around_the_baseline_cancels(void **state) {
    (void)state;
    struct series_point points[] = {{0, 1}, {100 * MS, -1}, {200 * MS, 1}, {300 * MS, -1}};
    struct series_area area = area_of(points, 4, 0, 300 * MS, 0, 100 * MS);
    assert_near(area.area_value_s, 0, 1e-12);
    assert_true(area.peak == 1);
    assert_int_equal(area.n_samples, 4);
}

static void test_edges_hold_for_a_period_and_a_half(void **state) {
    (void)state;
    struct series_point points[] = {{1000 * MS, 10}, {1200 * MS, 10}, {1400 * MS, 20}};
    struct series_area near = area_of(points, 3, 700 * MS, 1700 * MS, 0, 200 * MS);
    assert_near(near.area_value_s, 3 + 2 + 3 + 6, 1e-9);
    assert_near(near.coverage, 1, 1e-12);
    assert_false(near.has_gap);
    struct series_area far = area_of(points, 3, 500 * MS, 1700 * MS, 0, 200 * MS);
    assert_near(far.area_value_s, near.area_value_s, 1e-9);
    assert_near(far.coverage, 1.0 / 1.2, 1e-12);
    assert_true(far.has_gap);
    assert_int_equal(far.n_gaps, 1);
    assert_true(far.max_gap_ns == 500 * MS);
    assert_near(far.mean, near.mean, 1e-9);
}

static void test_window_beside_the_samples(void **state) {
    (void)state;
    struct series_point points[] = {{1000 * MS, 10}, {1200 * MS, 30}};
    struct series_area held = area_of(points, 2, 1250 * MS, 1350 * MS, 10, 200 * MS);
    assert_near(held.area_value_s, 2, 1e-9);
    assert_int_equal(held.n_samples, 0);
    struct series_area before = area_of(points, 2, 600 * MS, 800 * MS, 0, 200 * MS);
    assert_near(before.area_value_s, 1, 1e-9);
    assert_near(before.coverage, 0.5, 1e-9);
    assert_true(before.has_gap);
    struct series_area out;
    assert_int_equal(series_auc(points, 2, 1501 * MS, 2000 * MS, 0, 200 * MS, &out, NULL),
                     WL_NOT_FOUND);
    assert_int_equal(series_auc(points, 2, 0, 700 * MS, 0, 200 * MS, &out, NULL), WL_NOT_FOUND);
    assert_int_equal(series_auc(NULL, 0, 0, 700 * MS, 0, 200 * MS, &out, NULL), WL_NOT_FOUND);
}

static void test_gaps_are_bridged_and_flagged(void **state) {
    (void)state;
    struct series_point points[] = {{0, 10}, {100 * MS, 10}, {900 * MS, 20}, {1000 * MS, 20}};
    struct series_area area = area_of(points, 4, 0, 1000 * MS, 0, 100 * MS);
    assert_near(area.area_value_s, 1 + 12 + 2, 1e-9);
    assert_near(area.coverage, 0.2, 1e-9);
    assert_int_equal(area.n_gaps, 1);
    assert_true(area.max_gap_ns == 800 * MS);
    struct series_area inside = area_of(points, 4, 300 * MS, 500 * MS, 0, 100 * MS);
    assert_near(inside.coverage, 0, 1e-12);
    assert_true(inside.has_gap);
    assert_true(inside.peak == 15);
    struct series_area beside = area_of(points, 4, 900 * MS, 1000 * MS, 0, 100 * MS);
    assert_false(beside.has_gap);
}

static void test_bad_arguments(void **state) {
    (void)state;
    struct series_point points[] = {{0, 1}, {100, 2}, {50, 3}, {200, 1}};
    struct series_area out;
    assert_int_equal(series_auc(points, 2, 100, 100, 0, 10, &out, NULL), WL_INPUT);
    assert_int_equal(series_auc(points, 2, 0, 100, 0, 0, &out, NULL), WL_INPUT);
    assert_int_equal(series_auc(points, 2, 0, 100, (double)NAN, 10, &out, NULL), WL_INPUT);
    assert_int_equal(series_auc(points, 4, 0, 200, 0, 100, &out, NULL), WL_INPUT);
    assert_true(out.area_value_s == 0);
}

static void test_single_sample_and_equal_times(void **state) {
    (void)state;
    struct series_point one[] = {{1000 * MS, 4}};
    struct series_area area = area_of(one, 1, 900 * MS, 1100 * MS, 0, 100 * MS);
    assert_near(area.area_value_s, 0.8, 1e-9);
    // A step: two values at one time.
    struct series_point step[] = {{0, 0}, {1000 * MS, 0}, {1000 * MS, 5}, {2000 * MS, 5}};
    area = area_of(step, 4, 0, 2000 * MS, 0, 1000 * MS);
    assert_near(area.area_value_s, 5, 1e-9);
}

static void test_extreme_times_do_not_overflow(void **state) {
    (void)state;
    struct series_point points[] = {{INT64_MIN, 1}, {INT64_MAX, 1}};
    struct series_area area = area_of(points, 2, INT64_MIN, INT64_MAX, 0, 1);
    assert_true(area.area_value_s > 1.8e10);
    assert_true(area.max_gap_ns == INT64_MAX);
}

// A load that is on from `on` to `off`, sampled at random phases; steps in between too.
struct steps {
    double t_s[8];
    double value[9];
};

static double steps_at(const struct steps *steps, double t_s) {
    int i = 0;
    while (i < 8 && t_s >= steps->t_s[i]) {
        i++;
    }
    return steps->value[i];
}

static double steps_integral(const struct steps *steps, double from_s, double to_s) {
    double sum = 0, t_s = from_s;
    for (int i = 0; i <= 8; i++) {
        double end_s = i < 8 ? fmin(fmax(steps->t_s[i], t_s), to_s) : to_s;
        sum += steps->value[i] * (end_s - t_s);
        t_s = end_s;
    }
    return sum;
}

static void test_error_bound_holds_for_steps(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 4);
    double normalised = 0;
    int n_runs = 2000;
    for (int run = 0; run < n_runs; run++) {
        struct steps steps;
        double t_s = 1;
        for (int i = 0; i < 8; i++) { // at most one step within a sample interval
            t_s += 0.25 + 2 * rng_uniform(&rng);
            steps.t_s[i] = t_s;
            steps.value[i] = 100 * rng_uniform(&rng);
        }
        steps.value[8] = 5;
        struct series_point points[120];
        double phase_s = 0.2 * rng_uniform(&rng);
        for (size_t i = 0; i < 120; i++) {
            double at_s = phase_s + 0.2 * (double)i;
            points[i] = (struct series_point){(int64_t)(at_s * 1e9), steps_at(&steps, at_s)};
        }
        double a_s = 0.5 + rng_uniform(&rng), b_s = t_s - rng_uniform(&rng);
        struct series_area area =
            area_of(points, 120, (int64_t)(a_s * 1e9), (int64_t)(b_s * 1e9), 0, 200 * MS);
        double error = area.area_value_s - steps_integral(&steps, a_s, b_s);
        assert_true(fabs(error) <= area.error_bound + 1e-6);
        normalised += error * error / (area.error_sd * area.error_sd) / n_runs;
    }
    // error_sd describes the errors: their mean square is its square within 10 %.
    assert_true(normalised > 0.9 && normalised < 1.1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_is_exact),
        cmocka_unit_test(test_adjacent_windows_add_up),
        cmocka_unit_test(test_scaling_and_baseline_are_linear),
        cmocka_unit_test(test_noise_around_the_baseline_cancels),
        cmocka_unit_test(test_edges_hold_for_a_period_and_a_half),
        cmocka_unit_test(test_window_beside_the_samples),
        cmocka_unit_test(test_gaps_are_bridged_and_flagged),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_single_sample_and_equal_times),
        cmocka_unit_test(test_extreme_times_do_not_overflow),
        cmocka_unit_test(test_error_bound_holds_for_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
