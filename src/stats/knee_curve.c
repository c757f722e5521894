// One curve at one k, by least squares over the cells.
#include <math.h>

#include "stats/knee_search.h"

enum { MIN_BELOW_FOR_QUADRATIC = 2, MIN_CELLS_FOR_QUADRATIC = 6 };
enum { N_CANDIDATES = 40, MAX_STEPS_PER_GAP = 8, N_REFINE_STEPS = 22 };

const struct knee_terms KNEE_FULL = {.has_quadratic = true, .has_slope_above = true};

size_t knee_row(struct knee_terms terms, double k, double x, double row[KNEE_MAX_COLUMNS]) {
    size_t n = 0;
    double below = fmin(x, k);
    row[n++] = 1;
    row[n++] = below;
    if (terms.has_quadratic) {
        row[n++] = below * below;
    }
    if (terms.has_slope_above) {
        row[n++] = fmax(x - k, 0);
    }
    return n;
}

bool knee_is_knee(const struct knee_problem *problem, struct knee_terms terms, double k,
                  const double *coef) {
    double q = terms.has_quadratic ? coef[2] : 0;
    double above = terms.has_slope_above ? coef[terms.has_quadratic ? 3 : 2] : 0;
    double mean_slope = coef[1] + q * (problem->cells[0].x + k), slope = coef[1] + 2 * q * k;
    return mean_slope > 0 && slope > 0 && slope > above;
}

enum wl_status knee_solve_rows(struct knee_problem *problem, size_t n_columns, const double *y,
                               struct stats_fit *out) {
    for (size_t i = 0; i < problem->n_cells; i++) {
        problem->y[i] = y ? y[i] : problem->cells[i].y;
        problem->weights[i] = problem->cells[i].weight;
    }
    struct stats_fit_data data = {.rows = problem->rows,
                                  .y = problem->y,
                                  .weights = problem->weights,
                                  .n = problem->n_cells,
                                  .n_columns = n_columns};
    return stats_fit(&data, STATS_COVARIANCE_PLAIN, out, NULL, NULL);
}

enum wl_status knee_solve(struct knee_problem *problem, struct knee_terms terms, double k,
                          const double *y, struct stats_fit *out) {
    size_t n_columns = 0;
    for (size_t i = 0; i < problem->n_cells; i++) {
        n_columns = knee_row(terms, k, problem->cells[i].x, problem->rows + i * n_columns);
    }
    return knee_solve_rows(problem, n_columns, y, out);
}

// With two sizes below k a parabola can reach any level at k: then k is not told between the
// second and the third size, and the interval says so. With one size not even q can be told.
struct knee_terms knee_terms_at(const struct knee_problem *problem, struct knee_terms wanted,
                                double k) {
    size_t n_below = 0;
    while (n_below < problem->n_cells && problem->cells[n_below].x < k) {
        n_below++;
    }
    bool can_bend =
        n_below >= MIN_BELOW_FOR_QUADRATIC && problem->n_cells >= MIN_CELLS_FOR_QUADRATIC;
    wanted.has_quadratic = wanted.has_quadratic && can_bend;
    return wanted;
}

void knee_curve_at(struct knee_problem *problem, struct knee_terms terms, double k,
                   struct knee_curve *out) {
    terms = knee_terms_at(problem, terms, k);
    *out = (struct knee_curve){.terms = terms, .k = k, .rest = INFINITY};
    if (knee_solve(problem, terms, k, NULL, &out->fit) == WL_OK &&
        knee_is_knee(problem, terms, k, out->fit.coef)) {
        out->rest = out->fit.residual_variance * (double)out->fit.dof;
    }
}

static size_t steps_per_gap(const struct knee_problem *problem) {
    size_t n_gaps = problem->n_cells - 3, n = N_CANDIDATES / n_gaps;
    return n < 1 ? 1 : n > MAX_STEPS_PER_GAP ? MAX_STEPS_PER_GAP : n;
}

size_t knee_n_candidates(const struct knee_problem *problem) {
    return (problem->n_cells - 3) * steps_per_gap(problem) + 1;
}

double knee_candidate(const struct knee_problem *problem, size_t i) {
    size_t n_steps = steps_per_gap(problem), gap = 1 + i / n_steps;
    double share = (double)(i % n_steps) / (double)n_steps;
    double from = problem->cells[gap].x, to = problem->cells[gap + 1].x;
    return i % n_steps == 0 ? from : from + share * (to - from);
}

// Golden section; *best is replaced where that is better.
void knee_refine(struct knee_problem *problem, struct knee_terms terms, double low, double high,
                 struct knee_curve *best) {
    static const double GOLDEN = 0.6180339887498949;
    struct knee_curve inner[2];
    knee_curve_at(problem, terms, high - GOLDEN * (high - low), &inner[0]);
    knee_curve_at(problem, terms, low + GOLDEN * (high - low), &inner[1]);
    for (int step = 0; step < N_REFINE_STEPS; step++) {
        int better = inner[1].rest < inner[0].rest;
        if (inner[better].rest < best->rest) {
            *best = inner[better];
        }
        if (better) {
            low = inner[0].k;
            inner[0] = inner[1];
            knee_curve_at(problem, terms, low + GOLDEN * (high - low), &inner[1]);
        } else {
            high = inner[1].k;
            inner[1] = inner[0];
            knee_curve_at(problem, terms, high - GOLDEN * (high - low), &inner[0]);
        }
    }
}

bool knee_search(struct knee_problem *problem, struct knee_curve *out) {
    *out = (struct knee_curve){.rest = INFINITY};
    size_t n = knee_n_candidates(problem), best = 0;
    for (size_t i = 0; i < n; i++) {
        struct knee_curve curve;
        knee_curve_at(problem, KNEE_FULL, knee_candidate(problem, i), &curve);
        problem->rests[i] = curve.rest;
        if (curve.rest < out->rest) {
            *out = curve;
            best = i;
        }
    }
    if (!isfinite(out->rest)) {
        return false;
    }
    double low = knee_candidate(problem, best > 0 ? best - 1 : 0);
    double high = knee_candidate(problem, best + 1 < n ? best + 1 : n - 1);
    knee_refine(problem, KNEE_FULL, low, high, out);
    return true;
}
