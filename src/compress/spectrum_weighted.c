#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>

#include "compress/spectrum_values.h"

enum { ROWS_AT_ONCE = 256 };

// What is left of an input's variance once the others have told of it, below which it has nothing
// of its own to tell: the rounding of C's sums.
static const float DEPENDENT = 1e-6f;

// W C W^T [n_out][n_out], for sides with n_out <= n_in.
static enum wl_status of_outputs(const float *w, size_t n_out, size_t n_in, const float *square,
                                 struct spectrum *out, struct wl_err *err) {
    enum wl_status status = WL_OK;
    int rows = (int)n_out, columns = (int)n_in;
    float *product = calloc(n_out, n_in * sizeof *product);
    float *matrix = calloc(n_out, n_out * sizeof *matrix);
    if (!product || !matrix) {
        status = wl_err_set(err, WL_MEMORY, "no memory for the spectrum of %zu x %zu", n_out, n_in);
        goto out;
    }
    cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, rows, columns, 1, square, columns, w,
                columns, 0, product, columns);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, rows, columns, 1, product, columns,
                w, columns, 0, matrix, rows);
    double total = fmax(spectrum_trace(matrix, n_out), 0);
    status = spectrum_of_symmetric(matrix, n_out, n_out, out, err);
    if (status == WL_OK) {
        out->total = total;
    }
out:
    free(matrix);
    free(product);
    return status;
}

// C = D P L L^T P^T D, with D the inputs' root mean squares: scaled, so that a few huge inputs do
// not drown the others in their rounding, and pivoted, since C may be singular (Higham 1990).
struct factor {
    float *lower;      // L [n][n], zero above and right of its rank
    float *scale;      // D [n]
    lapack_int *pivot; // input of each row of L, from 1
};

static enum wl_status factor_init(struct factor *f, size_t n, struct wl_err *err) {
    f->lower = calloc(n, n * sizeof *f->lower);
    f->scale = calloc(n, sizeof *f->scale);
    f->pivot = calloc(n, sizeof *f->pivot);
    if (!f->lower || !f->scale || !f->pivot) {
        return wl_err_set(err, WL_MEMORY, "no memory to factor moments of %zu x %zu", n, n);
    }
    return WL_OK;
}

static void factor_release(struct factor *f) {
    free(f->lower);
    free(f->scale);
    free(f->pivot);
}

static enum wl_status scale_moments(const float *square, size_t n, struct factor *f,
                                    struct wl_err *err) {
    for (size_t i = 0; i < n; i++) {
        float variance = square[i * n + i];
        if (!(isfinite(variance) && variance >= 0)) {
            return wl_err_set(err, WL_INPUT,
                              "second moment %zu of %zu is %g, expected a finite value from 0",
                              i + 1, n, (double)variance);
        }
        f->scale[i] = sqrtf(variance);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++) {
            float both = f->scale[i] * f->scale[j];
            f->lower[i * n + j] = both > 0 ? square[i * n + j] / both : 0;
        }
    }
    return WL_OK;
}

static enum wl_status factor_moments(const float *square, size_t n, struct factor *f,
                                     struct wl_err *err) {
    enum wl_status status = scale_moments(square, n, f, err);
    if (status != WL_OK) {
        return status;
    }
    lapack_int rank = 0;
    lapack_int info = LAPACKE_spstrf(LAPACK_COL_MAJOR, 'U', (lapack_int)n, f->lower, (lapack_int)n,
                                     f->pivot, &rank, DEPENDENT);
    if (info == LAPACK_WORK_MEMORY_ERROR) {
        return wl_err_set(err, WL_MEMORY, "no memory to factor moments of %zu x %zu", n, n);
    }
    if (info < 0) {
        return wl_err_set(err, WL_INPUT, "second moments are not finite");
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = (size_t)rank; j < n; j++) {
            f->lower[i * n + j] = 0; // what spstrf leaves there is no part of the factor
        }
    }
    return WL_OK;
}

// P^T D W^T W D P, the lower triangle, a few rows of W at a time: `rows` is room for them.
static void gram_of_weights(const float *w, size_t n_out, size_t n, const struct factor *f,
                            float *rows, float *gram) {
    for (size_t first = 0; first < n_out; first += ROWS_AT_ONCE) {
        size_t n_rows = n_out - first < ROWS_AT_ONCE ? n_out - first : ROWS_AT_ONCE;
        for (size_t r = 0; r < n_rows; r++) {
            for (size_t k = 0; k < n; k++) {
                size_t input = (size_t)f->pivot[k] - 1;
                rows[r * n + k] = w[(first + r) * n + input] * f->scale[input];
            }
        }
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, (int)n, (int)n_rows, 1, rows, (int)n, 1,
                    gram, (int)n);
    }
}

// L^T P^T D W^T W D P L [n_in][n_in], for sides with n_in < n_out.
static enum wl_status of_inputs(const float *w, size_t n_out, size_t n_in, const float *square,
                                struct spectrum *out, struct wl_err *err) {
    struct factor factor = {0};
    float *gram = calloc(n_in, n_in * sizeof *gram);
    float *rows = calloc(ROWS_AT_ONCE, n_in * sizeof *rows);
    enum wl_status status =
        gram && rows
            ? WL_OK
            : wl_err_set(err, WL_MEMORY, "no memory for the spectrum of %zu x %zu", n_out, n_in);
    if (status == WL_OK) {
        status = factor_init(&factor, n_in, err);
    }
    if (status == WL_OK) {
        status = factor_moments(square, n_in, &factor, err);
    }
    if (status != WL_OK) {
        goto out;
    }
    gram_of_weights(w, n_out, n_in, &factor, rows, gram);
    if (LAPACKE_ssygst(LAPACK_COL_MAJOR, 2, 'U', (lapack_int)n_in, gram, (lapack_int)n_in,
                       factor.lower, (lapack_int)n_in) != 0) {
        status = wl_err_set(err, WL_INPUT, "the weights are not finite");
        goto out;
    }
    double total = fmax(spectrum_trace(gram, n_in), 0);
    status = spectrum_of_symmetric(gram, n_in, n_in, out, err);
    if (status == WL_OK) {
        out->total = total;
    }
out:
    factor_release(&factor);
    free(rows);
    free(gram);
    return status;
}

enum wl_status spectrum_weighted(const float *w, size_t n_out, size_t n_in, const float *square,
                                 struct spectrum *out, struct wl_err *err) {
    *out = (struct spectrum){0};
    enum wl_status status = spectrum_check(n_out, n_in, err);
    if (status != WL_OK) {
        return status;
    }
    return n_out <= n_in ? of_outputs(w, n_out, n_in, square, out, err)
                         : of_inputs(w, n_out, n_in, square, out, err);
}
