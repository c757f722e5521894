#include "compress/gram.h"

#include <cblas.h>
#include <lapacke.h>
#include <stdlib.h>

enum {
    MAX_WIDTH = 46340, // LAPACK counts n (n + 1) in 32 bits
    ROWS = 4096,       // that are added at once
    TILE = 64,         // side of what is mirrored at once
};

enum wl_status gram_init(struct gram *gram, size_t n, struct wl_err *err) {
    *gram = (struct gram){0};
    if (n < 1 || n > MAX_WIDTH) {
        return wl_err_set(err, WL_LIMIT,
                          "second moments of vectors of width %zu: expected a width of 1 to %d", n,
                          MAX_WIDTH);
    }
    size_t n_packed = n * (n + 1) / 2;
    *gram = (struct gram){
        .n = n, .packed = calloc(n_packed, sizeof(float)), .sum = calloc(n, sizeof(double))};
    if (!gram->packed || !gram->sum) {
        gram_release(gram);
        return wl_err_set(err, WL_MEMORY,
                          "no memory for the second moments of vectors of width %zu (%zu MB)", n,
                          n_packed * sizeof(float) / 1000000);
    }
    return WL_OK;
}

void gram_release(struct gram *gram) {
    free(gram->packed);
    free(gram->sum);
    *gram = (struct gram){0};
}

static void add_rows(struct gram *gram, const float *x, size_t n_rows, float weight) {
    // Column-major, row-major x is x^T; the _work form neither copies nor looks for NaN, which has
    // to reach C.
    LAPACKE_ssfrk_work(LAPACK_COL_MAJOR, 'N', 'L', 'N', (lapack_int)gram->n, (lapack_int)n_rows,
                       weight, x, (lapack_int)gram->n, 1, gram->packed);
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t j = 0; j < gram->n; j++) {
            gram->sum[j] += (double)weight * (double)x[i * gram->n + j];
        }
    }
    gram->count += (double)weight * (double)n_rows;
}

void gram_add(struct gram *gram, const float *x, size_t n_rows, float weight) {
    while (n_rows > 0) {
        size_t n = n_rows < ROWS ? n_rows : ROWS;
        add_rows(gram, x, n, weight);
        x += n * gram->n;
        n_rows -= n;
    }
}

static double per_vector(const struct gram *gram) {
    return gram->count > 0 ? 1 / gram->count : 0;
}

// Scales the upper triangle and mirrors it, tile by tile: down a column every step would be a cache
// line.
static void finish_tile(float *out, size_t n, size_t i0, size_t j0, double scale) {
    size_t i1 = i0 + TILE < n ? i0 + TILE : n, j1 = j0 + TILE < n ? j0 + TILE : n;
    for (size_t i = i0; i < i1; i++) {
        for (size_t j = j0 > i ? j0 : i; j < j1; j++) {
            float value = (float)(scale * (double)out[i * n + j]);
            out[i * n + j] = value;
            out[j * n + i] = value;
        }
    }
}

void gram_square(const struct gram *gram, float *out) {
    size_t n = gram->n;
    // The lower triangle column-major is the upper one row-major.
    LAPACKE_stfttr_work(LAPACK_COL_MAJOR, 'N', 'L', (lapack_int)n, gram->packed, out,
                        (lapack_int)n);
    double scale = per_vector(gram);
    for (size_t i = 0; i < n; i += TILE) {
        for (size_t j = i; j < n; j += TILE) {
            finish_tile(out, n, i, j, scale);
        }
    }
}

// Element (i, j), i >= j, of C lies down a column where j is in the first half, else along a row
// (see gram_diagonal). Both are read as they lie.
void gram_part(const struct gram *gram, const uint32_t *kept, size_t n_kept, float *out) {
    size_t n = gram->n, n_columns = (n + 1) / 2;
    size_t is_even = n % 2 == 0, n_down = n + is_even, n_first = 0;
    double scale = per_vector(gram);
    while (n_first < n_kept && kept[n_first] < n_columns) {
        n_first++;
    }
    for (size_t b = 0; b < n_first; b++) {
        const float *column = gram->packed + kept[b] * n_down + is_even;
        for (size_t a = b; a < n_kept; a++) {
            out[b * n_kept + a] = (float)(scale * (double)column[kept[a]]);
        }
    }
    for (size_t a = n_first; a < n_kept; a++) {
        const float *row = gram->packed + (kept[a] - n_columns + !is_even) * n_down;
        for (size_t b = n_first; b <= a; b++) {
            out[b * n_kept + a] = (float)(scale * (double)row[kept[b] - n_columns]);
        }
    }
    for (size_t i = 0; i < n_kept; i += TILE) {
        for (size_t j = i; j < n_kept; j += TILE) {
            finish_tile(out, n_kept, i, j, 1);
        }
    }
}

// RFP, 'N', 'L': columns of n (odd) or n + 1 (even) numbers, (n + 1) / 2 of them. With an even n
// everything is one row further down: the first half of the diagonal starts in row 1, the second in
// row 0 of column 0; with an odd n in row 0, and in row 0 of column 1.
void gram_diagonal(const struct gram *gram, float *out) {
    size_t n = gram->n, n_columns = (n + 1) / 2;
    size_t is_even = n % 2 == 0, n_down = n + is_even;
    double scale = per_vector(gram);
    for (size_t i = 0; i < n; i++) {
        size_t column = i < n_columns ? i : i - n_columns + !is_even;
        size_t row = i < n_columns ? i + is_even : i - n_columns;
        out[i] = (float)(scale * (double)gram->packed[column * n_down + row]);
    }
}
