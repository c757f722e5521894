// Inside tower*.c only: a layer norm and the activations.
#ifndef WATTLAW_COMPRESS_TOWER_PARTS_H
#define WATTLAW_COMPRESS_TOWER_PARTS_H

#include "compress/tower.h"

// (x - mean) / deviation, times factor, plus bias (NULL: 0); `y` may be `x`.
void tower_norm(const float *x, size_t n_rows, size_t width, float eps, const float *factor,
                const float *bias, float *y);
void tower_activate(enum tower_act act, float *x, size_t n);
// The same, and the derivative at each x.
void tower_activate_both(enum tower_act act, float *x, float *slope, size_t n);

// tower_heads.c: queries and keys turn in place, [n_tokens][n_head * head_dim].
enum wl_status tower_turn(const struct tower_shape *shape, const struct tower_picture *picture,
                          float *q, float *k, struct wl_err *err);
// out [n][n_head * head_dim]; `scores` [TOWER_QUERIES][n] is scratch.
enum { TOWER_QUERIES = 128 };
void tower_attend(const struct tower_shape *shape, size_t n, const float *q, const float *k,
                  const float *v, float *scores, float *out);

#endif
