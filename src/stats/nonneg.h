// Linear least squares for terms that cannot be negative, with what is known of them beforehand.
#ifndef WATTLAW_STATS_NONNEG_H
#define WATTLAW_STATS_NONNEG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { STATS_NONNEG_MAX_TERMS = 6 };

struct stats_nonneg_data {
    const double *rows; // n x n_terms, row-major
    const double *y;
    const double *sd; // of each y, > 0
    size_t n;
    size_t n_terms;
    const double *prior;    // n_terms values, >= 0
    const double *prior_sd; // n_terms values, > 0
};

struct stats_nonneg {
    double value[STATS_NONNEG_MAX_TERMS];
    // Of the posterior without the bound at 0: never too narrow for a term that lies on it.
    double covariance[STATS_NONNEG_MAX_TERMS][STATS_NONNEG_MAX_TERMS];
    bool is_fitted[STATS_NONNEG_MAX_TERMS]; // the data at least halved the prior's sd
    double n_effective; // terms that the data decided, 0..n_terms: trace of the hat matrix
    double chi2;        // residuals in units of sd, squared and summed
};

// The most probable non-negative terms for y = rows * terms + normal errors, each term beforehand
// normal with its prior: what the data do not tell stays as it was, with its covariance. Exact: the
// minimum over all choices of terms that lie on the bound. Units may differ by many powers of ten.
// INPUT: no terms or too many, values not finite, a prior below 0, an sd not positive.
enum wl_status stats_nonneg_fit(const struct stats_nonneg_data *data, struct stats_nonneg *out,
                                struct wl_err *err);

#endif
