#include <cblas.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "compress/spectrum_values.h"

// n = small * large, as even as n factors.
static size_t small_factor(size_t n) {
    size_t best = 1;
    for (size_t f = 2; f * f <= n; f++) {
        best = n % f == 0 ? f : best;
    }
    return best;
}

// The matrix whose rows are [o1 i1] and whose columns are [o2 i2]: where w is a Kronecker product,
// it has rank 1 (Van Loan & Pitsianis 1993). Never more rows than columns.
struct cut {
    size_t o1, o2, i1, i2;
    size_t n_rows, n_columns;
    float *matrix;
    double total; // sum of squares
};

static enum wl_status cut_init(struct cut *cut, const float *w, size_t n_out, size_t n_in,
                               struct wl_err *err) {
    size_t o1 = small_factor(n_out), i1 = small_factor(n_in);
    *cut = (struct cut){.o1 = o1, .o2 = n_out / o1, .i1 = i1, .i2 = n_in / i1};
    cut->n_rows = o1 * i1;
    cut->n_columns = cut->o2 * cut->i2;
    enum wl_status status = spectrum_check(cut->n_rows, cut->n_columns, err);
    if (status != WL_OK) {
        return status;
    }
    cut->matrix = calloc(n_out, n_in * sizeof *cut->matrix);
    if (!cut->matrix) {
        return wl_err_set(err, WL_MEMORY, "no memory to rearrange %zu x %zu weights", n_out, n_in);
    }
    for (size_t o = 0; o < n_out; o++) {
        for (size_t i = 0; i < i1; i++) {
            size_t row = o / cut->o2 * i1 + i, column = o % cut->o2 * cut->i2;
            memcpy(cut->matrix + row * cut->n_columns + column, w + o * n_in + i * cut->i2,
                   cut->i2 * sizeof *w);
        }
    }
    for (size_t i = 0; i < n_out * n_in; i++) {
        cut->total += (double)w[i] * (double)w[i];
    }
    return isfinite(cut->total) ? WL_OK : wl_err_set(err, WL_INPUT, "the weights are not finite");
}

static enum wl_status all_values(const struct cut *cut, struct spectrum *out, struct wl_err *err) {
    size_t n = cut->n_rows;
    float *gram = calloc(n, n * sizeof *gram);
    if (!gram) {
        return wl_err_set(err, WL_MEMORY, "no memory for a spectrum of %zu values", n);
    }
    cblas_ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)n, (int)cut->n_columns, 1,
                cut->matrix, (int)cut->n_columns, 0, gram, (int)n);
    enum wl_status status = spectrum_of_symmetric(gram, n, n, out, err);
    free(gram);
    return status;
}

enum wl_status spectrum_mpo(const float *w, size_t n_out, size_t n_in, size_t exact_up_to,
                            size_t n_most, struct spectrum *out, struct wl_err *err) {
    *out = (struct spectrum){0};
    struct cut cut = {0};
    enum wl_status status = spectrum_check(n_out, n_in, err);
    if (status == WL_OK) {
        status = cut_init(&cut, w, n_out, n_in, err);
    }
    if (status != WL_OK) {
        goto out;
    }
    if (cut.n_rows <= exact_up_to || cut.n_rows <= n_most) {
        status = all_values(&cut, out, err);
    } else if (n_most > 0) {
        status = spectrum_largest(cut.matrix, cut.n_rows, cut.n_columns, n_most, out, err);
    } else {
        status = wl_err_set(err, WL_INPUT, "expected 1 or more of the %zu values of a spectrum",
                            cut.n_rows);
    }
    if (status == WL_OK) {
        out->total = cut.total;
    }
out:
    free(cut.matrix);
    return status;
}
