#include <math.h>
#include <stdlib.h>

#include "compress/block_parts.h"

// 0.5 x (1 + tanh(z)) = x / (1 + e^(-2 z)), so that both are x times a sigmoid.
static const float GELU_OUTER = 1.5957691216F; // 2 sqrt(2 / pi)
static const float GELU_INNER = 0.044715F;

static void act(bool is_gelu, size_t n, const float *gate, float *h) {
    for (size_t i = 0; i < n; i++) {
        float x = gate[i];
        float z = is_gelu ? GELU_OUTER * x * (1 + GELU_INNER * x * x) : x;
        h[i] *= x / (1 + expf(-z));
    }
}

static size_t rows_at(size_t first, size_t n) {
    return n - first < BLOCK_ROWS ? n - first : BLOCK_ROWS;
}

enum wl_status block_ffn_inner(const struct block_shape *shape, const struct block_weights *weights,
                               size_t n_tokens, const float *mid, float *u, float *h,
                               struct wl_err *err) {
    size_t n_embd = shape->n_embd, n_ff = shape->n_ff, most = rows_at(0, n_tokens);
    float *gate = block_floats(most, n_ff, err);
    float *normed = u ? NULL : block_floats(most, n_embd, err);
    enum wl_status status = gate && (u || normed) ? WL_OK : WL_MEMORY;
    for (size_t first = 0; !status && first < n_tokens; first += BLOCK_ROWS) {
        size_t n = rows_at(first, n_tokens);
        float *in = u ? u + first * n_embd : normed, *out = h + first * n_ff;
        block_norm(mid + first * n_embd, n, n_embd, shape->rms_eps, weights->ffn_norm, in);
        block_multiply(in, n, weights->gate, NULL, n_embd, n_ff, gate);
        block_multiply(in, n, weights->up, NULL, n_embd, n_ff, out);
        act(shape->is_gelu, n * n_ff, gate, out);
    }
    free(gate);
    free(normed);
    return status;
}

enum wl_status block_ffn_out(const struct block_shape *shape, const struct block_weights *weights,
                             size_t n_tokens, const float *mid, const float *h, float *y,
                             struct wl_err *err) {
    size_t n_embd = shape->n_embd, n_ff = shape->n_ff;
    struct block_return back = {.w = weights->down,
                                .bias = weights->down_bias,
                                .post_norm = weights->ffn_post_norm,
                                .n_in = n_ff,
                                .n_embd = n_embd,
                                .rms_eps = shape->rms_eps};
    float *scratch = block_floats(rows_at(0, n_tokens), n_embd, err);
    if (!scratch) {
        return WL_MEMORY;
    }
    for (size_t first = 0; first < n_tokens; first += BLOCK_ROWS) {
        block_return_add(&back, rows_at(first, n_tokens), h + first * n_ff, mid + first * n_embd,
                         scratch, y + first * n_embd);
    }
    free(scratch);
    return WL_OK;
}
