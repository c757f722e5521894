// Linear least squares whose unknowns cannot be below zero: what the parts of a sum cost. PURE.
#ifndef WATTLAW_COMPRESS_NNLS_H
#define WATTLAW_COMPRESS_NNLS_H

#include <stddef.h>

#include "base/err.h"

enum { NNLS_MAX_UNKNOWNS = 8 };

// x [n], none below 0, with the least |A x - b|; a [m][n] row-major, n up to NNLS_MAX_UNKNOWNS.
// Exact: each set of unknowns that may be above 0 is tried. Unknowns that A cannot tell apart (of
// columns that depend on each other) are 0 but for one. *residual: that least |A x - b|. INPUT for
// a size or a value out of range.
enum wl_status nnls_solve(const double *a, const double *b, size_t m, size_t n, double *x,
                          double *residual, struct wl_err *err);

#endif
