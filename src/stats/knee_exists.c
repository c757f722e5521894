// Is there a knee at all? The improvement of the best curve with a knee over a smooth curve
// without one, against the same improvement in data drawn from that smooth curve. Smooth curves
// are a parabola and a power of x; the knee must beat both.
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "stats/knee_search.h"
#include "stats/special.h"

enum { N_DRAWS = 999, N_ENOUGH_ABOVE = 20, MAX_TRIED = 64, N_SMOOTH_COLUMNS = 3 };
enum { N_POWERS = 13 }; // from 1/4 to 4, each next one larger by 26 %
// So clear that drawing is not needed: an F test, times the number of sizes.
static const double CLEAR_P = 1e-6;

// One curve's columns, ready for many draws: z being the noise of the cells, each in units of its
// weight, rest = |r|^2 + 2 r.z + |z|^2 - c'N c with c = R'z, N = (R'R)^-1 and r the misfit of the
// smooth curve's values.
struct tried_curve {
    struct knee_terms terms;
    double k;
    size_t n_columns;
    double inverse[KNEE_MAX_COLUMNS][KNEE_MAX_COLUMNS]; // N
    double coef[KNEE_MAX_COLUMNS];                      // of the smooth curve's values
    double *rows;                                       // R: n_cells x n_columns
    double *misfit;                                     // r
    double misfit_squared;
};

struct trial {
    struct knee_problem *problem;
    struct tried_curve *curves; // the first is the smooth curve itself
    size_t n_curves;
    double *memory;
    double *mean;  // values of the smooth curve at the cells
    double *noise; // z
};

// Columns of the smooth curve: 1, u, u^2, or (power > 0) 1, u^power and its derivative by power.
static void set_smooth_rows(struct knee_problem *problem, double power) {
    double last = problem->cells[problem->n_cells - 1].x;
    for (size_t i = 0; i < problem->n_cells; i++) {
        double *row = problem->rows + i * N_SMOOTH_COLUMNS, u = problem->cells[i].x / last;
        row[0] = 1;
        row[1] = power > 0 ? pow(u, power) : u;
        row[2] = power > 0 ? (u > 0 ? row[1] * log(u) : 0) : u * u;
    }
}

static double rest_of(const struct stats_fit *fit) {
    return fit->residual_variance * (double)fit->dof;
}

// The power whose curve is nearest to the cells.
static double best_power(struct knee_problem *problem) {
    double least = INFINITY, best = 1;
    for (int i = 0; i < N_POWERS; i++) {
        struct stats_fit fit;
        double power = 0.25 * pow(16, i / (N_POWERS - 1.0));
        set_smooth_rows(problem, power);
        if (knee_solve_rows(problem, N_SMOOTH_COLUMNS, NULL, &fit) == WL_OK &&
            rest_of(&fit) < least) {
            least = rest_of(&fit);
            best = power;
        }
    }
    return best;
}

static size_t n_tried(const struct knee_problem *problem) {
    size_t n = knee_n_candidates(problem);
    return n < MAX_TRIED ? n : MAX_TRIED;
}

static size_t tried_index(const struct knee_problem *problem, size_t i) {
    return i * (knee_n_candidates(problem) - 1) / (n_tried(problem) - 1);
}

static double improvement(double without, double with, double pure) {
    return isfinite(with) ? (without - with) / fmax(with + pure, KNEE_LEAST_VARIANCE) : 0;
}

// Takes over the fit of the smooth curve's values to the columns in problem->rows.
static void prepare(struct trial *trial, struct tried_curve *curve, const struct stats_fit *fit) {
    const struct knee_problem *problem = trial->problem;
    curve->n_columns = fit->n_columns;
    curve->misfit_squared = 0;
    for (size_t i = 0; i < fit->n_columns; i++) {
        curve->coef[i] = fit->coef[i];
        for (size_t j = 0; j < fit->n_columns; j++) {
            curve->inverse[i][j] = fit->inverse_normal[i][j];
        }
    }
    for (size_t i = 0; i < problem->n_cells; i++) {
        double root = sqrt(problem->cells[i].weight), misfit = trial->mean[i];
        for (size_t j = 0; j < fit->n_columns; j++) {
            double value = problem->rows[i * fit->n_columns + j];
            curve->rows[i * fit->n_columns + j] = root * value;
            misfit -= fit->coef[j] * value;
        }
        curve->misfit[i] = root * misfit;
        curve->misfit_squared += curve->misfit[i] * curve->misfit[i];
    }
}

static bool allocate(struct trial *trial, size_t n_curves) {
    size_t n = trial->problem->n_cells, n_each = n * (KNEE_MAX_COLUMNS + 1);
    trial->curves = calloc(n_curves, sizeof *trial->curves);
    trial->memory = calloc(2 * n + n_curves * n_each, sizeof *trial->memory);
    if (!trial->curves || !trial->memory) {
        return false;
    }
    trial->mean = trial->memory;
    trial->noise = trial->memory + n;
    for (size_t i = 0; i < n_curves; i++) {
        trial->curves[i].rows = trial->memory + 2 * n + i * n_each;
        trial->curves[i].misfit = trial->curves[i].rows + n * KNEE_MAX_COLUMNS;
    }
    return true;
}

static void prepare_all(struct trial *trial, double power, const struct stats_fit *smooth) {
    struct knee_problem *problem = trial->problem;
    struct stats_fit fit;
    set_smooth_rows(problem, power);
    for (size_t i = 0; i < problem->n_cells; i++) {
        for (size_t j = 0; j < N_SMOOTH_COLUMNS; j++) {
            trial->mean[i] += smooth->coef[j] * problem->rows[i * N_SMOOTH_COLUMNS + j];
        }
    }
    prepare(trial, &trial->curves[0], smooth);
    trial->n_curves = 1;
    for (size_t i = 0; i < n_tried(problem); i++) {
        struct tried_curve *curve = &trial->curves[trial->n_curves];
        curve->k = knee_candidate(problem, tried_index(problem, i));
        curve->terms = knee_terms_at(problem, KNEE_FULL, curve->k);
        if (knee_solve(problem, curve->terms, curve->k, trial->mean, &fit) == WL_OK) {
            prepare(trial, curve, &fit);
            trial->n_curves++;
        }
    }
}

// Sum of squares of the cells of one draw about a curve; INFINITY when it is no knee.
static double rest_of_draw(const struct trial *trial, const struct tried_curve *curve) {
    double c[KNEE_MAX_COLUMNS] = {0}, coef[KNEE_MAX_COLUMNS], squares = curve->misfit_squared;
    for (size_t i = 0; i < trial->problem->n_cells; i++) {
        double z = trial->noise[i];
        for (size_t j = 0; j < curve->n_columns; j++) {
            c[j] += curve->rows[i * curve->n_columns + j] * z;
        }
        squares += z * (z + 2 * curve->misfit[i]);
    }
    for (size_t i = 0; i < curve->n_columns; i++) {
        double change = 0;
        for (size_t j = 0; j < curve->n_columns; j++) {
            change += curve->inverse[i][j] * c[j];
        }
        squares -= c[i] * change;
        coef[i] = curve->coef[i] + change;
    }
    bool is_good =
        curve == trial->curves || knee_is_knee(trial->problem, curve->terms, curve->k, coef);
    return is_good ? fmax(squares, 0) : INFINITY;
}

// A chi-squared number, by Wilson and Hilferty (1931).
static double draw_chi_squared(struct rng *rng, double dof) {
    double root = 1 - 2 / (9 * dof) + rng_normal(rng) * sqrt(2 / (9 * dof));
    return dof * fmax(root * root * root, 0);
}

static double improvement_of_draw(struct trial *trial, struct rng *rng) {
    const struct knee_problem *problem = trial->problem;
    double sd = sqrt(problem->variance), pure = 0, best = INFINITY;
    for (size_t i = 0; i < problem->n_cells; i++) {
        trial->noise[i] = sd * rng_normal(rng);
    }
    if (!problem->is_lack_of_fit && problem->n_kept > problem->n_cells) {
        double dof = (double)(problem->n_kept - problem->n_cells);
        pure = problem->variance * draw_chi_squared(rng, dof);
    }
    for (size_t i = 1; i < trial->n_curves; i++) {
        best = fmin(best, rest_of_draw(trial, &trial->curves[i]));
    }
    return improvement(rest_of_draw(trial, &trial->curves[0]), best, pure);
}

static enum wl_status draw(struct trial *trial, double power, const struct stats_fit *smooth,
                           double observed, struct rng *rng, double *p, struct wl_err *err) {
    if (!allocate(trial, n_tried(trial->problem) + 1)) {
        return wl_err_set(err, WL_MEMORY, "no memory to test a knee of %zu sizes",
                          trial->problem->n_cells);
    }
    prepare_all(trial, power, smooth);
    size_t n_above = 0, n_drawn = 0;
    while (n_drawn < N_DRAWS && n_above < N_ENOUGH_ABOVE) { // Besag & Clifford 1991
        n_above += improvement_of_draw(trial, rng) >= observed;
        n_drawn++;
    }
    bool is_all = n_above < N_ENOUGH_ABOVE;
    *p = (double)(n_above + is_all) / (double)(n_drawn + is_all);
    return WL_OK;
}

// Against one smooth curve; `with` is the sum of squares about the best curve with a knee.
static enum wl_status test_against(struct knee_problem *problem, double power, double with,
                                   struct rng *rng, double *p, struct wl_err *err) {
    struct stats_fit smooth;
    *p = 0;
    set_smooth_rows(problem, power);
    if (knee_solve_rows(problem, N_SMOOTH_COLUMNS, NULL, &smooth) != WL_OK) {
        return WL_OK; // x so close together that its terms cannot be told apart
    }
    double pure = problem->is_lack_of_fit ? 0 : problem->pure;
    double observed = improvement(rest_of(&smooth), with, pure);
    if (observed <= 0) {
        *p = 1;
        return WL_OK;
    }
    double f = (rest_of(&smooth) - with) / 2 / problem->variance;
    *p = (double)problem->n_cells * stats_f_upper_p(f, 2, problem->dof);
    if (*p < CLEAR_P) {
        return WL_OK;
    }
    struct trial trial = {.problem = problem};
    enum wl_status status = draw(&trial, power, &smooth, observed, rng, p, err);
    free(trial.curves);
    free(trial.memory);
    return status;
}

enum wl_status knee_exists(struct knee_problem *problem, uint64_t seed, double *p,
                           struct wl_err *err) {
    double with = INFINITY, p_power = 0;
    for (size_t i = 0; i < n_tried(problem); i++) {
        with = fmin(with, problem->rests[tried_index(problem, i)]);
    }
    struct rng rng;
    rng_seed(&rng, seed);
    enum wl_status status = test_against(problem, 0, with, &rng, p, err);
    if (status == WL_OK) {
        status = test_against(problem, best_power(problem), with, &rng, &p_power, err);
    }
    *p = fmax(*p, p_power);
    return status;
}
