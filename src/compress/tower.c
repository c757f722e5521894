#include "compress/tower.h"

#include <math.h>
#include <stdlib.h>

#include "compress/block_parts.h"
#include "compress/tower_parts.h"

// 0.5 x (1 + tanh(z)) = x / (1 + e^(-2 z)): all three are x times a sigmoid.
static const float GELU_OUTER = 1.5957691216F; // 2 sqrt(2 / pi)
static const float GELU_INNER = 0.044715F;
static const float QUICK = 1.702F;

static float inside(enum tower_act act, float x) {
    switch (act) {
    case TOWER_GELU: return GELU_OUTER * x * (1 + GELU_INNER * x * x);
    case TOWER_QUICK_GELU: return QUICK * x;
    case TOWER_SILU: break;
    }
    return x;
}

void tower_activate(enum tower_act act, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] = x[i] / (1 + expf(-inside(act, x[i])));
    }
}

static float inside_slope(enum tower_act act, float x) {
    switch (act) {
    case TOWER_GELU: return GELU_OUTER * (1 + 3 * GELU_INNER * x * x);
    case TOWER_QUICK_GELU: return QUICK;
    case TOWER_SILU: break;
    }
    return 1;
}

// From |x| = 11 on the sigmoid is 0 or 1 to the last bit, and its slope may overflow before it is
// multiplied by 0.
void tower_activate_both(enum tower_act act, float *x, float *slope, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float bounded = act == TOWER_GELU ? fminf(fmaxf(x[i], -11), 11) : x[i];
        float s = 1 / (1 + expf(-inside(act, bounded))), value = x[i] * s;
        slope[i] = s + value * (1 - s) * inside_slope(act, bounded);
        x[i] = value;
    }
}

void tower_norm(const float *x, size_t n_rows, size_t width, float eps, const float *factor,
                const float *bias, float *y) {
    for (size_t row = 0; row < n_rows; row++) {
        const float *from = x + row * width;
        float *to = y + row * width;
        double sum = 0, squares = 0;
        for (size_t i = 0; i < width; i++) {
            sum += (double)from[i];
        }
        double mean = sum / (double)width;
        for (size_t i = 0; i < width; i++) {
            double off = (double)from[i] - mean;
            squares += off * off;
        }
        double scale = 1 / sqrt(squares / (double)width + (double)eps);
        for (size_t i = 0; i < width; i++) {
            float value = (float)(((double)from[i] - mean) * scale);
            to[i] = value * factor[i] + (bias ? bias[i] : 0);
        }
    }
}

enum wl_status tower_attention(const struct tower_shape *shape, const struct tower_weights *weights,
                               const struct tower_picture *picture, const float *x, float *mid,
                               struct wl_err *err) {
    size_t n = picture->n_tokens, n_embd = shape->n_embd;
    size_t width = (size_t)shape->n_head * shape->head_dim;
    float *u = block_floats(n, n_embd, err), *q = block_floats(n, width, err);
    float *k = block_floats(n, width, err), *v = block_floats(n, width, err);
    float *scores = block_floats(TOWER_QUERIES, n, err), *heads = block_floats(n, width, err);
    enum wl_status status = u && q && k && v && scores && heads ? WL_OK : WL_MEMORY;
    if (status == WL_OK) {
        tower_norm(x, n, n_embd, shape->eps, weights->ln1, weights->ln1_bias, u);
        block_multiply(u, n, weights->wq, weights->bq, n_embd, width, q);
        block_multiply(u, n, weights->wk, weights->bk, n_embd, width, k);
        block_multiply(u, n, weights->wv, weights->bv, n_embd, width, v);
        status = shape->has_rope ? tower_turn(shape, picture, q, k, err) : WL_OK;
    }
    if (status == WL_OK) {
        tower_attend(shape, n, q, k, v, scores, heads);
        block_multiply(heads, n, weights->wo, weights->bo, width, n_embd, u);
        for (size_t i = 0; i < n * n_embd; i++) {
            mid[i] = x[i] + u[i];
        }
    }
    free(u);
    free(q);
    free(k);
    free(v);
    free(scores);
    free(heads);
    return status;
}

static size_t rows_at(size_t first, size_t n) {
    return n - first < BLOCK_ROWS ? n - first : BLOCK_ROWS;
}

enum wl_status tower_ffn_inner(const struct tower_shape *shape, const struct tower_weights *weights,
                               size_t n_tokens, const float *mid, float *h, struct wl_err *err) {
    size_t n_embd = shape->n_embd, n_ff = shape->n_ff;
    float *u = block_floats(rows_at(0, n_tokens), n_embd, err);
    if (!u) {
        return WL_MEMORY;
    }
    for (size_t first = 0; first < n_tokens; first += BLOCK_ROWS) {
        size_t n = rows_at(first, n_tokens);
        float *out = h + first * n_ff;
        tower_norm(mid + first * n_embd, n, n_embd, shape->eps, weights->ln2, weights->ln2_bias, u);
        block_multiply(u, n, weights->up, weights->up_bias, n_embd, n_ff, out);
        tower_activate(shape->act, out, n * n_ff);
    }
    free(u);
    return WL_OK;
}

enum wl_status tower_ffn_out(const struct tower_shape *shape, const struct tower_weights *weights,
                             size_t n_tokens, const float *mid, const float *h, float *y,
                             struct wl_err *err) {
    size_t n_embd = shape->n_embd, n_ff = shape->n_ff;
    struct block_return back = {
        .w = weights->down, .bias = weights->down_bias, .n_in = n_ff, .n_embd = n_embd};
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
