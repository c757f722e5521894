// The law against simulated studies: exact recovery, honest intervals over 500 seeds, unseen
// lengths, outliers, and the choice of terms.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "near.h"
#include "stats/law.h"

enum { MAX_POINTS = 600, N_SEEDS = 500 };

struct truth {
    double coef[LAW_N_TERMS];
    double noise_share;
    double noise_fixed;
    double outlier_share; // of runs that cost 50 % more
};

// A 1 B model on a small board, in joules.
static const struct truth JOULES = {{3, 0.05, 0.4, 0, 0}, 0.03, 0, 0};

struct grid {
    const double *prompts;
    size_t n_prompts;
    const double *generated;
    size_t n_generated;
    size_t n_repeats;
};

static const double PROMPTS[] = {16, 32, 64, 128, 256, 512, 1024, 2048};
static const double GENERATED[] = {16, 64, 128};
static const struct grid GRID = {PROMPTS, 8, GENERATED, 3, 3};

static double true_cost(const struct truth *truth, double p, double g) {
    const double *c = truth->coef;
    return c[0] + c[1] * p + c[2] * g + c[3] * p * p + c[4] * p * g;
}

static double one_run(struct rng *rng, const struct truth *truth, double p, double g) {
    double cost = true_cost(truth, p, g);
    double y =
        cost + truth->noise_share * cost * rng_normal(rng) + truth->noise_fixed * rng_normal(rng);
    return rng_uniform(rng) < truth->outlier_share ? 1.5 * y : y;
}

static size_t run_grid(struct rng *rng, const struct truth *truth, const struct grid *grid,
                       struct law_point *points) {
    size_t n = 0;
    for (size_t r = 0; r < grid->n_repeats; r++) {
        for (size_t i = 0; i < grid->n_prompts; i++) {
            for (size_t j = 0; j < grid->n_generated; j++) {
                double p = grid->prompts[i], g = grid->generated[j];
                points[n++] = (struct law_point){p, g, one_run(rng, truth, p, g)};
            }
        }
    }
    return n;
}

static struct law_fit fitted(const struct law_point *points, size_t n) {
    struct law_fit fit;
    struct wl_err err = {0};
    if (law_fit(points, n, &fit, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return fit;
}

static void test_exact_data_gives_exact_terms(void **state) {
    (void)state;
    struct rng rng;
    struct law_point points[MAX_POINTS];
    rng_seed(&rng, 1);
    struct truth truth = {{3, 0.05, 0.4, 0, 0}, 0, 0, 0};
    struct law_fit fit = fitted(points, run_grid(&rng, &truth, &GRID, points));
    for (int term = 0; term < 3; term++) {
        assert_near(fit.coef[term], truth.coef[term], 1e-7);
    }
    assert_false(fit.has_term[LAW_QUADRATIC] || fit.has_term[LAW_INTERACTION]);
    assert_near(fit.r2, 1, 1e-12);
    assert_near(fit.mean_abs_pct_error, 0, 1e-6);
    assert_int_equal(fit.n_outliers, 0);
    truth.coef[LAW_QUADRATIC] = 2e-5;
    truth.coef[LAW_INTERACTION] = 1e-4;
    fit = fitted(points, run_grid(&rng, &truth, &GRID, points));
    for (int term = 0; term < LAW_N_TERMS; term++) {
        assert_true(fit.has_term[term]);
        assert_near(fit.coef[term], truth.coef[term], 1e-7);
    }
}

// What 500 simulated studies say about one kind of study.
struct tally {
    int n_term[LAW_N_TERMS]; // intervals that cover the true coefficient
    int n_mean, n_single, n_predictions;
    int n_quadratic, n_interaction, n_misfit;
    double noise_fixed; // mean of s0
    double error_pct;   // mean |predicted - true| at unseen lengths
    double cv_pct;
    double least_r2;
    double n_outliers;
    double worst_error_pct; // of a study
};

static void predict_unseen(struct rng *rng, const struct truth *truth, const struct law_fit *fit,
                           const struct grid *grid, struct tally *tally, double *error_pct) {
    static const double unseen[] = {20, 45, 90, 180, 360, 700, 1400, 2000};
    *error_pct = 0;
    for (size_t i = 0; i < 8; i++) {
        double g = grid->n_generated == 1 ? grid->generated[0] : 17 + 100 * rng_uniform(rng);
        struct law_prediction prediction;
        law_predict(fit, unseen[i], g, &prediction);
        assert_false(prediction.is_extrapolated);
        double cost = true_cost(truth, unseen[i], g);
        struct truth clean = *truth;
        clean.outlier_share = 0;
        double run = one_run(rng, &clean, unseen[i], g);
        tally->n_mean += prediction.ci95.low <= cost && cost <= prediction.ci95.high;
        tally->n_single += prediction.pi95.low <= run && run <= prediction.pi95.high;
        tally->n_predictions++;
        *error_pct += 100 * fabs(prediction.value - cost) / cost / 8;
    }
}

static struct tally simulate(const struct truth *truth, const struct grid *grid) {
    struct tally tally = {.least_r2 = 1};
    for (int seed = 1; seed <= N_SEEDS; seed++) {
        struct rng rng;
        struct law_point points[MAX_POINTS];
        rng_seed(&rng, (uint64_t)seed);
        struct law_fit fit = fitted(points, run_grid(&rng, truth, grid, points));
        for (int term = 0; term < LAW_N_TERMS; term++) {
            double value = truth->coef[term];
            tally.n_term[term] += fit.has_term[term]
                                      ? fit.ci95[term].low <= value && value <= fit.ci95[term].high
                                      : value == 0;
        }
        double error_pct;
        predict_unseen(&rng, truth, &fit, grid, &tally, &error_pct);
        tally.error_pct += error_pct / N_SEEDS;
        tally.worst_error_pct = fmax(tally.worst_error_pct, error_pct);
        tally.cv_pct += fit.mean_abs_pct_error / N_SEEDS;
        tally.least_r2 = fmin(tally.least_r2, fit.r2);
        tally.n_outliers += (double)fit.n_outliers / N_SEEDS;
        tally.n_quadratic += fit.has_term[LAW_QUADRATIC];
        tally.n_interaction += fit.has_term[LAW_INTERACTION];
        tally.n_misfit += fit.is_lack_of_fit;
        tally.noise_fixed += fit.noise_fixed / N_SEEDS;
    }
    return tally;
}

static void show(const char *what, const struct tally *t) {
    print_message("%s: covers a %.1f b %.1f c %.1f q %.1f x %.1f %%, mean %.1f %%, run %.1f %%\n",
                  what, t->n_term[0] / 5.0, t->n_term[1] / 5.0, t->n_term[2] / 5.0,
                  t->n_term[3] / 5.0, t->n_term[4] / 5.0, 100.0 * t->n_mean / t->n_predictions,
                  100.0 * t->n_single / t->n_predictions);
    print_message(
        "    error %.2f %% (worst study %.2f %%), cross-validated %.2f %%, least R2 %.4f, "
        "outliers %.2f, q used %.1f %%, x used %.1f %%, misfit %.1f %%, s0 %.2f\n",
        t->error_pct, t->worst_error_pct, t->cv_pct, t->least_r2, t->n_outliers,
        t->n_quadratic / 5.0, t->n_interaction / 5.0, t->n_misfit / 5.0, t->noise_fixed);
}

static void assert_share(int n, int of, double low, double high) {
    double share = (double)n / of;
    if (share < low || share > high) {
        fail_msg("%d of %d is %.3f, expected %.2f to %.2f", n, of, share, low, high);
    }
}

static void assert_honest(const struct tally *t, int n_terms) {
    for (int term = 0; term < n_terms; term++) {
        assert_share(t->n_term[term], N_SEEDS, 0.92, 0.98);
    }
    assert_share(t->n_mean, t->n_predictions, 0.92, 0.98);
    assert_share(t->n_single, t->n_predictions, 0.92, 0.98);
    assert_true(t->error_pct <= 5);
}

static void test_proportional_noise(void **state) {
    (void)state;
    struct tally t = simulate(&JOULES, &GRID);
    show("3 % noise", &t);
    assert_honest(&t, 3);
    assert_share(t.n_quadratic, N_SEEDS, 0, 0.07);
    assert_share(t.n_interaction, N_SEEDS, 0, 0.07);
    assert_share(t.n_misfit, N_SEEDS, 0, 0.03);
    assert_true(t.noise_fixed < 0.1);
}

static void test_noise_and_outliers(void **state) {
    (void)state;
    struct truth truth = JOULES;
    truth.noise_share = 0.05;
    truth.outlier_share = 0.03;
    struct tally t = simulate(&truth, &GRID);
    show("5 % noise, 3 % outliers", &t);
    assert_honest(&t, 3);
    assert_true(t.n_outliers > 1.5 && t.n_outliers < 4);
}

static void test_fixed_noise(void **state) {
    (void)state;
    struct truth truth = JOULES;
    truth.noise_share = 0.02;
    truth.noise_fixed = 2;
    struct tally t = simulate(&truth, &GRID);
    show("2 % + 2 J noise", &t);
    assert_honest(&t, 3);
    assert_near(t.noise_fixed, 2, 0.2);
}

static void test_curvature_is_found(void **state) {
    (void)state;
    struct truth truth = JOULES;
    truth.coef[LAW_QUADRATIC] = 1e-5;   // 20 % of the prompt's cost at 2048
    truth.coef[LAW_INTERACTION] = 1e-4; // 25 % of the generated part's at 1024
    truth.noise_share = 0.02;
    struct tally t = simulate(&truth, &GRID);
    show("quadratic and interaction", &t);
    assert_share(t.n_quadratic, N_SEEDS, 0.95, 1);
    assert_share(t.n_interaction, N_SEEDS, 0.95, 1);
    assert_share(t.n_mean, t.n_predictions, 0.92, 0.98);
    assert_share(t.n_single, t.n_predictions, 0.92, 0.98);
}

static void test_one_generated_length(void **state) {
    (void)state;
    static const double one[] = {64};
    const struct grid grid = {PROMPTS, 8, one, 1, 3};
    struct truth truth = JOULES;
    truth.coef[LAW_GENERATED] = 0; // its cost is part of the fixed one
    truth.coef[LAW_FIXED] = 3 + 0.4 * 64;
    struct tally t = simulate(&truth, &grid);
    show("one generated length", &t);
    assert_honest(&t, 2);
    struct rng rng;
    struct law_point points[MAX_POINTS];
    rng_seed(&rng, 1);
    struct law_fit fit = fitted(points, run_grid(&rng, &truth, &grid, points));
    assert_false(fit.has_term[LAW_GENERATED]);
    assert_true(isnan(fit.ci95[LAW_GENERATED].low) && isnan(fit.p_interaction));
    assert_int_equal(fit.n_generated_lengths, 1);
    struct law_prediction prediction;
    law_predict(&fit, 100, 32, &prediction);
    assert_true(prediction.is_extrapolated);
}

// A short study on a shared machine: attention bends the law, the noise half hides it. What is
// predicted must still be right and its interval true.
static void test_curvature_under_noise(void **state) {
    (void)state;
    static const double one[] = {16};
    const struct grid grid = {PROMPTS, 8, one, 1, 4};
    struct truth truth = JOULES;
    truth.coef[LAW_GENERATED] = 0;
    truth.coef[LAW_FIXED] = 3 + 0.4 * 16;
    truth.coef[LAW_QUADRATIC] = 1e-5; // 20 % of the prompt's cost at 2048
    truth.noise_share = 0.08;
    truth.outlier_share = 0.03;
    struct tally t = simulate(&truth, &grid);
    show("curvature under 8 % noise", &t);
    assert_true(t.error_pct < 2.6);
    assert_share(t.n_mean, t.n_predictions, 0.92, 0.98);
    assert_share(t.n_single, t.n_predictions, 0.92, 0.98);
}

static void test_small_study_without_repeats(void **state) {
    (void)state;
    static const double prompts[] = {16, 64, 256, 512, 1024, 2048};
    static const double generated[] = {16, 128};
    const struct grid grid = {prompts, 6, generated, 2, 1};
    struct tally t = simulate(&JOULES, &grid);
    show("12 runs", &t);
    assert_share(t.n_mean, t.n_predictions, 0.90, 0.98);
    assert_share(t.n_single, t.n_predictions, 0.90, 0.98);
    assert_true(t.error_pct <= 5);
}

static void test_outlier_at_the_largest_length(void **state) {
    (void)state;
    struct rng rng;
    struct law_point points[MAX_POINTS];
    rng_seed(&rng, 7);
    size_t n = run_grid(&rng, &JOULES, &GRID, points);
    points[23].y *= 1.5; // prompt 2048, generated 128
    struct law_fit fit = fitted(points, n);
    assert_int_equal(fit.n_outliers, 1);
    assert_int_equal(fit.n, n);
    assert_near(fit.coef[LAW_PROMPT], 0.05, 0.002);
    assert_true(fit.r2 > 0.99 && fit.r2_all < fit.r2);
    struct law_residual residuals[MAX_POINTS];
    law_residuals(&fit, points, n, residuals);
    size_t n_marked = 0;
    for (size_t i = 0; i < n; i++) {
        n_marked += residuals[i].is_outlier;
        assert_near(residuals[i].fitted + residuals[i].residual, points[i].y, 1e-9);
    }
    assert_int_equal(n_marked, 1);
    assert_true(residuals[23].is_outlier);
}

static void test_order_of_points_does_not_matter(void **state) {
    (void)state;
    struct rng rng;
    struct law_point points[MAX_POINTS], shuffled[MAX_POINTS];
    uint32_t order[MAX_POINTS];
    rng_seed(&rng, 8);
    size_t n = run_grid(&rng, &JOULES, &GRID, points);
    for (uint32_t i = 0; i < n; i++) {
        order[i] = i;
    }
    rng_shuffle_u32(&rng, order, n);
    for (size_t i = 0; i < n; i++) {
        shuffled[i] = points[order[i]];
    }
    struct law_fit a = fitted(points, n), b = fitted(shuffled, n);
    assert_memory_equal(a.coef, b.coef, sizeof a.coef);
    assert_memory_equal(a.covariance, b.covariance, sizeof a.covariance);
}

// The same data in another unit is the same law in that unit.
static void test_scaling(void **state) {
    (void)state;
    struct rng rng;
    struct law_point points[MAX_POINTS];
    rng_seed(&rng, 9);
    size_t n = run_grid(&rng, &JOULES, &GRID, points);
    struct law_fit a = fitted(points, n);
    for (size_t i = 0; i < n; i++) {
        points[i].y /= 3600;
    }
    struct law_fit b = fitted(points, n);
    for (int term = 0; term < 3; term++) {
        assert_near(b.coef[term] * 3600 / a.coef[term], 1, 1e-9);
        assert_near(b.ci95[term].low * 3600 / a.ci95[term].low, 1, 1e-6);
    }
    assert_near(b.noise_share, a.noise_share, 1e-9);
}

// A cost that jumps at 512 tokens is no law; the fit must say so.
static void test_lack_of_fit_is_reported(void **state) {
    (void)state;
    struct rng rng;
    struct law_point points[MAX_POINTS];
    rng_seed(&rng, 10);
    size_t n = run_grid(&rng, &JOULES, &GRID, points);
    struct law_fit good = fitted(points, n);
    for (size_t i = 0; i < n; i++) {
        points[i].y *= points[i].prompt_tokens == 64 || points[i].prompt_tokens == 512 ? 1.15 : 1;
    }
    struct law_fit bad = fitted(points, n);
    assert_false(good.is_lack_of_fit);
    assert_true(bad.is_lack_of_fit);
    assert_true(bad.covariance[1][1] > 2 * good.covariance[1][1]);
}

static void test_comparison(void **state) {
    (void)state;
    struct truth half = JOULES;
    for (int term = 0; term < 3; term++) {
        half.coef[term] *= term == LAW_PROMPT ? 0.4 : 0.5;
    }
    int n_difference = 0, n_ratio = 0, n_cost = 0, n_false = 0;
    for (int seed = 1; seed <= N_SEEDS; seed++) {
        struct rng rng;
        struct law_point points[MAX_POINTS];
        struct law_comparison c;
        rng_seed(&rng, (uint64_t)seed + 1000);
        struct law_point points_b[MAX_POINTS];
        struct law_point points_2[MAX_POINTS];
        size_t n_2 = run_grid(&rng, &JOULES, &GRID, points_2);
        struct law_fit a2 = fitted(points_2, n_2);
        size_t n_b = run_grid(&rng, &half, &GRID, points_b);
        struct law_fit b = fitted(points_b, n_b);
        size_t n_a = run_grid(&rng, &JOULES, &GRID, points);
        struct law_fit a = fitted(points, n_a);
        assert_int_equal(law_fit_like(points, n_a, &b, &a, NULL), WL_OK);
        assert_int_equal(law_fit_like(points_b, n_b, &a, &b, NULL), WL_OK);
        assert_memory_equal(a.has_term, b.has_term, sizeof a.has_term);
        law_compare(&a, &b, 300, 64, &c);
        const struct law_contrast *slope = &c.term[LAW_PROMPT];
        assert_true(slope->is_valid && slope->p_equal < 1e-6);
        n_difference += slope->difference_ci95.low <= -0.03 && -0.03 <= slope->difference_ci95.high;
        n_ratio += slope->ratio_ci95.low <= 0.4 && 0.4 <= slope->ratio_ci95.high;
        double ratio = true_cost(&half, 300, 64) / true_cost(&JOULES, 300, 64);
        n_cost += c.cost.ratio_ci95.low <= ratio && ratio <= c.cost.ratio_ci95.high;
        assert_int_equal(law_fit_like(points_2, n_2, &a, &a2, NULL), WL_OK);
        assert_int_equal(law_fit_like(points, n_a, &a2, &a, NULL), WL_OK);
        law_compare(&a, &a2, 300, 64, &c);
        n_false += c.term[LAW_PROMPT].p_equal < 0.05;
    }
    print_message("comparison covers: slope difference %.1f %%, slope ratio %.1f %%, cost ratio "
                  "%.1f %%; false alarms %.1f %%\n",
                  n_difference / 5.0, n_ratio / 5.0, n_cost / 5.0, n_false / 5.0);
    assert_share(n_difference, N_SEEDS, 0.92, 0.98);
    assert_share(n_ratio, N_SEEDS, 0.92, 0.98);
    assert_share(n_cost, N_SEEDS, 0.92, 0.98);
    assert_share(n_false, N_SEEDS, 0.02, 0.08);
}

static void test_bad_points(void **state) {
    (void)state;
    struct law_fit fit;
    struct wl_err err;
    struct law_point same[] = {{5, 5, 1}, {5, 5, 2}, {5, 5, 3}, {5, 5, 4}};
    assert_int_equal(law_fit(same, 4, &fit, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "nothing varies"));
    assert_int_equal(law_fit(same, 2, &fit, &err), WL_INPUT);
    struct law_point together[] = {{1, 2, 1}, {2, 4, 2}, {3, 6, 3}, {4, 8, 4}, {5, 10, 5}};
    assert_int_equal(law_fit(together, 5, &fit, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "generated"));
    struct law_point negative[] = {{-1, 2, 1}, {2, 4, 2}, {3, 6, 3}};
    assert_int_equal(law_fit(negative, 3, &fit, &err), WL_INPUT);
    struct law_point endless[] = {{1, 2, (double)INFINITY}, {2, 4, 2}, {3, 6, 3}};
    assert_int_equal(law_fit(endless, 3, &fit, &err), WL_INPUT);
    assert_int_equal(law_fit(same, LAW_MAX_POINTS + 1, &fit, &err), WL_LIMIT);
}

static void test_degenerate_costs(void **state) {
    (void)state;
    struct law_point zero[] = {{1, 2, 0}, {2, 2, 0}, {3, 2, 0}, {4, 2, 0}, {5, 2, 0}};
    struct law_fit fit = fitted(zero, 5);
    assert_near(fit.coef[LAW_PROMPT], 0, 1e-12);
    assert_true(isnan(fit.r2));
    struct law_point falling[] = {{1, 2, 10}, {2, 2, 8.1}, {3, 2, 6}, {4, 2, 3.9}, {5, 2, 2}};
    fit = fitted(falling, 5);
    assert_true(fit.has_negative_coef);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_data_gives_exact_terms),
        cmocka_unit_test(test_proportional_noise),
        cmocka_unit_test(test_noise_and_outliers),
        cmocka_unit_test(test_fixed_noise),
        cmocka_unit_test(test_curvature_is_found),
        cmocka_unit_test(test_one_generated_length),
        cmocka_unit_test(test_curvature_under_noise),
        cmocka_unit_test(test_small_study_without_repeats),
        cmocka_unit_test(test_outlier_at_the_largest_length),
        cmocka_unit_test(test_order_of_points_does_not_matter),
        cmocka_unit_test(test_scaling),
        cmocka_unit_test(test_lack_of_fit_is_reported),
        cmocka_unit_test(test_comparison),
        cmocka_unit_test(test_bad_points),
        cmocka_unit_test(test_degenerate_costs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
