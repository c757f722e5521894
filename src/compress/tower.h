// One block of an image encoder on plain float arrays, as block.h is for text models. PURE.
// Matrices are row-major as in a GGUF file: w[n_out][n_in], y = w x; states are [T][width].
//
//   x -> mid = x + Wo a(norm1(x)) + bo       a: every patch attends to every patch of its picture
//   mid -> h = act(Wu norm2(mid) + bu);      y = mid + Wd h + bd
//
// Formulas as in libmtmd 0.7.0's graphs of qwen2vl_merger and of the SigLIP towers (idefics3,
// gemma3, lfm2), which tests/compressor compares with the encoder's own states.
#ifndef WATTLAW_COMPRESS_TOWER_H
#define WATTLAW_COMPRESS_TOWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum tower_act {
    TOWER_GELU,       // the tanh form
    TOWER_QUICK_GELU, // x sigmoid(1.702 x)
    TOWER_SILU,
};

struct tower_shape {
    uint32_t n_embd, n_head, head_dim, n_ff;
    float eps; // of the layer norms
    enum tower_act act;
    bool
        has_rope; // queries and keys turn with row (first half of the pairs) and column; base 10000
};

// NULL where the model has no such tensor.
struct tower_weights {
    const float *ln1, *ln1_bias; // [n_embd]
    const float *wq, *wk, *wv;   // [n_head * head_dim][n_embd]
    const float *bq, *bk, *bv;
    const float *wo, *bo;
    const float *ln2, *ln2_bias;
    const float *up, *up_bias;     // [n_ff][n_embd]
    const float *down, *down_bias; // [n_embd][n_ff]
};

// The patches of one picture, or of one tile of it. `rows` and `columns` are NULL without rope.
struct tower_picture {
    size_t n_tokens;
    const int32_t *rows, *columns;
};

// mid [n_tokens][n_embd]; may be `x`. MEMORY.
enum wl_status tower_attention(const struct tower_shape *shape, const struct tower_weights *weights,
                               const struct tower_picture *picture, const float *x, float *mid,
                               struct wl_err *err);
// h [n_tokens][n_ff]. MEMORY.
enum wl_status tower_ffn_inner(const struct tower_shape *shape, const struct tower_weights *weights,
                               size_t n_tokens, const float *mid, float *h, struct wl_err *err);
// y = mid + Wd h + bd; `y` may be `mid`. MEMORY.
enum wl_status tower_ffn_out(const struct tower_shape *shape, const struct tower_weights *weights,
                             size_t n_tokens, const float *mid, const float *h, float *y,
                             struct wl_err *err);

#endif
