#include "stats/knee.h"

#include <math.h>
#include <stdlib.h>

#include "stats/knee_search.h"

static const double KNEE_P = 0.01;

// A cost that does not change: its level, of all points alike.
static enum wl_status fit_level(struct law_problem *points, struct knee_fit *out,
                                struct wl_err *err) {
    const bool has_term[LAW_N_TERMS] = {[LAW_FIXED] = true};
    struct law_solution solution;
    enum wl_status status = law_solve(points, has_term, &solution, err);
    if (status == WL_OK) {
        out->fixed = out->level_above = solution.fit.coef[0];
        out->level_above_ci95 = solution.fit.ci95[0];
        out->slope = 0;
    }
    return status;
}

// Without a knee: law.h's line or parabola.
static enum wl_status fit_smooth(struct knee_problem *problem, struct knee_fit *out,
                                 struct wl_err *err) {
    struct law_problem *points = &problem->law;
    for (size_t i = 0; i < points->n; i++) {
        points->points[i].prompt_tokens = problem->x[i];
        points->points[i].generated_tokens = 0;
    }
    struct law_fit law;
    enum wl_status status = law_fit(points->points, points->n, &law, err);
    if (status != WL_OK) {
        return status;
    }
    struct law_prediction last;
    law_predict(&law, problem->x[points->n - 1], 0, &last);
    out->fixed = law.coef[LAW_FIXED];
    out->slope = law.coef[LAW_PROMPT];
    out->quadratic = law.coef[LAW_QUADRATIC];
    out->has_quadratic = law.has_term[LAW_QUADRATIC];
    out->slope_ci95 = law.ci95[LAW_PROMPT];
    out->is_flat_above =
        !out->has_quadratic && out->slope_ci95.low <= 0 && out->slope_ci95.high >= 0;
    out->level_above = last.value;
    out->level_above_ci95 = last.ci95;
    out->noise_fixed = law.noise_fixed;
    out->noise_share = law.noise_share;
    out->p_lack_of_fit = law.p_lack_of_fit;
    out->is_lack_of_fit = law.is_lack_of_fit;
    out->n_outliers = law.n_outliers;
    out->dof = law.dof;
    out->r2 = law.r2;
    return out->is_flat_above ? fit_level(points, out, err) : WL_OK;
}

static double r2_of_kept(const struct knee_problem *problem, const struct knee_fit *fit) {
    const struct law_problem *points = &problem->law;
    double sum = 0, rest = 0, total = 0;
    for (size_t i = 0; i < points->n; i++) {
        sum += points->is_skipped[i] ? 0 : points->points[i].y;
    }
    double mean = sum / (double)problem->n_kept;
    for (size_t i = 0; i < points->n; i++) {
        if (!points->is_skipped[i]) {
            rest += pow(points->points[i].y - knee_predict(fit, problem->x[i]), 2);
            total += pow(points->points[i].y - mean, 2);
        }
    }
    return total > 0 ? 1 - rest / total : NAN;
}

static void fit_with_knee(struct knee_problem *problem, const struct knee_curve *full,
                          struct knee_fit *out) {
    knee_describe(problem, full, out);
    out->has_knee = !out->is_at_edge;
    out->n_outliers = out->n - problem->n_kept;
    out->noise_share = sqrt(problem->variance);
    out->noise_fixed = problem->noise_ratio * out->noise_share;
    out->p_lack_of_fit = problem->p_lack_of_fit;
    out->is_lack_of_fit = problem->is_lack_of_fit;
    out->dof = problem->dof;
    out->r2 = r2_of_kept(problem, out);
}

static enum wl_status fit_problem(struct knee_problem *problem, uint64_t seed, struct knee_fit *out,
                                  struct wl_err *err) {
    struct knee_curve full;
    enum wl_status status = knee_problem_settle(problem, err);
    out->p_no_knee = 1;
    if (status == WL_OK && knee_search(problem, &full)) {
        knee_judge_noise(problem, &full);
        status = knee_exists(problem, seed, &out->p_no_knee, err);
    }
    if (status != WL_OK) {
        return status;
    }
    if (out->p_no_knee < KNEE_P) {
        fit_with_knee(problem, &full, out);
        return WL_OK;
    }
    return fit_smooth(problem, out, err);
}

enum wl_status knee_fit(const struct knee_point *points, size_t n, uint64_t seed,
                        struct knee_fit *out, struct wl_err *err) {
    const struct stats_interval nothing = {NAN, NAN};
    *out = (struct knee_fit){.p_no_knee = NAN,
                             .knee_x = NAN,
                             .knee_ci95 = nothing,
                             .slope_above = NAN,
                             .slope_above_ci95 = nothing,
                             .n = n};
    struct knee_problem problem;
    enum wl_status status = knee_problem_init(&problem, points, n, err);
    if (status == WL_OK) {
        out->n_x = problem.law.n_cells;
        out->x_min = problem.x[0];
        out->x_max = problem.x[n - 1];
        status = fit_problem(&problem, seed, out, err);
        knee_problem_release(&problem);
    }
    if (status != WL_OK) {
        *out = (struct knee_fit){0};
    }
    return status;
}

double knee_predict(const struct knee_fit *fit, double x) {
    double below = isnan(fit->knee_x) ? x : fmin(x, fit->knee_x);
    double value = fit->fixed + (fit->slope + fit->quadratic * below) * below;
    return fit->has_slope_above ? value + fit->slope_above * (x - below) : value;
}
