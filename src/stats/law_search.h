// The inside of law_fit, shared by its files only: one problem, solved for different sets of terms.
#ifndef WATTLAW_STATS_LAW_SEARCH_H
#define WATTLAW_STATS_LAW_SEARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "stats/fit.h"
#include "stats/law.h"

// Arrays have one entry per point, in the order of (prompt, generated).
struct law_problem {
    struct law_point *points;
    size_t n;
    size_t *cell_of; // 0, 1, ...: points of equal prompt and generated length share one
    size_t n_cells;
    double largest;   // largest |y|, or 1
    double *fitted;   // of the last solution
    double *leverage; // of each point in it: the share of its fitted value that is its own
    double *weights;
    bool *is_skipped; // outliers of the last solution, and what cross-validation leaves out
    double *scratch;
    double *rows; // of the points that are not skipped, n x terms, row-major
    double *y;
    double *kept_weights;
    double *memory;      // behind all arrays of double
    bool has_told_terms; // use these curvature terms, without a test
    bool told_term[LAW_N_TERMS];
};

// One fit of chosen terms. Coefficients in `fit` are in the order of the used terms.
struct law_solution {
    bool has_term[LAW_N_TERMS];
    struct stats_fit fit; // of the points that are no outliers, weights 1/h^2
    double ratio;         // s0/r: h^2 = ratio^2 + fitted^2
    double outlier_limit; // in noise sds
    size_t n_outliers;
};

enum wl_status law_problem_init(struct law_problem *problem, const struct law_point *points,
                                size_t n, struct wl_err *err);
void law_problem_release(struct law_problem *problem);
// The points [*first, *end) of the cell that begins at *end; false after the last cell.
bool law_problem_next_cell(const struct law_problem *problem, size_t *first, size_t *end);
// Median of y over [first, end).
double law_problem_median(struct law_problem *problem, size_t first, size_t end);

// The columns of one point for the used terms; returns their number.
size_t law_row(const bool has_term[LAW_N_TERMS], double prompt_tokens, double generated_tokens,
               double row[LAW_N_TERMS]);
// Index of a used term among the used ones.
size_t law_column(const bool has_term[LAW_N_TERMS], enum law_term term);

// Robust fit as law.h describes; afterwards `is_skipped` marks its outliers, `fitted` its values
// and `weights` its 1/h^2.
enum wl_status law_solve(struct law_problem *problem, const bool has_term[LAW_N_TERMS],
                         struct law_solution *out, struct wl_err *err);
// Least squares over the points that are not skipped, with `weights`.
enum wl_status law_solve_kept(struct law_problem *problem, const bool has_term[LAW_N_TERMS],
                              struct stats_fit *out, struct wl_err *err);

// h = sqrt(ratio^2 + fitted^2), |fitted| kept above a thousandth of the largest |y|.
double law_noise_shape(const struct law_problem *problem, double ratio, double fitted);
// Residual of point i over h, studentised: divided by sqrt(1 - leverage), because points that pull
// the fit towards themselves have small residuals whatever their noise.
double law_noise_residual(const struct law_problem *problem, double ratio, size_t i);
// Winsorised scale of these residuals; never 0.
double law_noise_scale(struct law_problem *problem, double ratio);
// s0/r by pseudo-likelihood (Carroll & Ruppert 1988, chapter 3) from residuals and fitted values.
double law_noise_ratio(struct law_problem *problem, size_t n_terms);

// F test of lack of fit: p-value, NaN without replicates. *ratio receives MS(lack of fit) over
// MS(residual).
double law_lack_of_fit(struct law_problem *problem, const struct law_solution *solution,
                       double *ratio);
// law_fit's mean_abs_pct_error. Uses is_skipped and restores it.
double law_cross_validate(struct law_problem *problem, const struct law_solution *solution,
                          bool by_prompt);

#endif
