// Where the knee can be, and what else the points leave open: the sum of squares as a function of
// k. A value is inside an interval when some curve that has it is hardly worse than the best one.
#include <math.h>

#include "stats/knee_search.h"
#include "stats/special.h"

enum { N_BISECTIONS = 16, N_SAMPLES = 9 };
// q is left out where that costs less than this; s where its interval holds 0.
static const double MISFIT_P = 0.01, QUADRATIC_P = 0.10;

void knee_judge_noise(struct knee_problem *problem, const struct knee_curve *full) {
    size_t n_terms = full->fit.n_columns + 1; // and k
    double rest = full->rest + problem->pure;
    problem->dof = (double)(problem->n_kept - n_terms);
    problem->variance = fmax(rest / problem->dof, KNEE_LEAST_VARIANCE);
    problem->p_lack_of_fit = NAN;
    problem->is_lack_of_fit = false;
    if (problem->n_kept == problem->n_cells || problem->n_cells <= n_terms) {
        return;
    }
    double lack_dof = (double)(problem->n_cells - n_terms);
    double pure_dof = (double)(problem->n_kept - problem->n_cells);
    double lack = full->rest / lack_dof;
    double pure = fmax(problem->pure / pure_dof, KNEE_LEAST_VARIANCE);
    problem->p_lack_of_fit = stats_f_upper_p(lack / pure, lack_dof, pure_dof);
    if (problem->p_lack_of_fit < MISFIT_P) {
        problem->is_lack_of_fit = true;
        problem->variance = fmax(lack, problem->variance);
        problem->dof = lack_dof;
    }
}

static double t_squared(const struct knee_problem *problem, double p) {
    double t = stats_student_quantile(1 - p / 2, problem->dof);
    return t * t * problem->variance;
}

// One end of the interval of k: from the farthest candidate that is not worse than `limit` halfway
// on to the next. NaN when that is the end of the search itself.
static double end_of_interval(struct knee_problem *problem, double best_k, double limit,
                              bool is_upper) {
    size_t n = knee_n_candidates(problem);
    double out = NAN, in = best_k;
    for (size_t i = 0; i < n; i++) { // from the outside
        size_t at = is_upper ? n - 1 - i : i;
        double k = knee_candidate(problem, at);
        if (is_upper ? k <= best_k : k >= best_k) {
            break;
        }
        if (problem->rests[at] <= limit) {
            in = k;
            break;
        }
        out = k;
    }
    for (int step = 0; step < N_BISECTIONS && !isnan(out); step++) {
        struct knee_curve curve;
        double middle = (in + out) / 2;
        knee_curve_at(problem, KNEE_FULL, middle, &curve);
        *(curve.rest <= limit ? &in : &out) = middle;
    }
    return isnan(out) ? NAN : in;
}

static void set_knee_interval(struct knee_problem *problem, const struct knee_curve *full,
                              double limit, struct knee_fit *out) {
    struct stats_interval *ci = &out->knee_ci95;
    ci->low = end_of_interval(problem, full->k, limit, false);
    ci->high = end_of_interval(problem, full->k, limit, true);
    out->is_at_edge = isnan(ci->low) || isnan(ci->high);
    // Beyond the second size from either end any k is as good: the interval goes on to the end.
    ci->low = isnan(ci->low) ? problem->cells[0].x : ci->low;
    ci->high = isnan(ci->high) ? problem->cells[problem->n_cells - 1].x : ci->high;
}

enum quantity { SLOPE, SLOPE_ABOVE, LEVEL };

// Widens an interval by the values of a quantity that this curve can have within `limit`.
static void widen(const struct knee_curve *curve, enum quantity quantity, double limit,
                  struct stats_interval *out) {
    double row[KNEE_MAX_COLUMNS] = {0}, value = 0, variance = 0;
    size_t n = curve->fit.n_columns;
    if (!(curve->rest <= limit)) {
        return;
    }
    if (quantity == LEVEL) {
        knee_row(curve->terms, curve->k, curve->k, row);
    } else {
        row[quantity == SLOPE ? 1 : n - 1] = 1;
    }
    for (size_t i = 0; i < n; i++) {
        value += row[i] * curve->fit.coef[i];
        for (size_t j = 0; j < n; j++) {
            variance += row[i] * row[j] * curve->fit.inverse_normal[i][j];
        }
    }
    double half = sqrt(fmax(variance, 0) * (limit - curve->rest));
    out->low = fmin(out->low, value - half);
    out->high = fmax(out->high, value + half);
}

// What the search has found, within the interval of k.
struct found {
    const struct knee_curve *full;
    struct knee_curve straight; // without q
    struct knee_curve flat;     // without s
    struct knee_curve simplest; // without either
    double low, high;           // of k, within the search
};

static double sample(const struct found *found, int i) {
    return found->low + (found->high - found->low) * i / (N_SAMPLES - 1);
}

// The best curve of these terms among the k that the full one leaves.
static void find_best(struct knee_problem *problem, const struct found *found,
                      struct knee_terms terms, struct knee_curve *out) {
    knee_curve_at(problem, terms, found->full->k, out);
    for (int i = 0; i < N_SAMPLES; i++) {
        struct knee_curve curve;
        knee_curve_at(problem, terms, sample(found, i), &curve);
        if (curve.rest < out->rest) {
            *out = curve;
        }
    }
    double step = (found->high - found->low) / (N_SAMPLES - 1);
    double low = fmax(found->low, out->k - step), high = fmin(found->high, out->k + step);
    knee_refine(problem, terms, low, high, out);
}

// The simplest curve that is hardly worse than the full one.
static const struct knee_curve *choose(const struct knee_problem *problem,
                                       const struct found *found, bool *is_flat) {
    double full = found->full->rest, limit = full + t_squared(problem, 0.05);
    bool is_straight = found->straight.rest <= full + t_squared(problem, QUADRATIC_P);
    *is_flat = found->flat.rest <= limit;
    if (is_straight && *is_flat && found->simplest.rest <= limit) {
        return &found->simplest;
    }
    return *is_flat ? &found->flat : is_straight ? &found->straight : found->full;
}

static void set_law(const struct found *found, const struct knee_curve *law, struct knee_fit *out) {
    const double *coef = law->fit.coef;
    const struct knee_curve *sloping = law->terms.has_slope_above ? law : found->full;
    out->knee_x = law->k;
    out->fixed = coef[0];
    out->slope = coef[1];
    out->has_quadratic = law->terms.has_quadratic;
    out->quadratic = law->terms.has_quadratic ? coef[2] : 0;
    out->has_slope_above = law->terms.has_slope_above;
    out->slope_above = sloping->fit.coef[sloping->fit.n_columns - 1];
    out->level_above = out->fixed + (out->slope + out->quadratic * law->k) * law->k;
}

static void widen_all(struct knee_problem *problem, double k, const double limits[2],
                      struct knee_fit *out) {
    struct knee_curve curve;
    struct knee_terms slope_terms = {out->has_quadratic, true};
    knee_curve_at(problem, KNEE_FULL, k, &curve);
    widen(&curve, SLOPE_ABOVE, limits[0], &out->slope_above_ci95);
    widen(&curve, LEVEL, limits[0], &out->level_above_ci95);
    knee_curve_at(problem, slope_terms, k, &curve);
    if (curve.terms.has_quadratic == slope_terms.has_quadratic) {
        widen(&curve, SLOPE, limits[1], &out->slope_ci95);
    }
}

static void set_intervals(struct knee_problem *problem, const struct found *found,
                          const struct knee_curve *law, struct knee_fit *out) {
    const struct stats_interval nothing = {INFINITY, -INFINITY};
    double width = t_squared(problem, 0.05);
    double slope_rest = out->has_quadratic ? found->full->rest : found->straight.rest;
    const double limits[2] = {found->full->rest + width, slope_rest + width};
    const double special[] = {found->full->k, found->straight.k, found->flat.k, law->k};
    out->slope_ci95 = out->slope_above_ci95 = out->level_above_ci95 = nothing;
    for (int i = 0; i < N_SAMPLES; i++) {
        widen_all(problem, sample(found, i), limits, out);
    }
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        widen_all(problem, special[i], limits, out);
    }
}

void knee_describe(struct knee_problem *problem, const struct knee_curve *full,
                   struct knee_fit *out) {
    struct found found = {.full = full};
    set_knee_interval(problem, full, full->rest + t_squared(problem, 0.05), out);
    found.low = fmax(out->knee_ci95.low, knee_candidate(problem, 0));
    found.high = fmin(out->knee_ci95.high, knee_candidate(problem, knee_n_candidates(problem) - 1));
    find_best(problem, &found, (struct knee_terms){false, true}, &found.straight);
    find_best(problem, &found, (struct knee_terms){true, false}, &found.flat);
    find_best(problem, &found, (struct knee_terms){false, false}, &found.simplest);
    const struct knee_curve *law = choose(problem, &found, &out->is_flat_above);
    set_law(&found, law, out);
    set_intervals(problem, &found, law, out);
}
