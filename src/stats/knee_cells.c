// From runs to one mean per x: outliers and noise as law.h has them.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/knee_search.h"

enum { N_SETTLE_STEPS = 4 };
static const double SETTLED = 1e-3; // of k

static enum wl_status check_points(const struct knee_point *points, size_t n, struct wl_err *err) {
    if (n > LAW_MAX_POINTS) {
        return wl_err_set(err, WL_LIMIT, "a knee is searched in at most %d points, found %zu",
                          LAW_MAX_POINTS, n);
    }
    for (size_t i = 0; i < n; i++) {
        if (!(points[i].x >= 0 && points[i].x < 1e12) || !(fabs(points[i].y) < 1e100)) {
            return wl_err_set(err, WL_INPUT,
                              "point %zu of the knee is not a cost at 0 or more pixels: %g at %g",
                              i, points[i].y, points[i].x);
        }
    }
    return WL_OK;
}

static enum wl_status load_points(struct knee_problem *problem, const struct knee_point *points,
                                  size_t n, struct wl_err *err) {
    struct law_point *copies = calloc(n + 1, sizeof *copies);
    if (!copies) {
        return wl_err_set(err, WL_MEMORY, "no memory for a knee of %zu points", n);
    }
    for (size_t i = 0; i < n; i++) {
        copies[i] = (struct law_point){points[i].x, 0, points[i].y};
    }
    enum wl_status status = law_problem_init(&problem->law, copies, n, err);
    free(copies);
    return status;
}

enum wl_status knee_problem_init(struct knee_problem *problem, const struct knee_point *points,
                                 size_t n, struct wl_err *err) {
    *problem = (struct knee_problem){0};
    enum wl_status status = check_points(points, n, err);
    if (status == WL_OK && n < KNEE_MIN_CELLS) {
        status = wl_err_set(err, WL_INPUT, "a knee needs at least %d sizes, found %zu points",
                            KNEE_MIN_CELLS, n);
    }
    if (status == WL_OK) {
        status = load_points(problem, points, n, err);
    }
    if (status == WL_OK && problem->law.n_cells < KNEE_MIN_CELLS) {
        status = wl_err_set(err, WL_INPUT,
                            "a knee needs at least %d sizes, found %zu points of %zu sizes",
                            KNEE_MIN_CELLS, n, problem->law.n_cells);
    }
    if (status != WL_OK) {
        knee_problem_release(problem);
        return status;
    }
    size_t n_rows = KNEE_MAX_CELLS + 1;
    problem->memory =
        calloc(n + n_rows * (KNEE_MAX_COLUMNS + 2) + KNEE_MAX_CANDIDATES, sizeof *problem->memory);
    problem->cells = calloc(n_rows, sizeof *problem->cells);
    if (!problem->memory || !problem->cells) {
        knee_problem_release(problem);
        return wl_err_set(err, WL_MEMORY, "no memory for a knee of %zu points", n);
    }
    problem->x = problem->memory;
    problem->rows = problem->memory + n;
    problem->y = problem->rows + n_rows * KNEE_MAX_COLUMNS;
    problem->weights = problem->y + n_rows;
    problem->rests = problem->weights + n_rows;
    for (size_t i = 0; i < n; i++) {
        problem->x[i] = problem->law.points[i].prompt_tokens;
    }
    return WL_OK;
}

void knee_problem_release(struct knee_problem *problem) {
    law_problem_release(&problem->law);
    free(problem->cells);
    free(problem->memory);
    *problem = (struct knee_problem){0};
}

// The cell of the search that a cell of the law belongs to.
static size_t merged_cell(const struct law_problem *law, size_t i) {
    size_t cell = law->cell_of[i];
    return law->n_cells <= KNEE_MAX_CELLS ? cell : cell * KNEE_MAX_CELLS / law->n_cells;
}

static void add_cell(struct knee_problem *problem, size_t first, size_t end) {
    const struct law_problem *law = &problem->law;
    struct knee_cell cell = {0};
    for (size_t i = first; i < end; i++) {
        if (!law->is_skipped[i]) {
            cell.weight += law->weights[i];
            cell.x += law->weights[i] * problem->x[i];
            cell.y += law->weights[i] * law->points[i].y;
            problem->n_kept++;
        }
    }
    if (!(cell.weight > 0)) {
        return;
    }
    cell.x = problem->x[first] == problem->x[end - 1] ? problem->x[first] : cell.x / cell.weight;
    cell.y /= cell.weight;
    for (size_t i = first; i < end; i++) {
        if (!law->is_skipped[i]) {
            problem->pure += law->weights[i] * pow(law->points[i].y - cell.y, 2);
        }
    }
    problem->cells[problem->n_cells++] = cell;
}

static void gather_cells(struct knee_problem *problem) {
    const struct law_problem *law = &problem->law;
    problem->n_cells = problem->n_kept = 0;
    problem->pure = 0;
    for (size_t first = 0, end = 0; first < law->n; first = end) {
        while (end < law->n && merged_cell(law, end) == merged_cell(law, first)) {
            end++;
        }
        add_cell(problem, first, end);
    }
}

// Cells of all points: each the median of its x, weighted for proportional noise.
static void gather_medians(struct knee_problem *problem) {
    struct law_problem *law = &problem->law;
    size_t first = 0, end = 0;
    while (law_problem_next_cell(law, &first, &end)) {
        double median = law_problem_median(law, first, end);
        double h = law_noise_shape(law, 0, median);
        for (size_t i = first; i < end; i++) {
            law->weights[i] = 1 / (h * h);
            law->is_skipped[i] = false;
            law->fitted[i] = median;
        }
    }
    gather_cells(problem);
    if (law->n_cells > KNEE_MAX_CELLS) {
        return; // merged: their means will do
    }
    for (size_t i = 0, cell = 0; cell < problem->n_cells; i++) {
        if (law->cell_of[i] == cell) {
            problem->cells[cell++].y = law->fitted[i];
        }
    }
}

static double best_knee(struct knee_problem *problem) {
    struct knee_curve best;
    return knee_search(problem, &best) ? best.k : NAN;
}

static enum wl_status solve_at(struct knee_problem *problem, double k, struct wl_err *err) {
    struct law_problem *law = &problem->law;
    for (size_t i = 0; i < law->n; i++) {
        law->points[i].prompt_tokens = fmin(problem->x[i], k);
        law->points[i].generated_tokens = fmax(problem->x[i] - k, 0);
    }
    struct knee_curve curve;
    knee_curve_at(problem, KNEE_FULL, k, &curve);
    const bool has_term[LAW_N_TERMS] = {[LAW_FIXED] = true,
                                        [LAW_PROMPT] = true,
                                        [LAW_GENERATED] = k < problem->x[law->n - 1],
                                        [LAW_QUADRATIC] = curve.terms.has_quadratic};
    struct law_solution solution;
    enum wl_status status = law_solve(law, has_term, &solution, err);
    if (status == WL_OK) {
        problem->noise_ratio = solution.ratio;
        gather_cells(problem);
    }
    if (status == WL_OK && problem->n_cells < KNEE_MIN_CELLS) { // too few sizes left
        memset(law->is_skipped, 0, law->n * sizeof *law->is_skipped);
        gather_cells(problem);
    }
    return status;
}

enum wl_status knee_problem_settle(struct knee_problem *problem, struct wl_err *err) {
    gather_medians(problem);
    double k = best_knee(problem), before = NAN;
    enum wl_status status = WL_OK;
    for (int step = 0; status == WL_OK && step < N_SETTLE_STEPS; step++) {
        if (fabs(k - before) <= SETTLED * before) {
            break;
        }
        before = k;
        // Without a bend that could be a knee the points are judged by a plain parabola.
        status = solve_at(problem, isnan(k) ? problem->x[problem->law.n - 1] : k, err);
        k = best_knee(problem);
        if (isnan(before) && isnan(k)) {
            break;
        }
    }
    return status;
}
