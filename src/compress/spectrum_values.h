// What the spectra share: bounds, eigenvalues of a small symmetric matrix, a range finder. PURE.
#ifndef WATTLAW_COMPRESS_SPECTRUM_VALUES_H
#define WATTLAW_COMPRESS_SPECTRUM_VALUES_H

#include <stddef.h>

#include "compress/spectrum.h"

enum { SPECTRUM_MAX_SIDE = 1 << 28 }; // LAPACK counts in 32 bits

// Sides from 1 to SPECTRUM_MAX_SIDE. INPUT, LIMIT.
enum wl_status spectrum_check(size_t n_rows, size_t n_columns, struct wl_err *err);
// The `n_most` largest eigenvalues (n at most) of a positive semidefinite matrix [n][n], of which
// the lower triangle is read and all is used up; what rounding made negative becomes 0. The total
// is the caller's to set. MEMORY, INPUT (values that are not finite), FAILED.
enum wl_status spectrum_of_symmetric(float *matrix, size_t n, size_t n_most, struct spectrum *out,
                                     struct wl_err *err);
double spectrum_trace(const float *matrix, size_t n);
// The n_most largest squared singular values of matrix [n_rows][n_columns], by subspace iteration
// from a seeded start (Halko et al. 2011, algorithm 4.4). n_most below both sides.
enum wl_status spectrum_largest(const float *matrix, size_t n_rows, size_t n_columns, size_t n_most,
                                struct spectrum *out, struct wl_err *err);

#endif
