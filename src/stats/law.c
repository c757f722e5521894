#include "stats/law.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/law_search.h"
#include "stats/special.h"

// A curvature term must be this significant and matter this much to be used. That cost grows faster
// than its tokens is what attention does: 5 % one-sided. That it grows more slowly would need a
// reason: 1 %. (Simulated on short noisy studies: a stricter rule for growth costs more in wrong
// predictions than it saves, tests/unit/test_stats_law.c.)
static const double GROWTH_P = 0.10, TERM_P = 0.01, TERM_SHARE = 0.01, MISFIT_P = 0.01;

const char *law_term_name(enum law_term term) {
    static const char *const names[LAW_N_TERMS] = {"fixed", "prompt", "generated", "quadratic",
                                                   "interaction"};
    return term >= 0 && term < LAW_N_TERMS ? names[term] : "unknown";
}

static void find_range(struct law_problem *problem, bool of_prompts, struct law_fit *out) {
    double *values = problem->scratch;
    size_t n = problem->n, n_distinct = 1;
    for (size_t i = 0; i < n; i++) {
        const struct law_point *point = &problem->points[i];
        values[i] = of_prompts ? point->prompt_tokens : point->generated_tokens;
    }
    stats_sort(values, n);
    for (size_t i = 1; i < n; i++) {
        n_distinct += values[i] != values[i - 1];
    }
    double median = stats_quantile_sorted(values, n, 0.5);
    if (of_prompts) {
        out->n_prompt_lengths = n_distinct;
        out->prompt_min = values[0];
        out->prompt_max = values[n - 1];
        out->prompt_typical = median;
    } else {
        out->n_generated_lengths = n_distinct;
        out->generated_min = values[0];
        out->generated_max = values[n - 1];
        out->generated_typical = median;
    }
}

// How much a curvature term is worth in a solution that has it.
struct term_test {
    double p;
    double share; // of Y where that is largest
    bool is_positive;
    struct law_solution solution;
};

static void test_term(struct law_problem *problem, const struct law_solution *base,
                      enum law_term term, struct term_test *out) {
    *out = (struct term_test){.p = NAN, .share = NAN};
    bool has_term[LAW_N_TERMS];
    memcpy(has_term, base->has_term, sizeof has_term);
    has_term[term] = true;
    if (law_column(has_term, LAW_N_TERMS) > problem->n_cells ||
        law_solve(problem, has_term, &out->solution, NULL) != WL_OK) {
        return;
    }
    size_t column = law_column(has_term, term);
    double coef = out->solution.fit.coef[column];
    double sd = sqrt(out->solution.fit.covariance[column][column]);
    out->p = stats_student_two_sided_p(coef / sd, (double)out->solution.fit.dof);
    const bool only_this[LAW_N_TERMS] = {
        [LAW_QUADRATIC] = term == LAW_QUADRATIC, [LAW_INTERACTION] = term == LAW_INTERACTION};
    out->share = 0;
    out->is_positive = coef > 0;
    for (size_t i = 0; i < problem->n; i++) {
        double row[LAW_N_TERMS];
        const struct law_point *point = &problem->points[i];
        law_row(only_this, point->prompt_tokens, point->generated_tokens, row);
        double whole = fmax(fabs(problem->fitted[i]), 1e-3 * problem->largest);
        out->share = fmax(out->share, fabs(coef * row[0]) / whole);
    }
}

static bool is_wanted(const struct law_problem *problem, enum law_term term,
                      const struct term_test *test) {
    if (problem->has_told_terms) {
        return problem->told_term[term] && isfinite(test->p);
    }
    return test->p < (test->is_positive ? GROWTH_P : TERM_P) && test->share > TERM_SHARE;
}

static void note_term(struct law_fit *out, enum law_term term, const struct term_test *test) {
    if (term == LAW_QUADRATIC) {
        out->p_quadratic = test->p;
        out->max_quadratic_share = test->share;
    } else {
        out->p_interaction = test->p;
        out->max_interaction_share = test->share;
    }
}

// Forward selection of the two curvature terms: the clearer one first, then the other beside it.
static void choose_terms(struct law_problem *problem, struct law_solution *solution,
                         struct law_fit *out) {
    static const enum law_term terms[2] = {LAW_QUADRATIC, LAW_INTERACTION};
    const bool can_be[2] = {out->n_prompt_lengths >= 3,
                            solution->has_term[LAW_PROMPT] && solution->has_term[LAW_GENERATED]};
    struct term_test tests[2] = {{.p = NAN, .share = NAN}, {.p = NAN, .share = NAN}};
    for (int i = 0; i < 2; i++) {
        if (can_be[i]) {
            test_term(problem, solution, terms[i], &tests[i]);
        }
        note_term(out, terms[i], &tests[i]);
    }
    bool is_wanted_0 = is_wanted(problem, terms[0], &tests[0]);
    int first =
        is_wanted(problem, terms[1], &tests[1]) && !(is_wanted_0 && tests[0].p <= tests[1].p);
    if (!is_wanted(problem, terms[first], &tests[first])) {
        return;
    }
    *solution = tests[first].solution;
    int second = !first;
    if (!can_be[second]) {
        return;
    }
    test_term(problem, solution, terms[second], &tests[second]);
    note_term(out, terms[second], &tests[second]);
    if (is_wanted(problem, terms[second], &tests[second])) {
        *solution = tests[second].solution;
    }
}

static void copy_coefficients(const struct law_solution *solution, double enlargement,
                              struct law_fit *out) {
    memcpy(out->has_term, solution->has_term, sizeof out->has_term);
    double t = stats_student_quantile(0.975, out->dof);
    for (int i = 0; i < LAW_N_TERMS; i++) {
        out->ci95[i] = (struct stats_interval){NAN, NAN};
        if (!out->has_term[i]) {
            continue;
        }
        size_t a = law_column(out->has_term, (enum law_term)i);
        out->coef[i] = solution->fit.coef[a];
        for (int j = 0; j < LAW_N_TERMS; j++) {
            if (out->has_term[j]) {
                size_t b = law_column(out->has_term, (enum law_term)j);
                out->covariance[i][j] = enlargement * solution->fit.covariance[a][b];
            }
        }
        double half = t * sqrt(out->covariance[i][i]);
        out->ci95[i] = (struct stats_interval){out->coef[i] - half, out->coef[i] + half};
    }
    out->has_negative_coef =
        out->coef[LAW_FIXED] < 0 || out->coef[LAW_PROMPT] < 0 || out->coef[LAW_GENERATED] < 0;
}

static double r2_of_all(struct law_problem *problem) {
    double rest = 0, total = 0;
    for (size_t i = 0; i < problem->n; i++) {
        problem->scratch[i] = problem->points[i].y;
    }
    double mean = stats_mean(problem->scratch, problem->n);
    for (size_t i = 0; i < problem->n; i++) {
        rest += pow(problem->points[i].y - problem->fitted[i], 2);
        total += pow(problem->points[i].y - mean, 2);
    }
    return total > 0 ? 1 - rest / total : NAN;
}

static void fill(struct law_problem *problem, const struct law_solution *solution,
                 struct law_fit *out) {
    double enlargement;
    out->n = problem->n;
    out->n_outliers = solution->n_outliers;
    out->n_cells = problem->n_cells;
    out->dof = (double)solution->fit.dof;
    out->p_lack_of_fit = law_lack_of_fit(problem, solution, &enlargement);
    out->is_lack_of_fit = out->p_lack_of_fit < MISFIT_P;
    if (out->is_lack_of_fit) {
        out->dof = (double)(problem->n_cells - solution->fit.n_columns);
    }
    copy_coefficients(solution, out->is_lack_of_fit ? fmax(enlargement, 1) : 1, out);
    out->r2 = solution->fit.r2;
    out->r2_adjusted = solution->fit.r2_adjusted;
    out->r2_all = r2_of_all(problem);
    out->residual_sd = solution->fit.residual_sd;
    out->noise_share = sqrt(solution->fit.residual_variance);
    out->outlier_limit = solution->outlier_limit;
    out->noise_fixed = solution->ratio * out->noise_share;
    out->mean_abs_pct_error = law_cross_validate(problem, solution, solution->has_term[LAW_PROMPT]);
}

static enum wl_status fit_problem(struct law_problem *problem, struct law_fit *out,
                                  struct wl_err *err) {
    find_range(problem, true, out);
    find_range(problem, false, out);
    if (problem->n_cells < 2) {
        return wl_err_set(err, WL_INPUT,
                          "all %zu points of the law have %g prompt and %g generated tokens: "
                          "nothing varies; measure at least two lengths",
                          problem->n, out->prompt_min, out->generated_min);
    }
    const bool has_term[LAW_N_TERMS] = {[LAW_FIXED] = true,
                                        [LAW_PROMPT] = out->n_prompt_lengths > 1,
                                        [LAW_GENERATED] = out->n_generated_lengths > 1};
    struct law_solution solution;
    enum wl_status status = law_solve(problem, has_term, &solution, err);
    if (status != WL_OK) {
        return status;
    }
    choose_terms(problem, &solution, out);
    // The tests left their own outliers and fitted values behind.
    bool chosen[LAW_N_TERMS];
    memcpy(chosen, solution.has_term, sizeof chosen);
    status = law_solve(problem, chosen, &solution, err);
    if (status == WL_OK) {
        fill(problem, &solution, out);
    }
    return status;
}

// `told_term` (may be NULL): the curvature terms to use, without a test.
static enum wl_status fit_points(const struct law_point *points, size_t n,
                                 const bool told_term[LAW_N_TERMS], struct law_fit *out,
                                 struct wl_err *err) {
    *out = (struct law_fit){0};
    struct law_problem problem;
    enum wl_status status = law_problem_init(&problem, points, n, err);
    if (status != WL_OK) {
        return status;
    }
    problem.has_told_terms = told_term != NULL;
    for (int term = 0; told_term && term < LAW_N_TERMS; term++) {
        problem.told_term[term] = told_term[term];
    }
    status = fit_problem(&problem, out, err);
    law_problem_release(&problem);
    if (status != WL_OK) {
        *out = (struct law_fit){0};
    }
    return status;
}

enum wl_status law_fit(const struct law_point *points, size_t n, struct law_fit *out,
                       struct wl_err *err) {
    return fit_points(points, n, NULL, out, err);
}

enum wl_status law_fit_like(const struct law_point *points, size_t n, const struct law_fit *other,
                            struct law_fit *fit, struct wl_err *err) {
    bool either[LAW_N_TERMS] = {0};
    bool is_same = true;
    for (int term = LAW_QUADRATIC; term < LAW_N_TERMS; term++) {
        either[term] = fit->has_term[term] || other->has_term[term];
        is_same &= either[term] == fit->has_term[term];
    }
    return is_same ? WL_OK : fit_points(points, n, either, fit, err);
}
