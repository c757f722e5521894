// The small steps of a block, backwards: norm, rotation, activation.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress/back_parts.h"

void back_norm_forth(const float *x, size_t n_rows, size_t width, float eps, const float *factor,
                     float *y) {
    block_norm(x, n_rows, width, eps, factor, y);
}

// Of x x and of x dy factor; some sums side by side, which the compiler computes at once.
static void sum_products(const float *x, const float *dy, const float *factor, size_t n,
                         double *squares, double *along) {
    enum { LANES = 8 };
    double a[LANES] = {0}, b[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            a[k] += (double)x[i + k] * (double)x[i + k];
            b[k] += (double)(factor[i + k] * dy[i + k]) * (double)x[i + k];
        }
    }
    for (; i < n; i++) {
        a[0] += (double)x[i] * (double)x[i];
        b[0] += (double)(factor[i] * dy[i]) * (double)x[i];
    }
    *squares = *along = 0;
    for (size_t k = 0; k < LANES; k++) {
        *squares += a[k];
        *along += b[k];
    }
}

// y_i = x_i r f_i, r = (mean of x^2 + eps)^(-1/2): dx_i = r f_i dy_i - x_i r^3 mean of (f dy x).
void back_norm(const float *x, size_t n_rows, size_t width, float eps, const float *factor,
               const float *dy, float *dfactor, float *dx) {
    for (size_t row = 0; row < n_rows; row++) {
        const float *from = x + row * width, *by = dy + row * width;
        float *to = dx + row * width;
        double squares, along;
        sum_products(from, by, factor, width, &squares, &along);
        double inverse = 1 / sqrt(squares / (double)width + (double)eps);
        float scale = (float)inverse;
        float less = (float)(inverse * inverse * inverse * along / (double)width);
        for (size_t i = 0; i < width; i++) {
            to[i] += scale * factor[i] * by[i] - less * from[i];
        }
        for (size_t i = 0; dfactor && i < width; i++) {
            dfactor[i] += scale * from[i] * by[i];
        }
    }
}

// ---- rotation ----

static bool is_same_rotation(const struct block_shape *a, const struct block_shape *b) {
    return a->head_dim == b->head_dim && a->rope_base == b->rope_base &&
           a->rope_scale == b->rope_scale && a->rope_factors == b->rope_factors &&
           memcmp(a->rope_sections, b->rope_sections, sizeof a->rope_sections) == 0;
}

static void release_angles(struct back_angles *angles) {
    free(angles->cosine);
    free(angles->sine);
    *angles = (struct back_angles){0};
}

void back_batch_release(struct back_batch *batch) {
    for (size_t i = 0; i < 2; i++) {
        release_angles(&batch->angles[i]);
    }
}

enum wl_status back_turns(struct back_batch *batch, const struct block_shape *shape,
                          struct block_turns *out, struct wl_err *err) {
    struct back_angles *angles = batch->angles;
    *out = (struct block_turns){0};
    for (size_t i = 0; i < 2; i++) {
        if (angles[i].cosine && is_same_rotation(&angles[i].of, shape)) {
            out->cosine = angles[i].cosine;
            out->sine = angles[i].sine;
            return WL_OK;
        }
    }
    enum wl_status status = block_turns_init(out, shape, batch->batch.n_tokens, err);
    if (status != WL_OK) {
        return status;
    }
    block_turns_set(out, shape, &batch->batch, 0, batch->batch.n_tokens);
    free(out->frequency);
    out->frequency = NULL;
    angles += batch->next_angles;
    batch->next_angles = 1 - batch->next_angles;
    release_angles(angles);
    *angles = (struct back_angles){*shape, out->cosine, out->sine};
    return WL_OK;
}

static void turn_back(const float *cosine, const float *sine, size_t n_pairs, size_t step,
                      size_t partner, float *x) {
    for (size_t pair = 0; pair < n_pairs; pair++) {
        float a = x[pair * step], b = x[pair * step + partner];
        x[pair * step] = a * cosine[pair] + b * sine[pair];
        x[pair * step + partner] = b * cosine[pair] - a * sine[pair];
    }
}

void back_turns_apply(const struct block_turns *turns, const struct block_shape *shape,
                      size_t n_tokens, size_t n_heads, float *dx) {
    size_t n_pairs = shape->head_dim / 2;
    size_t step = shape->rope == BLOCK_ROPE_PAIRS ? 2 : 1;
    size_t partner = shape->rope == BLOCK_ROPE_PAIRS ? 1 : n_pairs;
    for (size_t row = 0; row < n_tokens * n_heads; row++) {
        size_t at = row / n_heads * n_pairs;
        turn_back(turns->cosine + at, turns->sine + at, n_pairs, step, partner,
                  dx + row * shape->head_dim);
    }
}

// ---- activation: x s(z(x)) with the logistic s, as in block_ffn.c ----

static const float GELU_OUTER = 1.5957691216F; // 2 sqrt(2 / pi)
static const float GELU_INNER = 0.044715F;
static const float GELU_FAR = 11; // from here on s is 0 or 1 to the last bit

void back_act_forth(bool is_gelu, size_t n, const float *gate, const float *up, float *h) {
    for (size_t i = 0; i < n; i++) {
        float x = gate[i];
        float z = is_gelu ? GELU_OUTER * x * (1 + GELU_INNER * x * x) : x;
        h[i] = up[i] * x / (1 + block_exp(-z));
    }
}

void back_act(bool is_gelu, size_t n, float *gate, float *up, const float *dh) {
    for (size_t i = 0; i < n; i++) {
        float x = gate[i], z = x, z_slope = 1;
        if (is_gelu) {
            float inside = x > GELU_FAR ? GELU_FAR : x < -GELU_FAR ? -GELU_FAR : x;
            float square = inside * inside;
            z = GELU_OUTER * inside * (1 + GELU_INNER * square);
            z_slope = GELU_OUTER * (1 + 3 * GELU_INNER * square);
        }
        float s = 1 / (1 + block_exp(-z)), value = x * s;
        gate[i] = dh[i] * up[i] * (s + value * (1 - s) * z_slope);
        up[i] = dh[i] * value;
    }
}
