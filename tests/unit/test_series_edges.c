// Paper mode against a plant: rectangular loads seen through 5 Hz /proc/stat samples with jiffies,
// timer jitter, background work and noise. The area must be within 5 % of the truth.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "near.h"
#include "series/auc.h"
#include "series/edges.h"

enum { MAX_POINTS = 2000, MAX_WINDOWS = 16 };
static const double PERIOD_S = 0.2;

struct plant {
    int cores;
    double idle_pct;   // mean of the machine at idle
    double load_pct;   // what the load adds
    double wobble_pct; // sd of the load from sample to sample
    double on_s[4];
    double off_s[4];
    size_t n_loads;
    double end_s;
};

static double overlap_s(double a0, double a1, double b0, double b1) {
    return fmax(fmin(a1, b1) - fmax(a0, b0), 0);
}

// CPU % of one interval, as busy jiffies over all jiffies, and the truth added to *true_area.
static double interval_pct(struct rng *rng, const struct plant *plant, double from_s, double to_s,
                           double *carry, double *true_area) {
    double length_s = to_s - from_s, load_s = 0;
    for (size_t i = 0; i < plant->n_loads; i++) {
        load_s += overlap_s(plant->on_s[i], plant->off_s[i], from_s, to_s);
    }
    double wobble = load_s > 0 ? plant->wobble_pct * rng_normal(rng) : 0;
    double load = (plant->load_pct + wobble) * load_s;
    *true_area += load;
    double idle = plant->idle_pct * -log(1 - rng_uniform(rng)) * length_s; // bursty: exponential
    double jiffy = 100 * 0.01 / plant->cores;                              // %*s of one tick
    double pct_s = fmin(load + idle, 100 * length_s);
    double ticks = floor((pct_s + *carry) / jiffy);
    *carry += pct_s - ticks * jiffy;
    return ticks * jiffy / length_s;
}

static size_t sample(struct rng *rng, const struct plant *plant, struct series_point *points,
                     double *true_area) {
    size_t n = 0;
    double last_s = 0, carry = 0;
    *true_area = 0;
    for (double due_s = PERIOD_S * rng_uniform(rng); due_s < plant->end_s; due_s += PERIOD_S) {
        double at_s = due_s + 0.004 * -log(1 - rng_uniform(rng)); // late wake-ups
        double value = interval_pct(rng, plant, last_s, at_s, &carry, true_area);
        if (n > 0 && n < MAX_POINTS) {
            points[n] = (struct series_point){(int64_t)(at_s * 1e9), value};
        } else {
            points[0] = (struct series_point){(int64_t)(at_s * 1e9), value};
        }
        n++;
        last_s = at_s;
    }
    return n;
}

// A random machine and one load of 5 to 20 s.
static struct plant random_plant(struct rng *rng) {
    static const int cores[] = {2, 4, 8, 16};
    struct plant plant = {.cores = cores[rng_below(rng, 4)], .n_loads = 1};
    plant.idle_pct = 0.3 + 2.5 * rng_uniform(rng);
    plant.load_pct = 30 + 65 * rng_uniform(rng);
    plant.wobble_pct = 3 * rng_uniform(rng);
    plant.on_s[0] = 4 + 10 * rng_uniform(rng);
    plant.off_s[0] = plant.on_s[0] + 5 + 15 * rng_uniform(rng);
    plant.end_s = plant.off_s[0] + 4 + 10 * rng_uniform(rng);
    return plant;
}

struct outcome {
    size_t n_windows;
    double relative_error; // of the area; 1 when the window was not found
    double t0_error_s;
    double t1_error_s;
    bool used_levels;
};

static struct outcome find(const struct plant *plant, const struct series_point *points, size_t n,
                           double true_area) {
    struct series_edges_options options;
    struct series_window windows[MAX_WINDOWS];
    struct series_edges edges;
    struct wl_err err;
    series_edges_options_init(&options);
    options.lag_ns = (int64_t)(PERIOD_S / 2 * 1e9);
    assert_int_equal(series_edges_find(points, n, &options, windows, MAX_WINDOWS, &edges, &err),
                     WL_OK);
    struct outcome out = {
        .n_windows = edges.n_windows, .relative_error = 1, .used_levels = edges.used_levels};
    double sum = 0;
    for (size_t i = 0; i < edges.n_windows; i++) {
        struct series_area area;
        assert_int_equal(series_auc(points, n, windows[i].foot0_ns, windows[i].foot1_ns,
                                    edges.baseline, 200000000, &area, &err),
                         WL_OK);
        sum += area.area_value_s;
    }
    if (edges.n_windows && plant->n_loads) {
        out.relative_error = sum / true_area - 1;
        out.t0_error_s = (double)windows[0].t0_ns * 1e-9 - plant->on_s[0];
        out.t1_error_s =
            (double)windows[edges.n_windows - 1].t1_ns * 1e-9 - plant->off_s[plant->n_loads - 1];
    }
    return out;
}

static void test_area_within_5_pct_for_500_seeds(void **state) {
    (void)state;
    int n_good = 0, n_levels = 0, n_single = 0, n_seeds = 500;
    double sum = 0, worst = 0, sum0 = 0, sum1 = 0, squares0 = 0, squares1 = 0;
    for (int seed = 1; seed <= n_seeds; seed++) {
        struct rng rng;
        rng_seed(&rng, (uint64_t)seed);
        struct plant plant = random_plant(&rng);
        struct series_point points[MAX_POINTS];
        double true_area;
        size_t n = sample(&rng, &plant, points, &true_area);
        struct outcome out = find(&plant, points, n, true_area);
        n_good += fabs(out.relative_error) <= 0.05;
        n_levels += out.used_levels;
        n_single += out.n_windows == 1;
        sum += fabs(out.relative_error) / n_seeds;
        worst = fmax(worst, fabs(out.relative_error));
        sum0 += out.t0_error_s / n_seeds;
        sum1 += out.t1_error_s / n_seeds;
        squares0 += out.t0_error_s * out.t0_error_s / n_seeds;
        squares1 += out.t1_error_s * out.t1_error_s / n_seeds;
    }
    print_message(
        "within 5 %%: %.1f %%; mean |error| %.2f %%, worst %.2f %%; one window in %.1f %%; "
        "levels used in %.1f %%\n",
        100.0 * n_good / n_seeds, 100 * sum, 100 * worst, 100.0 * n_single / n_seeds,
        100.0 * n_levels / n_seeds);
    print_message("start error mean %.3f rms %.3f s, end error mean %.3f rms %.3f s\n", sum0,
                  sqrt(squares0), sum1, sqrt(squares1));
    assert_true(n_good > 0.95 * n_seeds);
    assert_true(n_single > 0.98 * n_seeds);
    assert_true(sqrt(squares0) < 0.1 && sqrt(squares1) < 0.1);
}

// The same with strong noise: the load itself wobbles by 15 %, the idle machine is busy.
static void test_noisy_machine(void **state) {
    (void)state;
    int n_good = 0, n_seeds = 500;
    for (int seed = 1; seed <= n_seeds; seed++) {
        struct rng rng;
        rng_seed(&rng, (uint64_t)seed);
        struct plant plant = random_plant(&rng);
        plant.wobble_pct = 10;
        plant.idle_pct = 5;
        struct series_point points[MAX_POINTS];
        double true_area;
        size_t n = sample(&rng, &plant, points, &true_area);
        n_good += fabs(find(&plant, points, n, true_area).relative_error) <= 0.05;
    }
    print_message("noisy machine, within 5 %%: %.1f %%\n", 100.0 * n_good / n_seeds);
    assert_true(n_good > 0.9 * n_seeds);
}

static void test_several_loads(void **state) {
    (void)state;
    int n_right = 0, n_good = 0, n_seeds = 200;
    for (int seed = 1; seed <= n_seeds; seed++) {
        struct rng rng;
        rng_seed(&rng, (uint64_t)seed);
        struct plant plant = random_plant(&rng);
        plant.n_loads = 3;
        double t_s = 5;
        for (int i = 0; i < 3; i++) {
            plant.on_s[i] = t_s + 2 * rng_uniform(&rng);
            plant.off_s[i] = plant.on_s[i] + 5 + 5 * rng_uniform(&rng);
            t_s = plant.off_s[i] + 3;
        }
        plant.end_s = t_s + 5;
        struct series_point points[MAX_POINTS];
        double true_area;
        size_t n = sample(&rng, &plant, points, &true_area);
        struct outcome out = find(&plant, points, n, true_area);
        n_right += out.n_windows == 3;
        n_good += fabs(out.relative_error) <= 0.05;
    }
    print_message("three loads: all found %.1f %%, area within 5 %% %.1f %%\n",
                  100.0 * n_right / n_seeds, 100.0 * n_good / n_seeds);
    assert_true(n_right > 0.97 * n_seeds && n_good > 0.95 * n_seeds);
}

static void test_idle_machine_has_no_windows(void **state) {
    (void)state;
    int n_found = 0;
    for (int seed = 1; seed <= 200; seed++) {
        struct rng rng;
        rng_seed(&rng, (uint64_t)seed);
        struct plant plant = random_plant(&rng);
        plant.n_loads = 0;
        struct series_point points[MAX_POINTS];
        double true_area;
        size_t n = sample(&rng, &plant, points, &true_area);
        n_found += find(&plant, points, n, 1).n_windows > 0;
    }
    print_message("idle machines with a window: %.1f %%\n", n_found / 2.0);
    assert_true(n_found <= 4);
}

// Rectangles without noise.
static size_t rectangle(struct series_point *points, size_t n, size_t on, size_t off) {
    for (size_t i = 0; i < n; i++) {
        points[i] = (struct series_point){(int64_t)i * 200000000, i >= on && i < off ? 80 : 0};
    }
    return n;
}

static struct series_edges find_plain(const struct series_point *points, size_t n,
                                      struct series_window *windows, size_t max_windows) {
    struct series_edges_options options;
    struct series_edges edges;
    series_edges_options_init(&options);
    assert_int_equal(series_edges_find(points, n, &options, windows, max_windows, &edges, NULL),
                     WL_OK);
    return edges;
}

static void test_clean_rectangle(void **state) {
    (void)state;
    struct series_point points[100];
    struct series_window windows[4];
    struct series_edges edges = find_plain(points, rectangle(points, 100, 30, 60), windows, 4);
    assert_true(edges.used_levels);
    assert_int_equal(edges.n_windows, 1);
    assert_int_equal(edges.n_open, 0);
    assert_near((double)windows[0].t0_ns * 1e-9, 5.9, 1e-6);
    assert_near((double)windows[0].t1_ns * 1e-9, 11.9, 1e-6);
    assert_true(windows[0].foot0_ns == 5800000000 && windows[0].foot1_ns == 12000000000);
    assert_near(windows[0].height, 80, 1e-9);
    struct series_area area;
    assert_int_equal(series_auc(points, 100, windows[0].foot0_ns, windows[0].foot1_ns,
                                edges.baseline, 200000000, &area, NULL),
                     WL_OK);
    assert_near(area.area_value_s, 80 * 6, 1e-9);
}

static void test_short_windows_drop_and_near_ones_merge(void **state) {
    (void)state;
    struct series_point points[100];
    struct series_window windows[4];
    struct series_edges edges = find_plain(points, rectangle(points, 100, 30, 38), windows, 4);
    assert_int_equal(edges.n_windows, 0);
    assert_int_equal(edges.n_dropped, 1);
    rectangle(points, 100, 30, 60);
    for (size_t i = 44; i < 48; i++) {
        points[i].value = 0; // 0.8 s
    }
    edges = find_plain(points, 100, windows, 4);
    assert_int_equal(edges.n_windows, 1);
    for (size_t i = 40; i < 50; i++) {
        points[i].value = 0; // 2 s
    }
    edges = find_plain(points, 100, windows, 4);
    assert_int_equal(edges.n_windows, 2);
    edges = find_plain(points, 100, windows, 1);
    assert_int_equal(edges.n_windows, 1);
    assert_true(edges.is_truncated);
}

static void test_open_windows_are_counted(void **state) {
    (void)state;
    struct series_point points[100];
    struct series_window windows[4];
    struct series_edges edges = find_plain(points, rectangle(points, 100, 0, 40), windows, 4);
    assert_int_equal(edges.n_windows, 1);
    assert_int_equal(edges.n_open, 1);
    assert_true(windows[0].t0_ns == 0 && windows[0].foot0_ns == 0);
    edges = find_plain(points, rectangle(points, 100, 60, 100), windows, 4);
    assert_int_equal(edges.n_open, 1);
    assert_true(windows[0].t1_ns == points[99].t_ns);
}

static void test_bad_arguments(void **state) {
    (void)state;
    struct series_point points[100];
    struct series_window windows[4];
    struct series_edges edges;
    struct series_edges_options options;
    series_edges_options_init(&options);
    rectangle(points, 100, 30, 60);
    assert_int_equal(series_edges_find(points, 7, &options, windows, 4, &edges, NULL), WL_INPUT);
    options.median_width = 4;
    assert_int_equal(series_edges_find(points, 100, &options, windows, 4, &edges, NULL), WL_INPUT);
}

// Any finite signal: no crash, windows ordered and inside the samples.
static void test_any_signal_is_survived(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 9);
    for (int run = 0; run < 2000; run++) {
        struct series_point points[200];
        size_t n = 8 + rng_below(&rng, 192);
        int64_t t_ns = 0;
        for (size_t i = 0; i < n; i++) {
            double spread = run % 3 ? 50 : 1e6;
            points[i] = (struct series_point){t_ns, run % 2 ? floor(3 * rng_uniform(&rng)) * 40
                                                            : spread * rng_normal(&rng)};
            t_ns += rng_below(&rng, 5) ? 200000000 : rng_below(&rng, 2) * 5000000000LL;
        }
        struct series_window windows[MAX_WINDOWS];
        struct series_edges edges = find_plain(points, n, windows, MAX_WINDOWS);
        for (size_t i = 0; i < edges.n_windows; i++) {
            assert_true(windows[i].t0_ns <= windows[i].t1_ns);
            assert_true(windows[i].foot0_ns >= 0 && windows[i].foot1_ns <= points[n - 1].t_ns);
            assert_true(i == 0 || windows[i].t0_ns >= windows[i - 1].t1_ns);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_area_within_5_pct_for_500_seeds),
        cmocka_unit_test(test_noisy_machine),
        cmocka_unit_test(test_several_loads),
        cmocka_unit_test(test_idle_machine_has_no_windows),
        cmocka_unit_test(test_clean_rectangle),
        cmocka_unit_test(test_short_windows_drop_and_near_ones_merge),
        cmocka_unit_test(test_open_windows_are_counted),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_any_signal_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
