// The law of the study: what a request costs from its tokens,
//     Y = a + b*p + c*g  (+ q*p^2)  (+ x*p*g),    p prompt tokens, g generated tokens,
// Y being any cost (J, s, core-s, MiB*s). b is the cost of a prompt token, c of a generated one, a
// the fixed part. q (attention within a long prompt) and x (decoding over a long context) are
// tested and used only when they matter.
//
// How the fit works
//   noise   The scatter of a cost grows with it: variance = s0^2 + (r*Y)^2. s0 and r come from the
//           studentised residuals by pseudo-likelihood with a winsorised scale (one stray run does
//           not move them), averaged over the possible s0/r; with fewer than 8 degrees of freedom
//           s0 is taken as 0.
//   robust  Start: a fit to the median of each (p, g) cell, then iteratively reweighted least
//           squares with Tukey's biweight (4.685). Points whose residual then exceeds 3.5 sd (in
//           small samples the Student-t value of the same probability) are outliers: counted in
//           the result, left out of the last weighted least squares fit, from which coefficients,
//           covariance and intervals come.
//   scatter The covariance is HC3's (robust to a wrong noise model), each sd raised to the plain
//           one where that is larger.
//   terms   Columns that do not vary are dropped (c when all g are equal: its cost is then part of
//           a). q needs three prompt lengths, x two of each. Each is used when its share of Y
//           exceeds 1 % at the point where that is largest and its t-test gives p < 0.10 if it
//           is positive (attention makes it so: 5 % one-sided), p < 0.01 if it is negative.
//   misfit  With replicated cells, an F test of lack of fit. Where it fails (p < 0.01) the
//           covariance is enlarged by the F ratio, so the intervals do not claim what the points
//           deny.
#ifndef WATTLAW_STATS_LAW_H
#define WATTLAW_STATS_LAW_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "stats/describe.h"

enum law_term {
    LAW_FIXED = 0,       // a
    LAW_PROMPT = 1,      // b
    LAW_GENERATED = 2,   // c
    LAW_QUADRATIC = 3,   // q
    LAW_INTERACTION = 4, // x
    LAW_N_TERMS = 5,
};

enum { LAW_MAX_POINTS = 100000 };

struct law_point {
    double prompt_tokens;
    double generated_tokens;
    double y;
};

struct law_fit {
    bool has_term[LAW_N_TERMS]; // used in the law; the other coefficients are 0
    double coef[LAW_N_TERMS];
    double covariance[LAW_N_TERMS][LAW_N_TERMS];
    struct stats_interval ci95[LAW_N_TERMS]; // NaN for unused terms

    size_t n; // all points given
    size_t n_outliers;
    size_t n_cells; // distinct (p, g)
    size_t n_prompt_lengths;
    size_t n_generated_lengths;
    double dof;

    double r2; // unweighted, without the outliers
    double r2_adjusted;
    double r2_all;        // unweighted, outliers included
    double residual_sd;   // unweighted, in units of Y, without the outliers
    double noise_fixed;   // s0, in units of Y
    double noise_share;   // r
    double outlier_limit; // noise sds beyond which a point is an outlier; INFINITY: not judged

    double p_quadratic; // of the term's t-test; NaN when it could not be tested
    double p_interaction;
    double max_quadratic_share; // largest |q*p^2| / Y over the points, as estimated, used or not
    double max_interaction_share;
    double p_lack_of_fit;   // NaN without replicates
    bool is_lack_of_fit;    // p_lack_of_fit < 0.01: the covariance was enlarged
    bool has_negative_coef; // a, b or c is below 0: not physical, within noise or a wrong law

    double prompt_min, prompt_max, prompt_typical; // typical: the median over the points
    double generated_min, generated_max, generated_typical;

    // Mean |predicted - median measured| / median measured in %, each prompt length (or, when they
    // do not vary, each generated length) predicted by a fit without it. NaN with fewer than 4.
    double mean_abs_pct_error;
};

// INPUT: fewer points than terms + 1, tokens negative, y not finite, all points equal in p and g;
// LIMIT: more than LAW_MAX_POINTS; MEMORY.
enum wl_status law_fit(const struct law_point *points, size_t n, struct law_fit *out,
                       struct wl_err *err);

// Before two laws are compared: `fit` of these points is done again when `other` has a curvature
// term that it lacks, so that their slopes mean the same. Same failures as law_fit.
enum wl_status law_fit_like(const struct law_point *points, size_t n, const struct law_fit *other,
                            struct law_fit *fit, struct wl_err *err);

struct law_prediction {
    double value;
    struct stats_interval ci95; // of the mean cost
    struct stats_interval pi95; // of one run
    bool is_extrapolated;       // outside the range of tokens that was measured
};

void law_predict(const struct law_fit *fit, double prompt_tokens, double generated_tokens,
                 struct law_prediction *out);

struct law_residual {
    double fitted;
    double residual;     // y - fitted
    double standardised; // residual / noise sd at the fitted value
    bool is_outlier;
};

// One per point, for residual plots; `out` has room for n.
void law_residuals(const struct law_fit *fit, const struct law_point *points, size_t n,
                   struct law_residual *out);

struct law_contrast {
    bool is_valid;     // both fits have the term
    double difference; // changed - base
    struct stats_interval difference_ci95;
    double p_equal;                   // two-sided, Welch's degrees of freedom
    double ratio;                     // changed / base; NaN when base is 0
    struct stats_interval ratio_ci95; // Fieller; NaN when base is not clearly different from 0
};

struct law_comparison {
    struct law_contrast term[LAW_N_TERMS];
    struct law_contrast cost; // of the predicted mean cost at the tokens below
    double prompt_tokens;
    double generated_tokens;
    bool is_extrapolated; // for either fit
};

// Intercepts, slopes and cost of two independent fits in the same unit.
void law_compare(const struct law_fit *base, const struct law_fit *changed, double prompt_tokens,
                 double generated_tokens, struct law_comparison *out);

// "fixed", "prompt", "generated", "quadratic", "interaction".
const char *law_term_name(enum law_term term);

#endif
