// A random decoder block for tests, and the same block written down plainly: in double, one token,
// head and key at a time.
#ifndef WATTLAW_TESTS_BLOCK_PLAIN_H
#define WATTLAW_TESTS_BLOCK_PLAIN_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compress/block.h"

// A block with random weights and a batch for it; what is optional is there, and used if `shape`
// and `weights` say so.
struct sample {
    struct block_shape shape;
    struct block_weights weights;
    struct block_batch batch;
    struct rng rng;
    float *x;
    float *owned[24];
    size_t n_owned;
    int32_t *positions;
    float factors[64];
};

static float *draw(struct sample *sample, size_t n, double mean, double sd) {
    float *at = calloc(n, sizeof *at);
    assert_non_null(at);
    for (size_t i = 0; i < n; i++) {
        at[i] = (float)(mean + sd * rng_normal(&sample->rng));
    }
    sample->owned[sample->n_owned++] = at;
    return at;
}

static float *draw_matrix(struct sample *sample, size_t n_out, size_t n_in) {
    return draw(sample, n_out * n_in, 0, 1 / sqrt((double)n_in));
}

static void draw_weights(struct sample *sample) {
    const struct block_shape *shape = &sample->shape;
    size_t width = (size_t)shape->n_head * shape->head_dim;
    size_t kv_width = (size_t)shape->n_head_kv * shape->head_dim;
    size_t n_embd = shape->n_embd, n_ff = shape->n_ff;
    sample->weights = (struct block_weights){.attn_norm = draw(sample, n_embd, 1, 0.3),
                                             .wq = draw_matrix(sample, width, n_embd),
                                             .wk = draw_matrix(sample, kv_width, n_embd),
                                             .wv = draw_matrix(sample, kv_width, n_embd),
                                             .bq = draw(sample, width, 0, 0.5),
                                             .bk = draw(sample, kv_width, 0, 0.5),
                                             .bv = draw(sample, kv_width, 0, 0.5),
                                             .q_norm = draw(sample, shape->head_dim, 1, 0.3),
                                             .k_norm = draw(sample, shape->head_dim, 1, 0.3),
                                             .wo = draw_matrix(sample, n_embd, width),
                                             .bo = draw(sample, n_embd, 0, 0.5),
                                             .attn_post_norm = draw(sample, n_embd, 1, 0.3),
                                             .ffn_norm = draw(sample, n_embd, 1, 0.3),
                                             .gate = draw_matrix(sample, n_ff, n_embd),
                                             .up = draw_matrix(sample, n_ff, n_embd),
                                             .down = draw_matrix(sample, n_embd, n_ff),
                                             .down_bias = draw(sample, n_embd, 0, 0.5),
                                             .ffn_post_norm = draw(sample, n_embd, 1, 0.3)};
}

// Positions as of one picture after some text: 0 counts on, 1 and 2 are rows and columns.
static void draw_batch(struct sample *sample, const uint32_t *lengths, size_t n_sequences) {
    size_t n = 0;
    for (size_t i = 0; i < n_sequences; i++) {
        n += lengths[i];
    }
    sample->positions = calloc(4 * n, sizeof *sample->positions);
    assert_non_null(sample->positions);
    for (size_t i = 0, token = 0; i < n_sequences; i++) {
        for (uint32_t at = 0; at < lengths[i]; at++, token++) {
            sample->positions[token] = (int32_t)(3 + at);
            sample->positions[n + token] = (int32_t)(3 + at / 4);
            sample->positions[2 * n + token] = (int32_t)(3 + at % 4);
            sample->positions[3 * n + token] = (int32_t)(at * 2 % 7);
        }
    }
    sample->batch = (struct block_batch){n, lengths, n_sequences, sample->positions};
    sample->x = draw(sample, n * sample->shape.n_embd, 0, 1);
}

// head_dim is not n_embd / n_head.
static struct sample sample_of(uint32_t n_head, uint32_t n_head_kv, const uint32_t *lengths,
                               size_t n_sequences) {
    struct sample sample = {.shape = {.n_embd = 24,
                                      .n_head = n_head,
                                      .n_head_kv = n_head_kv,
                                      .head_dim = 12,
                                      .n_ff = 40,
                                      .rms_eps = 1e-3F,
                                      .rope_base = 500,
                                      .rope_scale = 1}};
    rng_seed(&sample.rng, 7 + n_head * 8 + n_head_kv);
    draw_weights(&sample);
    draw_batch(&sample, lengths, n_sequences);
    return sample;
}

static void sample_release(struct sample *sample) {
    for (size_t i = 0; i < sample->n_owned; i++) {
        free(sample->owned[i]);
    }
    free(sample->positions);
}

// ---- the same, plainly ----

static void plain_multiply(const float *w, const float *bias, size_t n_out, size_t n_in,
                           const double *x, double *y) {
    for (size_t o = 0; o < n_out; o++) {
        y[o] = bias ? bias[o] : 0;
        for (size_t i = 0; i < n_in; i++) {
            y[o] += (double)w[o * n_in + i] * x[i];
        }
    }
}

static void plain_norm(const float *factor, double eps, size_t n, double *x) {
    double mean = 0;
    for (size_t i = 0; i < n; i++) {
        mean += x[i] * x[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        x[i] *= (double)factor[i] / sqrt(mean + eps);
    }
}

static void plain_turn(const struct sample *sample, size_t token, double *head) {
    const struct block_shape *shape = &sample->shape;
    const uint32_t *of = shape->rope_sections;
    size_t half = shape->head_dim / 2, n = sample->batch.n_tokens;
    for (size_t i = 0; i < half; i++) {
        size_t section = 0;
        if (of[0] + of[1] + of[2] + of[3] > 0) {
            section = (size_t)(i >= of[0]) + (i >= of[0] + of[1]) + (i >= of[0] + of[1] + of[2]);
        }
        double angle = sample->positions[section * n + token];
        angle *= (double)shape->rope_scale / pow(shape->rope_base, (double)i / (double)half);
        angle /= shape->rope_factors ? (double)shape->rope_factors[i] : 1;
        size_t real = shape->rope == BLOCK_ROPE_PAIRS ? 2 * i : i;
        size_t imaginary = shape->rope == BLOCK_ROPE_PAIRS ? 2 * i + 1 : i + half;
        double a = head[real], b = head[imaginary];
        head[real] = a * cos(angle) - b * sin(angle);
        head[imaginary] = b * cos(angle) + a * sin(angle);
    }
}

// q, k and v of all tokens.
struct plain {
    double *q, *k, *v;
};

static void plain_project(const struct sample *sample, size_t token, struct plain *to) {
    const struct block_shape *shape = &sample->shape;
    const struct block_weights *weights = &sample->weights;
    size_t n_embd = shape->n_embd, head_dim = shape->head_dim;
    size_t width = shape->n_head * head_dim, kv_width = shape->n_head_kv * head_dim;
    double u[64];
    for (size_t i = 0; i < n_embd; i++) {
        u[i] = sample->x[token * n_embd + i];
    }
    plain_norm(weights->attn_norm, shape->rms_eps, n_embd, u);
    double *q = to->q + token * width, *k = to->k + token * kv_width;
    plain_multiply(weights->wq, weights->bq, width, n_embd, u, q);
    plain_multiply(weights->wk, weights->bk, kv_width, n_embd, u, k);
    plain_multiply(weights->wv, weights->bv, kv_width, n_embd, u, to->v + token * kv_width);
    for (size_t head = 0; head < shape->n_head + shape->n_head_kv; head++) {
        bool is_key = head >= shape->n_head;
        double *at = is_key ? k + (head - shape->n_head) * head_dim : q + head * head_dim;
        const float *norm = is_key ? weights->k_norm : weights->q_norm;
        if (norm) {
            plain_norm(norm, shape->rms_eps, head_dim, at);
        }
        plain_turn(sample, token, at);
    }
}

// What one head of one token sees, of keys from..token; no tricks against overflow: scores are
// small.
static void plain_attend(const struct sample *sample, const struct plain *plain, size_t from,
                         size_t token, size_t head, double *out) {
    const struct block_shape *shape = &sample->shape;
    size_t head_dim = shape->head_dim;
    size_t group = head / (shape->n_head / shape->n_head_kv);
    double scale =
        shape->attention_scale > 0 ? (double)shape->attention_scale : 1 / sqrt((double)head_dim);
    const double *q = plain->q + (token * shape->n_head + head) * head_dim;
    double sum = 0;
    memset(out, 0, head_dim * sizeof *out);
    for (size_t key = from; key <= token; key++) {
        size_t at = (key * shape->n_head_kv + group) * head_dim;
        double score = 0;
        for (size_t i = 0; i < head_dim; i++) {
            score += q[i] * plain->k[at + i];
        }
        double weight = exp(score * scale);
        sum += weight;
        for (size_t i = 0; i < head_dim; i++) {
            out[i] += weight * plain->v[at + i];
        }
    }
    for (size_t i = 0; i < head_dim; i++) {
        out[i] /= sum;
    }
}

static void plain_return(const float *w, const float *bias, const float *post_norm, double eps,
                         size_t n_embd, size_t n_in, const double *in, double *x) {
    double added[64];
    plain_multiply(w, bias, n_embd, n_in, in, added);
    if (post_norm) {
        plain_norm(post_norm, eps, n_embd, added);
    }
    for (size_t i = 0; i < n_embd; i++) {
        x[i] += added[i];
    }
}

// heads [n_tokens][n_head * head_dim], mid [n_tokens][n_embd].
static void plain_attention(const struct sample *sample, double *heads, double *mid) {
    const struct block_shape *shape = &sample->shape;
    const struct block_weights *weights = &sample->weights;
    size_t n = sample->batch.n_tokens, width = (size_t)shape->n_head * shape->head_dim;
    struct plain plain = {calloc(n * width, sizeof(double)), calloc(n * width, sizeof(double)),
                          calloc(n * width, sizeof(double))};
    for (size_t token = 0; token < n; token++) {
        plain_project(sample, token, &plain);
    }
    for (size_t i = 0, token = 0, start = 0; i < sample->batch.n_sequences; i++, start = token) {
        for (; token < start + sample->batch.lengths[i]; token++) {
            size_t from = start;
            while (shape->window && token - from >= shape->window) {
                from++;
            }
            for (size_t head = 0; head < shape->n_head; head++) {
                plain_attend(sample, &plain, from, token, head,
                             heads + token * width + head * shape->head_dim);
            }
            for (size_t j = 0; j < shape->n_embd; j++) {
                mid[token * shape->n_embd + j] = sample->x[token * shape->n_embd + j];
            }
            plain_return(weights->wo, weights->bo, weights->attn_post_norm, shape->rms_eps,
                         shape->n_embd, width, heads + token * width, mid + token * shape->n_embd);
        }
    }
    free(plain.q);
    free(plain.k);
    free(plain.v);
}

static double plain_act(bool is_gelu, double x) {
    return is_gelu ? x / 2 * (1 + tanh(sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)))
                   : x / (1 + exp(-x));
}

// One token: u and h, and y in place of mid.
static void plain_ffn(const struct sample *sample, double *mid, double *u, double *h) {
    const struct block_shape *shape = &sample->shape;
    const struct block_weights *weights = &sample->weights;
    double gate[64];
    memcpy(u, mid, shape->n_embd * sizeof *u);
    plain_norm(weights->ffn_norm, shape->rms_eps, shape->n_embd, u);
    plain_multiply(weights->gate, NULL, shape->n_ff, shape->n_embd, u, gate);
    plain_multiply(weights->up, NULL, shape->n_ff, shape->n_embd, u, h);
    for (size_t i = 0; i < shape->n_ff; i++) {
        h[i] *= plain_act(shape->is_gelu, gate[i]);
    }
    plain_return(weights->down, weights->down_bias, weights->ffn_post_norm, shape->rms_eps,
                 shape->n_embd, shape->n_ff, h, mid);
}

#endif
