// Weighted linear least squares for a few columns, by Householder QR on scaled columns.
#ifndef WATTLAW_STATS_FIT_H
#define WATTLAW_STATS_FIT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "stats/describe.h"

enum { STATS_FIT_MAX_COLUMNS = 8 };

enum stats_covariance {
    STATS_COVARIANCE_PLAIN,  // residual variance * (X'WX)^-1
    STATS_COVARIANCE_HC3,    // robust to any variance pattern (MacKinnon & White 1985)
    STATS_COVARIANCE_LARGER, // HC3, each sd raised to the plain one where that is larger: HC3 has
                             // much scatter of its own in small samples
};

struct stats_fit_data {
    const double *rows;    // n x n_columns, row-major; write the column of ones yourself
    const double *y;       // n
    const double *weights; // n values > 0, proportional to 1/variance; NULL = all 1
    size_t n;
    size_t n_columns;         // 1..STATS_FIT_MAX_COLUMNS
    const char *const *names; // n_columns names for messages, or NULL
};

struct stats_fit {
    size_t n;
    size_t n_columns;
    size_t dof; // n - n_columns
    double coef[STATS_FIT_MAX_COLUMNS];
    double covariance[STATS_FIT_MAX_COLUMNS][STATS_FIT_MAX_COLUMNS];
    double inverse_normal[STATS_FIT_MAX_COLUMNS][STATS_FIT_MAX_COLUMNS]; // (X'WX)^-1
    struct stats_interval ci95[STATS_FIT_MAX_COLUMNS];                   // Student's t with dof
    double residual_variance; // weighted: variance of an observation of weight 1
    double residual_sd;       // unweighted, in units of y, with dof
    double r2;                // unweighted, about the mean of y; NaN when y does not vary
    double r2_adjusted;
};

// INPUT: n <= n_columns, a value that is not finite, a weight <= 0, or a column that is a linear
// combination of those before it (the message names it; *bad_column, if not NULL, is its index,
// else SIZE_MAX); MEMORY.
enum wl_status stats_fit(const struct stats_fit_data *data, enum stats_covariance covariance,
                         struct stats_fit *out, size_t *bad_column, struct wl_err *err);

struct stats_prediction {
    double value;
    double sd_mean;             // of the fitted mean
    double sd_single;           // of one new observation
    struct stats_interval ci95; // confidence band: the mean
    struct stats_interval pi95; // prediction interval: one new observation
};

// `row` has n_columns values; `weight` is that of the new observation (1 when unweighted).
void stats_fit_predict(const struct stats_fit *fit, const double *row, double weight,
                       struct stats_prediction *out);

#endif
