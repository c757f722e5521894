// The lag finder against meters whose lag and smoothing are known.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "series/lag.h"

enum { MAX_POINTS = 2000, STEP_MS = 5, MAX_STEPS = 12000 };

// A meter at the end of a train of pulses: true utilisation is 0 or 1.
struct plant {
    double lag_s, tau_s, noise_w, quantum_w, period_s;
    double idle_w, busy_w;
    uint64_t seed;
};

static struct series_point signal[MAX_POINTS], power[MAX_POINTS];
static size_t n_signal, n_power;

static const double EDGES_S[] = {4.0, 7.1, 10.0, 12.9, 16.2, 19.3};
static const double LENGTH_S = 26;

static double busy_at(double t_s) {
    int passed = 0;
    for (size_t i = 0; i < sizeof EDGES_S / sizeof EDGES_S[0]; i++) {
        passed += t_s >= EDGES_S[i];
    }
    return passed % 2;
}

static void simulate(const struct plant *plant) {
    static double shown_w[MAX_STEPS];
    const double step_s = STEP_MS * 1e-3;
    size_t n = (size_t)(LENGTH_S / step_s);
    double state = 0;
    struct rng rng;
    rng_seed(&rng, plant->seed);
    for (size_t i = 0; i < n; i++) {
        double u = busy_at((double)i * step_s - plant->lag_s);
        state = plant->tau_s > 0 ? state + (u - state) * (1 - exp(-step_s / plant->tau_s)) : u;
        shown_w[i] = plant->idle_w + (plant->busy_w - plant->idle_w) * state;
    }
    n_signal = n_power = 0;
    for (double t_s = 0; t_s + 0.1 < LENGTH_S; t_s += 0.1) { // 10 Hz utilisation in 10 ms ticks
        double busy_s = 0;
        for (double at = t_s; at < t_s + 0.0999; at += 0.01) {
            busy_s += 0.01 * busy_at(at + 0.005);
        }
        signal[n_signal++] = (struct series_point){(int64_t)((t_s + 0.05) * 1e9), busy_s / 0.1};
    }
    double phase_s = rng_uniform(&rng) * plant->period_s;
    for (double t_s = phase_s; t_s < LENGTH_S - step_s; t_s += plant->period_s) {
        double value = shown_w[(size_t)(t_s / step_s)] + plant->noise_w * rng_normal(&rng);
        if (plant->quantum_w > 0) {
            value = round(value / plant->quantum_w) * plant->quantum_w;
        }
        power[n_power++] = (struct series_point){(int64_t)(t_s * 1e9), value};
    }
}

static struct series_lag find(const struct plant *plant) {
    struct series_lag lag;
    simulate(plant);
    assert_int_equal(series_find_lag(signal, n_signal, power, n_power, &lag, NULL), WL_OK);
    return lag;
}

static const struct plant PLAIN = {
    .period_s = 0.1, .idle_w = 3, .busy_w = 8, .noise_w = 0.05, .seed = 1};

static void test_lags_and_smoothing(void **state) {
    (void)state;
    static const double LAGS_S[] = {-0.5, 0, 0.3, 1, 3, 5}, TAUS_S[] = {0, 0.3, 1, 2};
    for (size_t i = 0; i < 6; i++) {
        for (size_t k = 0; k < 4; k++) {
            struct plant plant = PLAIN;
            plant.lag_s = LAGS_S[i];
            plant.tau_s = TAUS_S[k];
            struct series_lag lag = find(&plant);
            if (plant.lag_s + plant.tau_s > 6) {
                continue; // the train is over before the meter has shown it
            }
            assert_true(lag.is_found);
            assert_true(fabs((double)lag.lag_ns * 1e-9 - plant.lag_s) < 0.06);
            assert_true(fabs((double)lag.smoothing_ns * 1e-9 - plant.tau_s) < 0.1);
            assert_true(lag.correlation > 0.98);
        }
    }
}

static void test_slow_and_coarse_meters(void **state) {
    (void)state;
    struct plant plug = PLAIN; // 1 Hz, whole tenths of a watt
    plug.period_s = 1;
    plug.lag_s = 2;
    plug.quantum_w = 0.1;
    struct series_lag lag = find(&plug);
    assert_true(lag.is_found);
    assert_true(fabs((double)lag.lag_ns * 1e-9 - 2) < 0.6);
    assert_true(lag.lag_sd_ns > 50000000); // and it knows that it is not sure
    struct plant coarse = PLAIN;           // whole watts
    coarse.quantum_w = 1;
    coarse.lag_s = 0.7;
    lag = find(&coarse);
    assert_true(lag.is_found);
    assert_true(fabs((double)lag.lag_ns * 1e-9 - 0.7) < 0.1);
}

// The stated sd covers the truth about as often as it claims, and is not idly wide.
static double coverage_of(struct plant plant, double *mean_ratio) {
    enum { RUNS = 120 };
    int n_covered = 0;
    double ratio = 0;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        struct rng rng;
        rng_seed(&rng, seed * 7919);
        plant.seed = seed;
        plant.lag_s = 3 * rng_uniform(&rng);
        struct series_lag lag = find(&plant);
        double error_s = (double)lag.lag_ns * 1e-9 - plant.lag_s;
        double sd_s = (double)lag.lag_sd_ns * 1e-9;
        assert_true(lag.is_found);
        n_covered += fabs(error_s) <= 1.96 * sd_s;
        ratio += error_s * error_s / (sd_s * sd_s) / RUNS;
    }
    *mean_ratio = sqrt(ratio);
    return n_covered / (double)RUNS;
}

static void test_sd_is_honest(void **state) {
    (void)state;
    struct plant plants[4] = {PLAIN, PLAIN, PLAIN, PLAIN};
    plants[1].noise_w = 1; // signal to noise 5
    plants[1].tau_s = 0.5;
    plants[2].period_s = 1; // a plug
    plants[3].period_s = 0.5;
    plants[3].tau_s = 1;
    plants[3].noise_w = 0.3;
    for (size_t i = 0; i < 4; i++) {
        double ratio, coverage = coverage_of(plants[i], &ratio);
        print_message("plant %zu: coverage %.2f, error/sd %.2f\n", i, coverage, ratio);
        assert_true(coverage >= 0.90);
        assert_true(ratio > 0.15);
    }
}

static void test_nothing_to_find(void **state) {
    (void)state;
    struct plant flat = PLAIN; // the meter is of another machine
    flat.busy_w = flat.idle_w;
    assert_false(find(&flat).is_found);
    struct plant inverse = PLAIN;
    inverse.busy_w = 1;
    inverse.idle_w = 5;
    inverse.noise_w = 0.01;
    struct series_lag lag = find(&inverse); // less power with more work
    assert_true(!lag.is_found || lag.correlation > 0);
    simulate(&PLAIN);
    for (size_t i = 0; i < n_signal; i++) {
        signal[i].value = 0.02; // no pulses
    }
    assert_int_equal(series_find_lag(signal, n_signal, power, n_power, &lag, NULL), WL_OK);
    assert_false(lag.is_found);
}

static void test_refusals(void **state) {
    (void)state;
    struct series_lag lag;
    struct wl_err err;
    simulate(&PLAIN);
    assert_int_equal(series_find_lag(signal, 5, power, n_power, &lag, &err), WL_INPUT);
    assert_int_equal(series_find_lag(signal, n_signal, power, 3, &lag, &err), WL_INPUT);
    power[20].value = NAN;
    assert_int_equal(series_find_lag(signal, n_signal, power, n_power, &lag, &err), WL_INPUT);
    simulate(&PLAIN);
    power[20].t_ns = 0;
    assert_int_equal(series_find_lag(signal, n_signal, power, n_power, &lag, &err), WL_INPUT);
    simulate(&PLAIN);
    signal[n_signal - 1].t_ns = INT64_MAX; // as long as an age
    assert_int_equal(series_find_lag(signal, n_signal, power, n_power, &lag, &err), WL_INPUT);
    for (size_t i = 0; i < n_signal; i++) {
        signal[i].t_ns = 7; // no length at all
    }
    assert_int_equal(series_find_lag(signal, n_signal, power, n_power, &lag, &err), WL_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lags_and_smoothing), cmocka_unit_test(test_slow_and_coarse_meters),
        cmocka_unit_test(test_sd_is_honest),       cmocka_unit_test(test_nothing_to_find),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
