#include <math.h>
#include <string.h>

#include "stats/law_search.h"
#include "stats/special.h"

enum { N_ROBUST_STEPS = 30, N_MONOTONE_STEPS = 5, MIN_DOF_FOR_OUTLIERS = 4 };
static const double BIWEIGHT = 4.685, HUBER = 1.345; // 95 % efficient for normal noise

enum wl_status law_solve_kept(struct law_problem *problem, const bool has_term[LAW_N_TERMS],
                              struct stats_fit *out, struct wl_err *err) {
    const char *names[LAW_N_TERMS];
    size_t n = 0, n_terms = 0;
    for (int term = 0; term < LAW_N_TERMS; term++) {
        if (has_term[term]) {
            names[n_terms++] = law_term_name((enum law_term)term);
        }
    }
    for (size_t i = 0; i < problem->n; i++) {
        if (problem->is_skipped[i]) {
            continue;
        }
        const struct law_point *point = &problem->points[i];
        double row[LAW_N_TERMS];
        law_row(has_term, point->prompt_tokens, point->generated_tokens, row);
        memcpy(problem->rows + n * n_terms, row, n_terms * sizeof *row);
        problem->y[n] = point->y;
        problem->kept_weights[n++] = problem->weights[i];
    }
    struct stats_fit_data data = {.rows = problem->rows,
                                  .y = problem->y,
                                  .weights = problem->kept_weights,
                                  .n = n,
                                  .n_columns = n_terms,
                                  .names = names};
    return stats_fit(&data, STATS_COVARIANCE_LARGER, out, NULL, err);
}

static double leverage_of(const struct stats_fit *fit, const double *row, double weight) {
    double sum = 0;
    for (size_t i = 0; i < fit->n_columns; i++) {
        for (size_t j = 0; j < fit->n_columns; j++) {
            sum += row[i] * row[j] * fit->inverse_normal[i][j];
        }
    }
    return fmin(fmax(weight * sum, 0), 0.95);
}

// Fitted values, and how much of each the point itself decided.
static void set_fitted(struct law_problem *problem, const bool has_term[LAW_N_TERMS],
                       const struct stats_fit *fit) {
    for (size_t i = 0; i < problem->n; i++) {
        const struct law_point *point = &problem->points[i];
        double row[LAW_N_TERMS], sum = 0;
        size_t n_terms = law_row(has_term, point->prompt_tokens, point->generated_tokens, row);
        for (size_t j = 0; j < n_terms; j++) {
            sum += fit->coef[j] * row[j];
        }
        problem->fitted[i] = sum;
        double weight = problem->is_skipped[i] ? 0 : problem->weights[i];
        problem->leverage[i] = leverage_of(fit, row, weight);
    }
}

// A first idea of the values that outliers hardly touch: each cell's median.
static void start_from_cell_medians(struct law_problem *problem) {
    size_t first = 0, end = 0;
    while (law_problem_next_cell(problem, &first, &end)) {
        double median = law_problem_median(problem, first, end);
        for (size_t i = first; i < end; i++) {
            problem->fitted[i] = median;
        }
    }
}

// Weights of the first fit: proportional noise, and less for points far from their cell's median.
static void set_start_weights(struct law_problem *problem) {
    for (size_t i = 0; i < problem->n; i++) {
        double h = law_noise_shape(problem, 0, problem->fitted[i]);
        double u = fabs(problem->points[i].y - problem->fitted[i]) / (0.05 * h);
        problem->weights[i] = 1 / (h * h * fmax(u, 1));
    }
}

static double robust_weight(double u, bool is_monotone) {
    u = fabs(u);
    if (is_monotone) {
        return u <= HUBER ? 1 : HUBER / u;
    }
    double share = u / BIWEIGHT;
    return share >= 1 ? 1e-9 : fmax((1 - share * share) * (1 - share * share), 1e-9);
}

static void set_robust_weights(struct law_problem *problem, double ratio, bool is_monotone) {
    double scale = law_noise_scale(problem, ratio);
    for (size_t i = 0; i < problem->n; i++) {
        double h = law_noise_shape(problem, ratio, problem->fitted[i]);
        double u = law_noise_residual(problem, ratio, i) / scale;
        problem->weights[i] = robust_weight(u, is_monotone) / (h * h);
    }
}

static bool is_settled(const struct stats_fit *now, const struct stats_fit *before) {
    for (size_t j = 0; j < now->n_columns; j++) {
        double step = fabs(now->coef[j] - before->coef[j]);
        if (step > 1e-7 * fabs(now->coef[j]) && step > 1e-4 * sqrt(now->covariance[j][j])) {
            return false;
        }
    }
    return true;
}

// Iteratively reweighted least squares over all points: `fitted` becomes the robust fit's.
static enum wl_status fit_robustly(struct law_problem *problem, struct law_solution *out,
                                   size_t n_terms, struct wl_err *err) {
    memset(problem->is_skipped, 0, problem->n * sizeof *problem->is_skipped);
    start_from_cell_medians(problem);
    set_start_weights(problem);
    enum wl_status status = law_solve_kept(problem, out->has_term, &out->fit, err);
    for (int step = 0; status == WL_OK && step < N_ROBUST_STEPS; step++) {
        struct stats_fit before = out->fit;
        set_fitted(problem, out->has_term, &out->fit);
        if (step == 0 || step == 2 || step == N_MONOTONE_STEPS) {
            out->ratio = law_noise_ratio(problem, n_terms);
        }
        set_robust_weights(problem, out->ratio, step < N_MONOTONE_STEPS);
        status = law_solve_kept(problem, out->has_term, &out->fit, err);
        if (step > N_MONOTONE_STEPS && is_settled(&out->fit, &before)) {
            break;
        }
    }
    if (status == WL_OK) {
        set_fitted(problem, out->has_term, &out->fit);
    }
    return status;
}

// As likely in Student's distribution as 3.5 sd in the normal one: the scale of a small sample is
// itself uncertain, and a point too many taken away would make the rest look too good.
static double outlier_limit(size_t n, size_t n_terms) {
    if (n < n_terms + MIN_DOF_FOR_OUTLIERS) {
        return INFINITY;
    }
    return -stats_student_quantile(stats_normal_cdf(-STATS_OUTLIER_SDS), (double)(n - n_terms));
}

static size_t mark_outliers(struct law_problem *problem, double ratio, double scale, double limit) {
    size_t n_outliers = 0;
    for (size_t i = 0; i < problem->n; i++) {
        double h = law_noise_shape(problem, ratio, problem->fitted[i]);
        problem->is_skipped[i] = fabs(law_noise_residual(problem, ratio, i) / scale) > limit;
        problem->weights[i] = 1 / (h * h);
        n_outliers += problem->is_skipped[i];
    }
    return n_outliers;
}

enum wl_status law_solve(struct law_problem *problem, const bool has_term[LAW_N_TERMS],
                         struct law_solution *out, struct wl_err *err) {
    *out = (struct law_solution){0};
    memcpy(out->has_term, has_term, sizeof out->has_term);
    size_t n_terms = law_column(has_term, LAW_N_TERMS);
    if (problem->n <= n_terms) {
        return wl_err_set(err, WL_INPUT, "a law of %zu terms needs more points than %zu", n_terms,
                          problem->n);
    }
    enum wl_status status = fit_robustly(problem, out, n_terms, err);
    out->outlier_limit = outlier_limit(problem->n, n_terms);
    // Twice: outliers are judged again by the fit without them.
    for (int pass = 0; status == WL_OK && pass < 2; pass++) {
        out->ratio = law_noise_ratio(problem, n_terms);
        double scale = law_noise_scale(problem, out->ratio);
        out->n_outliers = mark_outliers(problem, out->ratio, scale, out->outlier_limit);
        status = law_solve_kept(problem, has_term, &out->fit, err);
        if (status == WL_OK) {
            set_fitted(problem, has_term, &out->fit);
        }
    }
    return status;
}
