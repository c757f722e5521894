// Two checks of a fitted law: against its own replicates, and against lengths it has not seen.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/law_search.h"
#include "stats/special.h"

// More lengths than this say nothing more about the error.
enum { MAX_LEFT_OUT = 256 };

double law_lack_of_fit(struct law_problem *problem, const struct law_solution *solution,
                       double *ratio) {
    double pure = 0, residual = solution->fit.residual_variance * (double)solution->fit.dof;
    size_t first = 0, end = 0, n_cells = 0, n_kept = 0;
    while (law_problem_next_cell(problem, &first, &end)) {
        size_t n = 0;
        for (size_t i = first; i < end; i++) {
            if (!problem->is_skipped[i]) {
                problem->scratch[n++] = problem->points[i].y;
            }
        }
        double mean = stats_mean(problem->scratch, n);
        for (size_t i = 0; i < n; i++) {
            pure += problem->weights[first] * pow(problem->scratch[i] - mean, 2);
        }
        n_cells += n > 0;
        n_kept += n;
    }
    *ratio = 1;
    size_t n_terms = solution->fit.n_columns;
    if (n_kept <= n_cells || n_cells <= n_terms || !(pure > 0)) {
        return NAN;
    }
    double lack_dof = (double)(n_cells - n_terms), pure_dof = (double)(n_kept - n_cells);
    double lack = fmax(residual - pure, 0) / lack_dof;
    *ratio = lack / solution->fit.residual_variance;
    return stats_f_upper_p(lack / (pure / pure_dof), lack_dof, pure_dof);
}

static double length_of(const struct law_point *point, bool by_prompt) {
    return by_prompt ? point->prompt_tokens : point->generated_tokens;
}

// Mean relative error of the cells of one length under a fit that has not seen them.
static double error_of_length(struct law_problem *problem, const bool has_term[LAW_N_TERMS],
                              const struct stats_fit *fit, bool by_prompt, double length,
                              size_t *n_cells) {
    double sum = 0;
    size_t first = 0, end = 0;
    while (law_problem_next_cell(problem, &first, &end)) {
        const struct law_point *point = &problem->points[first];
        double median = law_problem_median(problem, first, end);
        if (length_of(point, by_prompt) != length || median == 0) {
            continue;
        }
        double row[LAW_N_TERMS], value = 0;
        size_t n = law_row(has_term, point->prompt_tokens, point->generated_tokens, row);
        for (size_t j = 0; j < n; j++) {
            value += fit->coef[j] * row[j];
        }
        sum += fabs(value - median) / fabs(median);
        (*n_cells)++;
    }
    return sum;
}

// Marks the points of the length at `at` as skipped, beside the outliers; false when the point
// before has the same length. (Points are sorted by prompt, and by generated length when prompts
// are equal.)
static bool leave_out(struct law_problem *problem, const bool *is_outlier, bool by_prompt,
                      size_t at) {
    double length = length_of(&problem->points[at], by_prompt);
    if (at > 0 && length_of(&problem->points[at - 1], by_prompt) == length) {
        return false;
    }
    for (size_t i = 0; i < problem->n; i++) {
        problem->is_skipped[i] =
            is_outlier[i] || length_of(&problem->points[i], by_prompt) == length;
    }
    return true;
}

double law_cross_validate(struct law_problem *problem, const struct law_solution *solution,
                          bool by_prompt) {
    bool *is_outlier = malloc(problem->n * sizeof *is_outlier);
    if (!is_outlier) {
        return NAN;
    }
    memcpy(is_outlier, problem->is_skipped, problem->n * sizeof *is_outlier);
    double sum = 0;
    size_t n_lengths = 0, n_cells = 0, first = 0, end = 0;
    while (n_lengths < MAX_LEFT_OUT && law_problem_next_cell(problem, &first, &end)) {
        if (!leave_out(problem, is_outlier, by_prompt, first)) {
            continue;
        }
        struct stats_fit fit;
        n_lengths++;
        if (law_solve_kept(problem, solution->has_term, &fit, NULL) == WL_OK) {
            double length = length_of(&problem->points[first], by_prompt);
            sum += error_of_length(problem, solution->has_term, &fit, by_prompt, length, &n_cells);
        }
    }
    memcpy(problem->is_skipped, is_outlier, problem->n * sizeof *is_outlier);
    free(is_outlier);
    return n_lengths >= 4 && n_cells > 0 ? 100 * sum / (double)n_cells : NAN;
}
