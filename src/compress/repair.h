// Least squares: the matrix that comes closest with fewer inputs. PURE.
#ifndef WATTLAW_COMPRESS_REPAIR_H
#define WATTLAW_COMPRESS_REPAIR_H

#include <stddef.h>

#include "base/err.h"

// w [n_out][n_in] minimising sum |t - w h|^2 + ridge |w - w0|^2 from the moments
// hh = sum h h^T [n_in][n_in] (both triangles; used up) and th = sum t h^T [n_out][n_in]. The ridge
// is in units of hh's mean diagonal. w0 (NULL: 0) is what w falls back to where the data say
// nothing: the old columns. INPUT when the system cannot be solved; MEMORY.
enum wl_status repair_solve(float *hh, const float *th, const float *w0, size_t n_out, size_t n_in,
                            double ridge, float *w, struct wl_err *err);

#endif
