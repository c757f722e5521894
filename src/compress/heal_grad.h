// A feed-forward part over a batch of rows, forwards and backwards. PURE; used by heal.c and its
// test only.
//
//   v = mid / rms(mid), u = norm * v, h = act(Wg u) * (Wu u), y = mid + Wd h
//
// The gain's gradient needs no product of its own: with D = dL/d(Wg diag(norm)) = sum dg v^T, that
// of Wg is D diag(norm) and that of norm_j is the sum of column j of Wg * D. So a step costs seven
// matrix products, not nine.
#ifndef WATTLAW_COMPRESS_HEAL_GRAD_H
#define WATTLAW_COMPRESS_HEAL_GRAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compress/heal.h"

struct heal_pass {
    const struct heal_ffn *ffn;
    const float *mid, *target; // [..][n_embd], the caller's
    size_t n_rows;             // of a batch at most
    float *v;                  // [n_rows][n_embd]
    float *rest;               // [n_rows][n_embd] first u, then y - target
    float *gate, *up, *h;      // [n_rows][n_ff]
};

struct heal_gradient { // shapes as in heal_ffn
    float *norm, *gate, *up, *down;
};

enum wl_status heal_pass_init(struct heal_pass *pass, const struct heal_ffn *ffn, const float *mid,
                              const float *target, size_t n_rows, struct wl_err *err); // MEMORY
void heal_pass_release(struct heal_pass *pass); // a zeroed one is fine

double heal_sum_of_squares(const float *x, size_t n);

// Sum of |y - target|^2 over the rows with these numbers, n <= n_rows.
double heal_pass_error(struct heal_pass *pass, const uint32_t *rows, size_t n);
// The same, and the gradient of `scale` times it.
double heal_pass_gradient(struct heal_pass *pass, const uint32_t *rows, size_t n, double scale,
                          struct heal_gradient *gradient);

#endif
