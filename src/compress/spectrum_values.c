#include "compress/spectrum_values.h"

#include <lapacke.h>
#include <math.h>
#include <stdlib.h>

enum wl_status spectrum_check(size_t n_rows, size_t n_columns, struct wl_err *err) {
    if (n_rows < 1 || n_columns < 1) {
        return wl_err_set(err, WL_INPUT, "a matrix of %zu x %zu has no spectrum", n_rows,
                          n_columns);
    }
    if (n_rows > SPECTRUM_MAX_SIDE || n_columns > SPECTRUM_MAX_SIDE) {
        return wl_err_set(err, WL_LIMIT, "a matrix of %zu x %zu, expected sides up to %d", n_rows,
                          n_columns, SPECTRUM_MAX_SIDE);
    }
    return WL_OK;
}

double spectrum_trace(const float *matrix, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)matrix[i * n + i];
    }
    return sum;
}

static enum wl_status eigenvalues(float *matrix, size_t n, float *ascending, struct wl_err *err) {
    if (!isfinite(spectrum_trace(matrix, n))) {
        return wl_err_set(err, WL_INPUT,
                          "weights or second moments are not finite, or their products are too "
                          "large for 32-bit numbers");
    }
    // Row by row the lower triangle is column by column the upper one: nothing is transposed.
    lapack_int info =
        LAPACKE_ssyevd(LAPACK_COL_MAJOR, 'N', 'U', (lapack_int)n, matrix, (lapack_int)n, ascending);
    if (info == LAPACK_WORK_MEMORY_ERROR) {
        return wl_err_set(err, WL_MEMORY, "no memory for the eigenvalues of %zu x %zu", n, n);
    }
    if (info < 0) { // of the arguments only the matrix can be at fault
        return wl_err_set(err, WL_INPUT, "weights or second moments are not finite");
    }
    if (info > 0) {
        return wl_err_set(err, WL_FAILED, "the eigenvalues of %zu x %zu do not converge", n, n);
    }
    return WL_OK;
}

enum wl_status spectrum_of_symmetric(float *matrix, size_t n, size_t n_most, struct spectrum *out,
                                     struct wl_err *err) {
    *out = (struct spectrum){.n = n_most < n ? n_most : n, .n_all = n};
    enum wl_status status = WL_OK;
    float *ascending = calloc(n, sizeof *ascending);
    out->values = calloc(out->n, sizeof *out->values);
    if (!ascending || !out->values) {
        status = wl_err_set(err, WL_MEMORY, "no memory for a spectrum of %zu values", n);
        goto out;
    }
    status = eigenvalues(matrix, n, ascending, err);
    for (size_t i = 0; status == WL_OK && i < out->n; i++) {
        out->values[i] = fmax((double)ascending[n - 1 - i], 0);
    }
out:
    free(ascending);
    if (status != WL_OK) {
        spectrum_release(out);
    }
    return status;
}
