// Where a cost stops growing: the knee of Y against x (effective or nominal pixels, tokens),
//     Y = a + b*x + q*x^2   for x < k,      Y = Y(k) (+ s*(x - k))   for x >= k,
// continuous at k. The resolution knee of vision-language models: above the clamp of their
// preprocessing the cost is flat (s = 0).
//
//   fit       For each candidate k the model is linear: weighted least squares (noise grows with
//             the cost: variance = s0^2 + (r*Y)^2, as law.h). k is searched on a fine grid between
//             the second smallest and the second largest x, then refined.
//   terms     q only where it is needed (its share above 1 % and p < 0.10); s is always tested: its
//             interval says whether the cost above the knee is flat, and it is 0 in the law unless
//             it is significant (p < 0.01).
//   interval  Profile likelihood: all k whose weighted residual sum is within the F(1, dof)
//             quantile of the best. It may reach from one sampled x to the next and no finer.
//   is there  Against a line (or parabola) without a knee, by an F test on 2 parameters with the
//             search corrected by a seeded parametric bootstrap (bootstrap.h).
#ifndef WATTLAW_STATS_KNEE_H
#define WATTLAW_STATS_KNEE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "stats/describe.h"

struct knee_point {
    double x;
    double y;
};

struct knee_fit {
    bool has_knee; // p_no_knee < 0.01
    double p_no_knee;
    double knee_x;
    struct stats_interval knee_ci95;
    double fixed;     // a
    double slope;     // b, below
    double quadratic; // q, below; 0 when unused
    bool has_quadratic;
    double slope_above; // s as estimated, used or not
    struct stats_interval slope_ci95, slope_above_ci95;
    bool is_flat_above; // 0 lies in slope_above_ci95
    double level_above; // Y at the knee
    struct stats_interval level_above_ci95;
    size_t n, n_x; // points, distinct x
    double r2;
};

// INPUT: fewer than 5 distinct x or not finite; LIMIT: more than 100000 points; MEMORY. `seed` is
// of the bootstrap.
enum wl_status knee_fit(const struct knee_point *points, size_t n, uint64_t seed,
                        struct knee_fit *out, struct wl_err *err);
double knee_predict(const struct knee_fit *fit, double x);

// The knee of a step function that is known exactly (tokens against pixels, counted, sorted by x):
// the smallest x from which on y stays within `tolerance` (relative) of its final value. false when
// y never settles (grows to the end) or never changes (no knee: constant cost).
enum knee_shape { KNEE_FLAT_AFTER, KNEE_NONE_CONSTANT, KNEE_NONE_GROWING };
#define KNEE_COUNT_TOLERANCE 0.12 // counts above a clamp differ by a row of cells between sizes
enum knee_shape knee_of_counts(const struct knee_point *points, size_t n, double tolerance,
                               double *knee_x);

// Before that: above a clamp the counts of single sizes drop by a row and a column, where rounding
// takes one of each. Every y becomes the median of five neighbours; lasting steps stay where they
// are.
void knee_smooth_counts(struct knee_point *points, size_t n);

#endif
