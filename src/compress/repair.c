#include "compress/repair.h"

#include <lapacke.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>

static double mean_diagonal(const float *hh, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)hh[i * n + i];
    }
    return sum / (double)n;
}

// th + lambda w0, where the solution will be.
static void right_sides(const float *th, const float *w0, size_t n, double lambda, float *w) {
    for (size_t i = 0; i < n; i++) {
        w[i] = (float)((double)th[i] + (w0 ? lambda * (double)w0[i] : 0));
    }
}

static bool all_finite(const float *w, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(w[i])) {
            return false;
        }
    }
    return true;
}

enum wl_status repair_solve(float *hh, const float *th, const float *w0, size_t n_out, size_t n_in,
                            double ridge, float *w, struct wl_err *err) {
    if (n_out < 1 || n_in < 1 || n_out > INT_MAX || n_in > INT_MAX || !(ridge >= 0)) {
        return wl_err_set(err, WL_INPUT,
                          "least squares for a matrix of %zu x %zu with a ridge of %g: expected "
                          "sides of 1 to %d and a ridge of 0 or more",
                          n_out, n_in, ridge, INT_MAX);
    }
    double mean = mean_diagonal(hh, n_in), lambda = ridge * mean;
    if (!(mean > 0) || !isfinite(lambda)) {
        return wl_err_set(err, WL_INPUT,
                          "the second moments of %zu inputs have a mean of %g, expected more than "
                          "0: are the states that they come from all zero, or not finite?",
                          n_in, mean);
    }
    for (size_t i = 0; i < n_in; i++) {
        hh[i * n_in + i] = (float)((double)hh[i * n_in + i] + lambda);
    }
    right_sides(th, w0, n_out * n_in, lambda, w);
    // Column-major, w is w^T: its columns are the right sides, and nothing is copied.
    lapack_int n = (lapack_int)n_in;
    lapack_int info = LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'U', n, hh, n);
    if (info != 0) {
        return wl_err_set(err, WL_INPUT,
                          "the second moments of %zu inputs are not positive definite (found at "
                          "input %d) with a ridge of %g times their mean: a larger ridge or more "
                          "text helps",
                          n_in, (int)info - 1, ridge);
    }
    LAPACKE_spotrs_work(LAPACK_COL_MAJOR, 'U', n, (lapack_int)n_out, hh, n, w, n);
    if (!all_finite(w, n_out * n_in)) {
        return wl_err_set(err, WL_INPUT,
                          "the least squares of %zu inputs have no finite solution: the states "
                          "that their moments come from are not finite, or too large",
                          n_in);
    }
    return WL_OK;
}
