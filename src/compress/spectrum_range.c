#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "compress/spectrum_values.h"

// More directions than asked for, so that the last ones asked for are sharp too.
enum { N_EXTRA = 16, PART_EXTRA = 4, N_ITERATIONS = 2 };

// Directions are rows: a row-major [n][length] is to LAPACK a matrix of n columns.
struct range {
    const float *matrix;
    int n_rows;
    int n_columns;
    int n;        // directions
    float *left;  // [n][n_rows]
    float *right; // [n][n_columns]
    float *tau;   // [n]
};

static enum wl_status orthonormalise(struct range *r, float *directions, int length,
                                     struct wl_err *err) {
    lapack_int info = LAPACKE_sgeqrf(LAPACK_COL_MAJOR, length, r->n, directions, length, r->tau);
    if (info == 0) {
        info = LAPACKE_sorgqr(LAPACK_COL_MAJOR, length, r->n, r->n, directions, length, r->tau);
    }
    if (info == LAPACK_WORK_MEMORY_ERROR) {
        return wl_err_set(err, WL_MEMORY, "no memory for %d directions of %d", r->n, length);
    }
    return info == 0 ? WL_OK : wl_err_set(err, WL_INPUT, "the weights are not finite");
}

static void to_left(struct range *r) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, r->n, r->n_rows, r->n_columns, 1, r->right,
                r->n_columns, r->matrix, r->n_columns, 0, r->left, r->n_rows);
}

static void to_right(struct range *r) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, r->n, r->n_columns, r->n_rows, 1,
                r->left, r->n_rows, r->matrix, r->n_columns, 0, r->right, r->n_columns);
}

// Ends with `right` the matrix as the found directions see it.
static enum wl_status find_range(struct range *r, struct wl_err *err) {
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < (size_t)r->n * (size_t)r->n_columns; i++) {
        r->right[i] = (float)rng_normal(&rng);
    }
    for (int iteration = 0;; iteration++) {
        to_left(r);
        enum wl_status status = orthonormalise(r, r->left, r->n_rows, err);
        if (status != WL_OK) {
            return status;
        }
        to_right(r);
        if (iteration == N_ITERATIONS) {
            return WL_OK;
        }
        status = orthonormalise(r, r->right, r->n_columns, err);
        if (status != WL_OK) {
            return status;
        }
    }
}

enum wl_status spectrum_largest(const float *matrix, size_t n_rows, size_t n_columns, size_t n_most,
                                struct spectrum *out, struct wl_err *err) {
    *out = (struct spectrum){0};
    size_t n_all = n_rows < n_columns ? n_rows : n_columns, n = n_most + N_EXTRA;
    n += n_most / PART_EXTRA;
    n = n < n_all ? n : n_all;
    struct range r = {
        .matrix = matrix, .n_rows = (int)n_rows, .n_columns = (int)n_columns, .n = (int)n};
    r.left = calloc(n, n_rows * sizeof *r.left);
    r.right = calloc(n, n_columns * sizeof *r.right);
    r.tau = calloc(n, sizeof *r.tau);
    float *seen = calloc(n, n * sizeof *seen);
    enum wl_status status = WL_OK;
    if (!r.left || !r.right || !r.tau || !seen) {
        status = wl_err_set(err, WL_MEMORY, "no memory for %zu of the %zu values of a spectrum",
                            n_most, n_all);
        goto out;
    }
    status = find_range(&r, err);
    if (status != WL_OK) {
        goto out;
    }
    cblas_ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, r.n, r.n_columns, 1, r.right, r.n_columns,
                0, seen, r.n);
    status = spectrum_of_symmetric(seen, n, n_most, out, err);
    out->n_all = status == WL_OK ? n_all : 0;
out:
    free(seen);
    free(r.tau);
    free(r.right);
    free(r.left);
    return status;
}
