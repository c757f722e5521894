// Series: order, limits, views; resampling to a coarser period.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"
#include "series/counter.h"
#include "series/resample.h"
#include "series/series.h"

static void test_push_keeps_order_and_limit(void **state) {
    (void)state;
    struct series series;
    struct wl_err err;
    series_init(&series, 3);
    assert_int_equal(series_push(&series, 10, 1, &err), WL_OK);
    assert_int_equal(series_push(&series, 10, 2, &err), WL_OK);
    assert_int_equal(series_push(&series, 9, 3, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "older"));
    assert_int_equal(series_push(&series, 11, (double)NAN, &err), WL_INPUT);
    assert_int_equal(series_push(&series, 11, (double)INFINITY, &err), WL_INPUT);
    assert_int_equal(series_push(&series, 12, 3, &err), WL_OK);
    assert_int_equal(series_push(&series, 13, 4, &err), WL_LIMIT);
    assert_int_equal(series.n, 3);
    series_clear(&series);
    assert_int_equal(series_push(&series, 1, 4, NULL), WL_OK);
    assert_int_equal(series.n, 1);
    series_release(&series);
    assert_int_equal(series.n, 0);
    assert_int_equal(series.max_points, 3);
}

static void test_push_grows(void **state) {
    (void)state;
    struct series series;
    series_init(&series, 1000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(series_push(&series, i, i, NULL), WL_OK);
    }
    assert_int_equal(series.capacity, 1000);
    assert_true(series.points[999].value == 999);
    series_release(&series);
}

static void test_slice_is_inclusive(void **state) {
    (void)state;
    struct series_point points[] = {{0, 1}, {10, 2}, {10, 3}, {20, 4}};
    const struct series_point *view;
    assert_int_equal(series_slice(points, 4, 10, 20, &view), 3);
    assert_ptr_equal(view, &points[1]);
    assert_int_equal(series_slice(points, 4, 11, 19, &view), 0);
    assert_int_equal(series_slice(points, 4, INT64_MIN, INT64_MAX, &view), 4);
    assert_int_equal(series_slice(NULL, 0, 0, 5, &view), 0);
    assert_int_equal(series_first_at_or_after(points, 4, 21), 4);
}

static void test_seconds_survive_extremes(void **state) {
    (void)state;
    assert_true(series_seconds(0, 1500000000) == 1.5);
    assert_true(series_seconds(1500000000, 0) == -1.5);
    assert_true(series_seconds(INT64_MIN, INT64_MAX) > 1.8e10);
    struct series_point points[] = {{INT64_MIN, 0}, {INT64_MAX, 0}};
    assert_true(series_median_period_ns(points, 2) == INT64_MAX);
    assert_true(series_median_period_ns(points, 1) == 0);
}

static void test_gauge_bins_are_means(void **state) {
    (void)state;
    struct series_point points[101];
    for (int i = 0; i <= 100; i++) {
        points[i] = (struct series_point){i * 10000000LL, i};
    }
    struct series out;
    series_init(&out, 100);
    assert_int_equal(series_resample_gauge(points, 101, 200000000, &out, NULL), WL_OK);
    assert_int_equal(out.n, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_true(out.points[i].t_ns == (int64_t)(i + 1) * 200000000);
        assert_near(out.points[i].value, 20.0 * (double)i + 9.5, 1e-9);
    }
    assert_int_equal(series_resample_gauge(points, 101, 0, &out, NULL), WL_INPUT);
    series_release(&out);
}

static void test_gauge_gap_gives_no_points(void **state) {
    (void)state;
    struct series_point points[] = {{0, 1}, {100, 1}, {1000, 3}, {1100, 3}};
    struct series out;
    series_init(&out, 100);
    assert_int_equal(series_resample_gauge(points, 4, 200, &out, NULL), WL_OK);
    assert_int_equal(out.n, 1);
    assert_true(out.points[0].t_ns == 200);
    struct series_point wild[] = {{INT64_MIN, 1}, {INT64_MAX, 1}, {5, 2}};
    assert_int_equal(series_resample_gauge(wild, 2, 200, &out, NULL), WL_INPUT);
    assert_int_equal(series_resample_gauge(wild + 1, 2, 200, &out, NULL), WL_INPUT);
    assert_int_equal(series_resample_counter(wild, 2, 200, 1, &out, NULL), WL_INPUT);
    series_release(&out);
}

static void test_counter_bins_are_rates_and_sum_to_the_total(void **state) {
    (void)state;
    struct series_point totals[50];
    double total = 0;
    int64_t t_ns = 0;
    for (int i = 0; i < 50; i++) {
        totals[i] = (struct series_point){t_ns, total};
        t_ns += 37000000 + (i % 5) * 9000000;
        total += 0.02 * (i % 7);
    }
    struct series out;
    series_init(&out, 100);
    assert_int_equal(series_resample_counter(totals, 50, 200000000, 2, &out, NULL), WL_OK);
    double sum = 0;
    for (size_t i = 0; i < out.n; i++) {
        sum += out.points[i].value * 0.2 / 2;
    }
    double expected;
    int64_t end_ns = out.points[out.n - 1].t_ns;
    assert_int_equal(series_counter_at(totals, 50, end_ns, &expected, NULL), WL_OK);
    assert_near(sum, expected, 1e-9);
    series_release(&out);
}

static void test_counter_gap_is_skipped(void **state) {
    (void)state;
    struct series_point totals[] = {{0, 0},       {100, 1},     {200, 2},     {100000, 50},
                                    {100100, 51}, {100200, 52}, {100300, 53}, {100400, 54}};
    struct series out;
    series_init(&out, 100);
    assert_int_equal(series_resample_counter(totals, 8, 200, 1e-9, &out, NULL), WL_OK);
    assert_int_equal(out.n, 3);
    assert_true(out.points[0].t_ns == 200 && out.points[1].t_ns == 100200);
    assert_near(out.points[2].value, 0.01, 1e-9);
    series_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_push_keeps_order_and_limit),
        cmocka_unit_test(test_push_grows),
        cmocka_unit_test(test_slice_is_inclusive),
        cmocka_unit_test(test_seconds_survive_extremes),
        cmocka_unit_test(test_gauge_bins_are_means),
        cmocka_unit_test(test_gauge_gap_gives_no_points),
        cmocka_unit_test(test_counter_bins_are_rates_and_sum_to_the_total),
        cmocka_unit_test(test_counter_gap_is_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
