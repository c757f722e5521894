// The inside of knee_fit, shared by its files only. At a given knee k the curve is a law whose
// 'prompt' is min(x, k) and whose 'generated' is max(x - k, 0): law_solve finds its noise and its
// outliers. The search over k then needs no more than the mean of each x.
#ifndef WATTLAW_STATS_KNEE_SEARCH_H
#define WATTLAW_STATS_KNEE_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "stats/fit.h"
#include "stats/knee.h"
#include "stats/law_search.h"

// More distinct x than this are merged with their neighbours for the search.
#define KNEE_LEAST_VARIANCE 1e-18 // rounding, of costs relative to themselves
enum { KNEE_MAX_CELLS = 256, KNEE_MAX_COLUMNS = 4, KNEE_MIN_CELLS = 5 };
enum { KNEE_MAX_CANDIDATES = 320 };

struct knee_cell {
    double x;
    double y;      // weighted mean of the points kept
    double weight; // sum of theirs: the variance of y is that of weight 1 over this
};

struct knee_problem {
    struct law_problem law; // sorted by x; its tokens are set for the last knee looked at
    double *x;              // of its points
    struct knee_cell *cells;
    size_t n_cells;
    size_t n_kept; // points behind them
    double pure;   // weighted sum of squares within the cells
    double *rows;  // scratch for n_cells rows
    double *y;
    double *weights;
    double *rests;      // of the full curve at each candidate
    double *memory;     // behind all arrays of double
    double noise_ratio; // law.h's s0/r
    // What knee_judge_noise says.
    double variance;      // of a point of weight 1
    double dof;           // behind it
    double p_lack_of_fit; // NaN without repeats
    bool is_lack_of_fit;  // the variance is that of the sizes about the curve
};

// Which of the two optional terms a curve has: q below the knee, s above it.
struct knee_terms {
    bool has_quadratic;
    bool has_slope_above;
};

// One curve at one k.
struct knee_curve {
    struct knee_terms terms;
    double k;
    double rest; // weighted sum of squares of the cells about it; INFINITY: no such curve, or its
                 // cost does not rise up to k and slower or not at all behind it
    struct stats_fit fit;
};

extern const struct knee_terms KNEE_FULL; // both

enum wl_status knee_problem_init(struct knee_problem *problem, const struct knee_point *points,
                                 size_t n, struct wl_err *err);
void knee_problem_release(struct knee_problem *problem);
// Sets outliers and weights, first for a rough knee, then for the best one, and from them the
// cells.
enum wl_status knee_problem_settle(struct knee_problem *problem, struct wl_err *err);

// Least squares over the cells with the columns in problem->rows; `y` NULL: their own.
enum wl_status knee_solve_rows(struct knee_problem *problem, size_t n_columns, const double *y,
                               struct stats_fit *out);
// The same after setting the rows of a curve.
enum wl_status knee_solve(struct knee_problem *problem, struct knee_terms terms, double k,
                          const double *y, struct stats_fit *out);
// The columns of one x: 1, min(x, k), q's, s's; returns their number.
size_t knee_row(struct knee_terms terms, double k, double x, double row[KNEE_MAX_COLUMNS]);
// A knee is where a cost that has risen since the smallest x stops rising, or rises more slowly.
bool knee_is_knee(const struct knee_problem *problem, struct knee_terms terms, double k,
                  const double *coef);
// Those of the wanted terms that can be told at k.
struct knee_terms knee_terms_at(const struct knee_problem *problem, struct knee_terms wanted,
                                double k);
// The curve at k with those of `terms` that can be told there.
void knee_curve_at(struct knee_problem *problem, struct knee_terms terms, double k,
                   struct knee_curve *out);
// The best of the full curves; sets `rests`. false when there is none with a knee.
bool knee_search(struct knee_problem *problem, struct knee_curve *out);
// Looks for a better one than *best between two k, by golden section.
void knee_refine(struct knee_problem *problem, struct knee_terms terms, double low, double high,
                 struct knee_curve *best);

// Candidate i of the search, 0.. ; the first is the second x, the last the last but one.
size_t knee_n_candidates(const struct knee_problem *problem);
double knee_candidate(const struct knee_problem *problem, size_t i);

// Variance of the points about the fullest curve, and whether that curve suits the sizes.
void knee_judge_noise(struct knee_problem *problem, const struct knee_curve *full);
// p-value of 'a smooth curve without a knee is enough'.
enum wl_status knee_exists(struct knee_problem *problem, uint64_t seed, double *p,
                           struct wl_err *err);
// The law with a knee, and all intervals; `full` is the best curve with both optional terms.
void knee_describe(struct knee_problem *problem, const struct knee_curve *full,
                   struct knee_fit *out);

#endif
