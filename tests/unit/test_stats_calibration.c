// The two solvers of `calibrate`: a line with errors on both sides, and non-negative terms with
// priors. Simulated blocks with a known truth.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "near.h"
#include "stats/calibration_line.h"
#include "stats/nonneg.h"

enum { RUNS = 500, BLOCKS = 5 };
static const double TRUE_W[BLOCKS] = {3.0, 4.4, 7.9, 8.6, 3.1};

// --- line ---------------------------------------------------------------------------------------

static void make_line(struct rng *rng, double gain, double offset, double sd, double misfit_sd,
                      struct stats_line_point points[BLOCKS]) {
    for (size_t i = 0; i < BLOCKS; i++) {
        points[i] =
            (struct stats_line_point){.shown = (TRUE_W[i] - offset) / gain + sd * rng_normal(rng) +
                                               misfit_sd * rng_normal(rng),
                                      .shown_sd = sd,
                                      .reference = TRUE_W[i] + sd * rng_normal(rng),
                                      .reference_sd = sd};
    }
}

static void test_line_is_exact_without_noise(void **state) {
    (void)state;
    struct stats_line_point points[BLOCKS];
    struct stats_line line;
    for (size_t i = 0; i < BLOCKS; i++) {
        points[i] = (struct stats_line_point){(TRUE_W[i] - 2.2) / 1.3, 0.001, TRUE_W[i], 0.001};
    }
    assert_int_equal(stats_calibration_line(points, BLOCKS, &line, NULL), WL_OK);
    assert_near(line.gain, 1.3, 1e-9);
    assert_near(line.offset, 2.2, 1e-9);
    assert_near(line.r2, 1, 1e-9);
    assert_true(line.gain_sd > 0 && line.gain_sd < 0.001);
    // What all reference values share: gain and offset err together.
    struct stats_line wide = line;
    stats_calibration_line_widen(&wide, 0.02, 0.1);
    assert_near(wide.gain_sd, hypot(line.gain_sd, 0.026), 1e-9);
    assert_near(wide.offset_sd, hypot(hypot(line.offset_sd, 0.044), 0.1), 1e-9);
    assert_true(fabs(wide.covariance) <= wide.gain_sd * wide.offset_sd);
}

// sd, misfit that the stated errors do not have, and the least and most that 1.96 sd may cover.
static void check_line_coverage(double sd, double misfit_sd, double low, double high) {
    int n_gain = 0, n_offset = 0, n_value = 0;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        struct rng rng;
        struct stats_line_point points[BLOCKS];
        struct stats_line line;
        rng_seed(&rng, seed);
        make_line(&rng, 1.3, 2.2, sd, misfit_sd, points);
        assert_int_equal(stats_calibration_line(points, BLOCKS, &line, NULL), WL_OK);
        n_gain += fabs(line.gain - 1.3) <= 1.96 * line.gain_sd;
        n_offset += fabs(line.offset - 2.2) <= 1.96 * line.offset_sd;
        double x = 4; // the covariance must be right for a prediction between the blocks
        double variance = x * x * line.gain_sd * line.gain_sd + line.offset_sd * line.offset_sd +
                          2 * x * line.covariance;
        assert_true(variance > 0);
        n_value += fabs(line.gain * x + line.offset - (1.3 * x + 2.2)) <= 1.96 * sqrt(variance);
    }
    print_message("line sd %.2g misfit %.2g: gain %.1f %%, offset %.1f %%, value %.1f %%\n", sd,
                  misfit_sd, n_gain / 5.0, n_offset / 5.0, n_value / 5.0);
    assert_in_range(n_gain, (int)(low * RUNS), (int)(high * RUNS));
    assert_in_range(n_offset, (int)(low * RUNS), (int)(high * RUNS));
    assert_in_range(n_value, (int)(low * RUNS), (int)(high * RUNS));
}

static void test_line_coverage(void **state) {
    (void)state;
    check_line_coverage(0.02, 0, 0.92, 0.99);
    check_line_coverage(0.1, 0, 0.92, 0.99);
    check_line_coverage(0.01, 0.2, 0.90, 0.99); // stated errors far too small: the residuals tell
}

static void test_line_refusals(void **state) {
    (void)state;
    struct stats_line_point points[BLOCKS];
    struct stats_line line;
    struct wl_err err;
    struct rng rng;
    rng_seed(&rng, 1);
    make_line(&rng, 1, 0, 0.02, 0, points);
    assert_int_equal(stats_calibration_line(points, 2, &line, &err), WL_INPUT);
    for (size_t i = 0; i < BLOCKS; i++) {
        points[i].shown = 5 + 0.01 * (double)i; // another machine's meter
    }
    assert_int_equal(stats_calibration_line(points, BLOCKS, &line, &err), WL_UNTRUSTED);
    for (size_t i = 0; i < BLOCKS; i++) {
        points[i].shown = 10 - TRUE_W[i];
    }
    assert_int_equal(stats_calibration_line(points, BLOCKS, &line, &err), WL_UNTRUSTED);
    points[1].shown = NAN;
    assert_int_equal(stats_calibration_line(points, BLOCKS, &line, &err), WL_INPUT);
}

// --- terms --------------------------------------------------------------------------------------

enum { TERMS = 4 };
static const double TRUE_TERMS[TERMS] = {3.4, 0.9, 90e-12, 8e-12};
static const double PRIOR[TERMS] = {3.0, 1.25, 60e-12, 15e-12};
static const double PRIOR_SD[TERMS] = {3.0, 1.25, 60e-12, 15e-12};
// Per second: core-seconds, bytes, operations.
static const double ROWS[BLOCKS * TERMS] = {
    1, 0.00, 0,   0,    //
    1, 1.00, 4e9, 2e9,  //
    1, 3.90, 9e9, 5e9,  //
    1, 4.00, 1e9, 90e9, //
    1, 0.00, 0,   0,
};

static void make_powers(struct rng *rng, const double terms[TERMS], double sd, double y[BLOCKS],
                        double sds[BLOCKS]) {
    for (size_t i = 0; i < BLOCKS; i++) {
        y[i] = sd * rng_normal(rng);
        sds[i] = sd;
        for (size_t k = 0; k < TERMS; k++) {
            y[i] += ROWS[i * TERMS + k] * terms[k];
        }
    }
}

static struct stats_nonneg fit(const double y[BLOCKS], const double sds[BLOCKS], size_t n) {
    struct stats_nonneg_data data = {ROWS, y, sds, n, TERMS, PRIOR, PRIOR_SD};
    struct stats_nonneg out;
    assert_int_equal(stats_nonneg_fit(&data, &out, NULL), WL_OK);
    return out;
}

static void test_terms_are_found(void **state) {
    (void)state;
    struct rng rng;
    double y[BLOCKS], sds[BLOCKS];
    rng_seed(&rng, 3);
    make_powers(&rng, TRUE_TERMS, 1e-4, y, sds);
    struct stats_nonneg found = fit(y, sds, BLOCKS);
    for (size_t k = 0; k < TERMS; k++) {
        double sd = sqrt(found.covariance[k][k]);
        assert_true(found.is_fitted[k]);
        assert_near(found.value[k] / TRUE_TERMS[k], 1, 0.01);
        assert_near(found.value[k], TRUE_TERMS[k], 4 * sd);
    }
    assert_near(found.n_effective, 4, 0.01);
}

static void test_what_is_not_told_keeps_its_prior(void **state) {
    (void)state;
    double y[BLOCKS] = {3.4}, sds[BLOCKS] = {0.01};
    struct stats_nonneg found = fit(y, sds, 1); // an idle block alone
    assert_true(found.is_fitted[0]);
    assert_near(found.value[0], 3.4, 0.01);
    for (size_t k = 1; k < TERMS; k++) {
        assert_false(found.is_fitted[k]);
        assert_near(found.value[k] / PRIOR[k], 1, 1e-9);
        assert_near(sqrt(found.covariance[k][k]) / PRIOR_SD[k], 1, 1e-9);
    }
    assert_near(found.n_effective, 1, 0.01);
}

static void test_terms_are_never_negative(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        struct rng rng;
        double y[BLOCKS], sds[BLOCKS];
        rng_seed(&rng, seed);
        const double terms[TERMS] = {3.4, 1.2, 0, 0}; // on the bound, with noise
        make_powers(&rng, terms, 0.5, y, sds);
        struct stats_nonneg found = fit(y, sds, BLOCKS);
        for (size_t k = 0; k < TERMS; k++) {
            assert_true(found.value[k] >= 0);
            assert_true(found.covariance[k][k] > 0);
        }
    }
}

// Truths drawn from the prior (above 0): the posterior's 95 % intervals cover them, and so they
// cover the energy of work that was not in the blocks.
static void test_terms_coverage(void **state) {
    (void)state;
    int n_terms[TERMS] = {0}, n_energy = 0, n_runs = 0;
    for (uint64_t seed = 1; n_runs < RUNS; seed++) {
        struct rng rng;
        double terms[TERMS], y[BLOCKS], sds[BLOCKS];
        bool is_possible = true;
        rng_seed(&rng, seed);
        for (size_t k = 0; k < TERMS; k++) {
            terms[k] = PRIOR[k] + PRIOR_SD[k] * rng_normal(&rng);
            is_possible = is_possible && terms[k] >= 0;
        }
        if (!is_possible) {
            continue;
        }
        n_runs++;
        make_powers(&rng, terms, 0.05, y, sds);
        struct stats_nonneg found = fit(y, sds, BLOCKS);
        const double work[TERMS] = {10, 25, 40e9, 300e9};
        double error_j = 0, variance = 0;
        for (size_t k = 0; k < TERMS; k++) {
            double error = found.value[k] - terms[k];
            n_terms[k] += fabs(error) <= 1.96 * sqrt(found.covariance[k][k]);
            error_j += work[k] * error;
            for (size_t j = 0; j < TERMS; j++) {
                variance += work[k] * work[j] * found.covariance[k][j];
            }
        }
        assert_true(variance > 0);
        n_energy += fabs(error_j) <= 1.96 * sqrt(variance);
    }
    print_message("terms %.1f %.1f %.1f %.1f %%, energy %.1f %%\n", n_terms[0] / 5.0,
                  n_terms[1] / 5.0, n_terms[2] / 5.0, n_terms[3] / 5.0, n_energy / 5.0);
    for (size_t k = 0; k < TERMS; k++) {
        assert_in_range(n_terms[k], (int)(0.92 * RUNS), RUNS);
    }
    assert_in_range(n_energy, (int)(0.92 * RUNS), RUNS);
}

static void test_terms_refusals(void **state) {
    (void)state;
    double y[BLOCKS] = {1, 2, 3, 4, 5}, sds[BLOCKS] = {1, 1, 1, 1, 1};
    struct stats_nonneg_data good = {ROWS, y, sds, BLOCKS, TERMS, PRIOR, PRIOR_SD}, data = good;
    struct stats_nonneg out;
    struct wl_err err;
    data.n_terms = 0;
    assert_int_equal(stats_nonneg_fit(&data, &out, &err), WL_INPUT);
    data.n_terms = STATS_NONNEG_MAX_TERMS + 1;
    assert_int_equal(stats_nonneg_fit(&data, &out, &err), WL_INPUT);
    data = good;
    sds[2] = 0;
    assert_int_equal(stats_nonneg_fit(&data, &out, &err), WL_INPUT);
    sds[2] = 1;
    y[1] = INFINITY;
    assert_int_equal(stats_nonneg_fit(&data, &out, &err), WL_INPUT);
    y[1] = 1;
    const double no_sd[TERMS] = {0};
    data.prior_sd = no_sd;
    assert_int_equal(stats_nonneg_fit(&data, &out, &err), WL_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_is_exact_without_noise),
        cmocka_unit_test(test_line_coverage),
        cmocka_unit_test(test_line_refusals),
        cmocka_unit_test(test_terms_are_found),
        cmocka_unit_test(test_what_is_not_told_keeps_its_prior),
        cmocka_unit_test(test_terms_are_never_negative),
        cmocka_unit_test(test_terms_coverage),
        cmocka_unit_test(test_terms_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
