// Where a cost stops growing: the knee of Y against x (effective or nominal pixels, tokens),
//     Y = a + b*x + q*x^2   for x < k,      Y = Y(k) (+ s*(x - k))   for x >= k,
// continuous at k. The resolution knee of vision-language models: above the clamp of their
// preprocessing the cost is flat (s = 0).
//
// How the fit works
//   fit       At a given k the model is linear: weighted least squares with the noise model, the
//             robust start and the outliers of law.h (variance = s0^2 + (r*Y)^2). k is searched on
//             a grid between the second smallest and the second largest x, then refined. Only a
//             bend after which a rising cost rises more slowly, not at all, or falls is a knee; a
//             cost that is flat first and rises later has none.
//   terms     q is in the law when p < 0.10, s when its interval excludes 0: knee_x and the
//             coefficients are those of the simplest law that the points allow.
//   interval  Profile likelihood with q and s always free, because a term left out by mistake moves
//             the knee: all k whose weighted residual sum is within the F(1, dof) quantile of the
//             best. It may reach from one sampled x to the next and no finer; with only two x below
//             it does, for then q is unknown. The other intervals allow for the doubt of k too.
//   is there  Against smooth curves without a knee, a parabola and a power of x, by an F statistic
//             whose distribution, search included, comes from a seeded parametric bootstrap (999
//             draws; fewer when it is clear that p is large, none when an F test says p < 1e-6
//             even times the number of x).
//   edge      Where the interval reaches the second x from either end, one x alone may lie beyond
//             the knee. That cannot be told from a smooth curve: is_at_edge, and no knee is
//             claimed. The law and the interval are still those of the bend.
//   misfit    As law.h: where the means of the x scatter more than the repeats of each allow
//             (p < 0.01; staircases, say), their scatter is taken for the noise.
//   achieved  Simulated studies of 12 sizes, 3 to 8 repeats, 2 to 5 % noise, up to 5 % strays, q up
//             to 30 % (test_stats_knee --table, 1000 of each kind): the intervals of the knee hold
//             the truth in 93.8 to 95.4 %, of s in 93.0 to 95.3 %, of the level in 92.8 to 95.2 %;
//             a knee is found where there is none in at most 0.6 % (lines and parabolas: 0.2 %).
//             Without repeats s and the level hold 91 % only.
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
    bool has_knee;    // p_no_knee < 0.01 and not at the edge
    double p_no_knee; // 1 where no bend is a knee
    bool is_at_edge;  // p_no_knee < 0.01, but too few x lie below or above to tell a knee
    double knee_x;    // NaN where p_no_knee >= 0.01: the law below is then a line or parabola
    struct stats_interval knee_ci95;
    double fixed;     // a
    double slope;     // b, below
    double quadratic; // q, below; 0 when unused
    bool has_quadratic;
    double slope_above;   // s as estimated, used or not; NaN without knee_x
    bool has_slope_above; // s is in the law
    struct stats_interval slope_ci95, slope_above_ci95;
    bool is_flat_above; // 0 lies in slope_above_ci95; without knee_x: the cost does not change at
                        // all, 0 lies in slope_ci95, and slope is 0
    double level_above; // Y at the knee; without knee_x: at the largest x
    struct stats_interval level_above_ci95;
    double x_min, x_max;
    size_t n, n_x; // points, distinct x
    size_t n_outliers;
    double dof;
    double noise_fixed;   // s0, in units of Y
    double noise_share;   // r
    double p_lack_of_fit; // NaN without repeats
    bool is_lack_of_fit;
    double r2; // unweighted, without the outliers
};

// INPUT: fewer than 5 distinct x, an x below 0, or a value that is not finite; LIMIT: more than
// 100000 points; MEMORY. `seed` is of the bootstrap.
enum wl_status knee_fit(const struct knee_point *points, size_t n, uint64_t seed,
                        struct knee_fit *out, struct wl_err *err);
double knee_predict(const struct knee_fit *fit, double x);

struct knee_contrast {
    bool is_valid;     // both fits have the figure
    double difference; // changed - base
    struct stats_interval difference_ci95;
    bool is_different;                // 0 lies outside of that interval
    double ratio;                     // changed / base; NaN when base is not above 0
    struct stats_interval ratio_ci95; // 0 or infinite where open; NaN without a ratio
};

// Did a clamp move the knee, and what did it do to the level above it? Of two independent fits in
// the same units; the intervals are combined as they are, lopsided (MOVER, Zou & Donner 2008).
struct knee_comparison {
    struct knee_contrast knee; // valid where both have one
    struct knee_contrast level_above;
};

void knee_compare(const struct knee_fit *base, const struct knee_fit *changed,
                  struct knee_comparison *out);

// The knee of a step function that is known exactly (tokens against pixels, counted, sorted by x):
// the smallest x from which on y stays within `tolerance` (relative) of its final value, be it
// reached from below or, in families that fall again, from above. NONE_CONSTANT: y never leaves it
// (no knee: constant cost). NONE_GROWING: y never settles, or its flat end is hardly longer than
// the stair before it, or so short that growth as before would stay within 1.5 times the tolerance.
// *knee_x is NaN for both.
enum knee_shape { KNEE_FLAT_AFTER, KNEE_NONE_CONSTANT, KNEE_NONE_GROWING };
#define KNEE_COUNT_TOLERANCE 0.12 // counts above a clamp differ by a row of cells between sizes
enum knee_shape knee_of_counts(const struct knee_point *points, size_t n, double tolerance,
                               double *knee_x);

// Before that: above a clamp the counts of single sizes drop by a row and a column, where rounding
// takes one of each. Drops of up to four neighbouring points are filled (a morphological closing);
// lasting steps stay where they are.
void knee_smooth_counts(struct knee_point *points, size_t n);

#endif
