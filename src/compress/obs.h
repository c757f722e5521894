// Which inputs of a matrix can go: structured optimal brain surgeon (Hassibi & Stork 1993; as in
// ZipLM and SlimGPT), in blocks. PURE.
//
// A layer y = W h with second moments C of h. Taking input j out and letting the others make up for
// it raises the error E|y - y'|^2 by |W_j|^2 / [C^-1]_jj. The cheapest `block` inputs go, W and
// C^-1 are updated for all of them at once, and so on.
#ifndef WATTLAW_COMPRESS_OBS_H
#define WATTLAW_COMPRESS_OBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct obs_options {
    double ridge; // added to C's diagonal, in units of its mean (facts: 1e-2)
    size_t block; // inputs that go at once; a power of two up to 256
    size_t group; // inputs that only go together, neighbours (1; head_dim for heads); one at once
    size_t n_min; // inputs that stay at least; a multiple of group
    bool (*go_on)(void *context); // asked before each `block`; false: INTERRUPTED; NULL: never
    void *context;
};

// order [n_in]: the inputs, group by group, in the order in which they go; then those that stay, by
// their number.
// error [n_in / group + 1]: E|y - y'|^2 / E|y|^2 after so many groups are gone, up to what was
// asked for; NaN beyond. It never falls. What the ridge adds to C counts as error too, so it is too
// small by float's rounding alone, which shows where inputs far stronger than the others fire as
// one: two that are 1000 times as strong lost up to 0.3 % of it with a ridge of 1e-2, 2 % with
// 1e-3, 17 % with 1e-4, more than half with 1e-5 (200 draws each).
// `square` [n_in][n_in] is C and is used up; `w` [n_out][n_in] is copied.
// INPUT when C is not positive definite even with the ridge; INTERRUPTED; MEMORY.
enum wl_status obs_order(const struct obs_options *options, const float *w, size_t n_out,
                         size_t n_in, float *square, uint32_t *order, double *error,
                         struct wl_err *err);

#endif
