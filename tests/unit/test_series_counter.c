// Counters: unwrap over any number of wraps, resets that must not count, windows and their errors.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "near.h"
#include "series/counter.h"

static const int64_t MS = 1000000;

static void test_total_survives_any_number_of_wraps(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int run = 0; run < 200; run++) {
        uint64_t range = 1000 + rng_below(&rng, 100000), truth = rng_next(&rng) % range;
        uint64_t start = truth, n_wraps = 0;
        struct series_counter counter;
        series_counter_init(&counter, &(struct series_counter_spec){.range = range});
        assert_int_equal(series_counter_feed(&counter, truth % range, 0, NULL, NULL, NULL), WL_OK);
        for (int i = 1; i < 500; i++) {
            uint64_t step = rng_next(&rng) % range;
            n_wraps += truth % range + step >= range;
            truth += step;
            struct series_point point;
            assert_int_equal(
                series_counter_feed(&counter, truth % range, i * MS, &point, NULL, NULL), WL_OK);
            assert_true(point.t_ns == i * MS && point.value == (double)(truth - start));
        }
        assert_true(counter.total == truth - start);
        assert_true(counter.n_wraps == n_wraps && n_wraps > 100);
        assert_int_equal(counter.n_resets, 0);
    }
}

static void test_full_64_bits(void **state) {
    (void)state;
    struct series_counter counter;
    struct wl_err err;
    series_counter_init(&counter, &(struct series_counter_spec){.range = 0});
    assert_int_equal(series_counter_feed(&counter, 0, 0, NULL, NULL, &err), WL_OK);
    assert_int_equal(series_counter_feed(&counter, UINT64_MAX, MS, NULL, NULL, &err), WL_OK);
    assert_true(counter.total == UINT64_MAX);
    enum series_counter_event event;
    assert_int_equal(series_counter_feed(&counter, 5, 2 * MS, NULL, &event, &err), WL_OK);
    assert_int_equal(event, SERIES_COUNTER_RESET);
    assert_int_equal(series_counter_feed(&counter, 6, 3 * MS, NULL, NULL, &err), WL_LIMIT);
}

// RAPL: 262 kJ range, 500 W cap; a driver reload puts the counter back to a small value.
static void test_reset_is_not_a_wrap(void **state) {
    (void)state;
    const struct series_counter_spec spec = {
        .range = 262143328850u, .max_rate_per_s = 500e6, .update_period_ns = MS, .quantum = 61};
    struct series_counter counter;
    enum series_counter_event event;
    series_counter_init(&counter, &spec);
    uint64_t raw[] = {200000000000u, 200010000000u, 5000000u, 15000000u};
    struct series_point totals[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(
            series_counter_feed(&counter, raw[i], i * 1000 * MS, &totals[i], &event, NULL), WL_OK);
        assert_int_equal(event == SERIES_COUNTER_RESET, i == 2);
    }
    assert_int_equal(counter.n_resets, 1);
    assert_int_equal(counter.n_wraps, 0);
    assert_true(counter.total == 20000000);
    struct series_delta delta;
    assert_int_equal(series_counter_window(totals, 4, &counter, 0, 3000 * MS, &delta, NULL), WL_OK);
    assert_true(delta.has_hole && delta.delta == 20e6);
    assert_near(delta.coverage, 2.0 / 3, 1e-12);
    assert_near(delta.mean_rate_per_s, 10e6, 1e-3);
    assert_int_equal(series_counter_window(totals, 4, &counter, 0, 1000 * MS, &delta, NULL), WL_OK);
    assert_false(delta.has_hole);
}

static void test_true_wrap_within_the_cap(void **state) {
    (void)state;
    const struct series_counter_spec spec = {.range = 262143328850u, .max_rate_per_s = 500e6};
    struct series_counter counter;
    enum series_counter_event event;
    series_counter_init(&counter, &spec);
    series_counter_feed(&counter, spec.range - 4000000, 0, NULL, NULL, NULL);
    series_counter_feed(&counter, 6000000, 1000 * MS, NULL, &event, NULL);
    assert_int_equal(event, SERIES_COUNTER_WRAPPED);
    assert_true(counter.total == 10000000);
    // A jump upwards that no device makes is discarded as well.
    series_counter_feed(&counter, 100000000000u, 2000 * MS, NULL, &event, NULL);
    assert_int_equal(event, SERIES_COUNTER_RESET);
}

static void test_bad_readings_change_nothing(void **state) {
    (void)state;
    struct series_counter counter;
    struct wl_err err;
    series_counter_init(&counter, &(struct series_counter_spec){.range = 100});
    series_counter_feed(&counter, 50, 10, NULL, NULL, NULL);
    struct series_counter before = counter;
    assert_int_equal(series_counter_feed(&counter, 101, 20, NULL, NULL, &err), WL_INPUT);
    assert_int_equal(series_counter_feed(&counter, 60, 9, NULL, NULL, &err), WL_INPUT);
    assert_memory_equal(&before, &counter, sizeof before);
}

static void test_many_holes_merge(void **state) {
    (void)state;
    struct series_counter counter;
    series_counter_init(&counter, &(struct series_counter_spec){.range = 0});
    for (int i = 0; i < 200; i++) {
        series_counter_feed(&counter, i % 2 ? 100 : 50, i * MS, NULL, NULL, NULL);
    }
    assert_int_equal(counter.n_holes, SERIES_COUNTER_MAX_HOLES);
    assert_int_equal(counter.n_resets, 99);
    assert_true(counter.holes[SERIES_COUNTER_MAX_HOLES - 1].t1_ns == 198 * MS);
    assert_true(counter.total == 100 * 50);
}

static void test_max_poll(void **state) {
    (void)state;
    assert_true(series_counter_max_poll_ns(0, 5) == INT64_MAX);
    assert_true(series_counter_max_poll_ns(1000, 0) == INT64_MAX);
    assert_true(series_counter_max_poll_ns(1000, 250) == 2000 * MS);
    // 65.5 kJ at 200 W wraps in 5.5 minutes: read every 164 s at least.
    assert_near((double)series_counter_max_poll_ns(65535999985u, 200e6) * 1e-9, 163.84, 0.01);
    assert_true(series_counter_max_poll_ns(UINT64_MAX, 1e-9) == INT64_MAX);
}

static void test_interpolation_and_outside(void **state) {
    (void)state;
    struct series_point totals[] = {{0, 0}, {100, 10}, {200, 30}};
    struct series_counter counter;
    struct series_delta delta;
    double value = -1;
    series_counter_init(&counter, &(struct series_counter_spec){.range = 0});
    assert_int_equal(series_counter_at(totals, 3, 150, &value, NULL), WL_OK);
    assert_near(value, 20, 1e-12);
    assert_int_equal(series_counter_at(totals, 3, 201, &value, NULL), WL_NOT_FOUND);
    assert_int_equal(series_counter_at(totals, 3, -1, &value, NULL), WL_NOT_FOUND);
    assert_int_equal(series_counter_at(totals, 0, 0, &value, NULL), WL_NOT_FOUND);
    assert_int_equal(series_counter_window(totals, 3, &counter, 50, 150, &delta, NULL), WL_OK);
    assert_near(delta.delta, 15, 1e-12);
    assert_true(delta.is_interpolated);
    assert_int_equal(delta.n_readings, 1);
    assert_int_equal(series_counter_window(totals, 3, &counter, 0, 200, &delta, NULL), WL_OK);
    assert_false(delta.is_interpolated);
    assert_true(delta.coverage == 1);
    assert_int_equal(series_counter_window(totals, 3, &counter, 0, 201, &delta, NULL),
                     WL_NOT_FOUND);
    assert_int_equal(series_counter_window(totals, 3, &counter, 5, 5, &delta, NULL), WL_INPUT);
}

// True power: steps between idle and busy. The counter holds what was used up to its last update.
struct plant {
    double on_s;
    double off_s;
    double idle_w;
    double busy_w;
};

static double used_j(const struct plant *plant, double t_s) {
    double busy_s = fmin(fmax(t_s - plant->on_s, 0), plant->off_s - plant->on_s);
    return plant->idle_w * t_s + (plant->busy_w - plant->idle_w) * busy_s;
}

// One seed: returns the error of the window over its stated sd.
static double normalised_error(uint64_t seed, double period_s, double poll_s, bool reads_at_edges) {
    struct rng rng;
    rng_seed(&rng, seed);
    struct plant plant = {.on_s = 2 + rng_uniform(&rng),
                          .idle_w = 2 + rng_uniform(&rng),
                          .busy_w = 10 + 10 * rng_uniform(&rng)};
    plant.off_s = plant.on_s + 2 + 3 * rng_uniform(&rng);
    double phase_s = rng_uniform(&rng) * period_s, quantum_j = 0.01;
    struct series_counter counter;
    series_counter_init(
        &counter, &(struct series_counter_spec){
                      .range = 0, .update_period_ns = (int64_t)(period_s * 1e9), .quantum = 1});
    struct series_point totals[400];
    size_t n = 0;
    double edge_s[2] = {plant.on_s, plant.off_s}, t_s = 0.3 * rng_uniform(&rng);
    for (int next_edge = 0; t_s < 10; t_s += poll_s * (0.9 + 0.2 * rng_uniform(&rng))) {
        double at_s = t_s;
        if (reads_at_edges && next_edge < 2 && at_s >= edge_s[next_edge]) {
            at_s = edge_s[next_edge++];
            t_s = at_s;
        }
        double updated_s = floor((at_s - phase_s) / period_s) * period_s + phase_s;
        uint64_t raw = 1000 + (uint64_t)(used_j(&plant, fmax(updated_s, 0)) / quantum_j);
        series_counter_feed(&counter, raw, (int64_t)(at_s * 1e9), &totals[n++], NULL, NULL);
    }
    struct series_delta delta;
    struct wl_err err;
    enum wl_status status = series_counter_window(totals, n, &counter, (int64_t)(plant.on_s * 1e9),
                                                  (int64_t)(plant.off_s * 1e9), &delta, &err);
    assert_int_equal(status, WL_OK);
    double truth = (used_j(&plant, plant.off_s) - used_j(&plant, plant.on_s)) / quantum_j;
    double error = delta.delta - truth;
    assert_true(fabs(error) <= delta.error_bound * 1.5 + 1);
    return error / delta.sd;
}

static void assert_covers(double period_s, double poll_s, bool reads_at_edges, double at_least) {
    int n_covered = 0, n_seeds = 1000;
    for (int seed = 0; seed < n_seeds; seed++) {
        double z = normalised_error((uint64_t)seed + 1, period_s, poll_s, reads_at_edges);
        n_covered += fabs(z) <= 1.96;
    }
    print_message("update %.3f s, poll %.3f s, edges %s: 1.96 sd covers %.1f %%\n", period_s,
                  poll_s, reads_at_edges ? "read" : "interpolated", 100.0 * n_covered / n_seeds);
    assert_true(n_covered >= at_least * n_seeds);
}

static void test_stated_sd_covers_the_truth(void **state) {
    (void)state;
    assert_covers(0.001, 0.1, true, 0.92);
    assert_covers(0.1, 0.25, true, 0.92);
    assert_covers(0.001, 0.1, false, 0.92);
    assert_covers(0.05, 0.2, false, 0.92);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_total_survives_any_number_of_wraps),
        cmocka_unit_test(test_full_64_bits),
        cmocka_unit_test(test_reset_is_not_a_wrap),
        cmocka_unit_test(test_true_wrap_within_the_cap),
        cmocka_unit_test(test_bad_readings_change_nothing),
        cmocka_unit_test(test_many_holes_merge),
        cmocka_unit_test(test_max_poll),
        cmocka_unit_test(test_interpolation_and_outside),
        cmocka_unit_test(test_stated_sd_covers_the_truth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
