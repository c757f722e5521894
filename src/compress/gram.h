// Second moments C = sum x x^T and means of a stream of vectors, in half the memory of a square
// (LAPACK's rectangular full packed format: BLAS-3 speed). PURE.
#ifndef WATTLAW_COMPRESS_GRAM_H
#define WATTLAW_COMPRESS_GRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct gram {
    size_t n;      // width of a vector
    double count;  // of vectors, weighted
    float *packed; // n (n + 1) / 2, LAPACK RFP: TRANSR 'N', UPLO 'L' in column-major terms
    double *sum;   // [n]
};

enum wl_status gram_init(struct gram *gram, size_t n, struct wl_err *err); // MEMORY, LIMIT
void gram_release(struct gram *gram);                                      // zeroed ones are fine
// Adds rows x [n_rows][n], each times `weight` (as if it had come `weight` times).
void gram_add(struct gram *gram, const float *x, size_t n_rows, float weight);
// C / count as a full square [n][n], both triangles; `out` is the caller's.
void gram_square(const struct gram *gram, float *out);
// The same of these vectors' elements alone, ascending: [n_kept][n_kept].
void gram_part(const struct gram *gram, const uint32_t *kept, size_t n_kept, float *out);
// Diagonal of C / count, [n].
void gram_diagonal(const struct gram *gram, float *out);

#endif
