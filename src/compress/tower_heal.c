#include "compress/tower_heal.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "compress/block_parts.h"
#include "compress/heal_adam.h"
#include "compress/tower_parts.h"

enum { UP, UP_BIAS, DOWN, DOWN_BIAS, N_TENSORS };
static const double WARM_UP = 0.05, LAST_RATE = 0.05;

struct pass {         // of a batch
    float *u, *rest;  // [batch][n_embd]: inputs; y - target
    float *h, *slope; // [batch][n_ff]: act of what is before it, its derivative, dL/d(before)
};

struct learner {
    struct tower_heal_part *part;
    const struct tower_heal_options *options;
    const float *u, *target;
    size_t n, n_learnt, batch;
    struct rng rng;
    uint32_t *rows;
    size_t n_used;
    struct pass pass;
    struct heal_tensor tensors[N_TENSORS];
    double loss_scale, held_out_size;
};

// ---- one batch, forwards and backwards ----

static enum wl_status pass_init(struct pass *pass, const struct tower_heal_part *part, size_t batch,
                                struct wl_err *err) {
    *pass = (struct pass){.u = block_floats(batch, part->n_embd, err),
                          .rest = block_floats(batch, part->n_embd, err),
                          .h = block_floats(batch, part->n_ff, err),
                          .slope = block_floats(batch, part->n_ff, err)};
    return pass->u && pass->rest && pass->h && pass->slope ? WL_OK : WL_MEMORY;
}

static void pass_release(struct pass *pass) {
    free(pass->u);
    free(pass->rest);
    free(pass->h);
    free(pass->slope);
}

// Sum of |y - target|^2; pass->rest is y - target afterwards. `rows` NULL: the first n.
static double forwards(struct pass *pass, const struct tower_heal_part *part, const float *u,
                       const float *target, const uint32_t *rows, size_t n) {
    size_t n_embd = part->n_embd;
    for (size_t i = 0; i < n; i++) {
        memcpy(pass->u + i * n_embd, u + (rows ? rows[i] : i) * n_embd, n_embd * sizeof *u);
    }
    block_multiply(pass->u, n, part->up, part->up_bias, n_embd, part->n_ff, pass->h);
    tower_activate_both(part->act, pass->h, pass->slope, n * part->n_ff);
    block_multiply(pass->h, n, part->down, part->down_bias, part->n_ff, n_embd, pass->rest);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const float *wanted = target + (rows ? rows[i] : i) * n_embd;
        float *rest = pass->rest + i * n_embd;
        for (size_t k = 0; k < n_embd; k++) {
            rest[k] -= wanted[k];
            sum += (double)rest[k] * (double)rest[k];
        }
    }
    return sum;
}

static void sum_rows(const float *x, size_t n, size_t width, float scale, float *out) {
    memset(out, 0, width * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        cblas_saxpy((int)width, scale, x + i * width, 1, out, 1);
    }
}

// After forwards(): the gradient of scale times the loss.
static void backwards(struct pass *pass, const struct tower_heal_part *part, size_t n, float scale,
                      const struct tower_heal_gradient *out) {
    int n_embd = (int)part->n_embd, n_ff = (int)part->n_ff;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n_embd, n_ff, (int)n, 2 * scale,
                pass->rest, n_embd, pass->h, n_ff, 0, out->down, n_ff);
    sum_rows(pass->rest, n, part->n_embd, 2 * scale, out->down_bias);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, n_ff, n_embd, 2 * scale,
                pass->rest, n_embd, part->down, n_ff, 0, pass->h, n_ff);
    for (size_t i = 0; i < n * part->n_ff; i++) {
        pass->slope[i] *= pass->h[i];
    }
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n_ff, n_embd, (int)n, 1, pass->slope, n_ff,
                pass->u, n_embd, 0, out->up, n_embd);
    sum_rows(pass->slope, n, part->n_ff, 1, out->up_bias);
}

enum wl_status tower_heal_gradient(const struct tower_heal_part *part, const float *u,
                                   const float *target, size_t n, double *loss,
                                   struct tower_heal_gradient *out, struct wl_err *err) {
    struct pass pass;
    enum wl_status status = pass_init(&pass, part, n, err);
    if (status == WL_OK) {
        *loss = forwards(&pass, part, u, target, NULL, n);
        backwards(&pass, part, n, 1, out);
    }
    pass_release(&pass);
    return status;
}

// ---- learning ----

static double size_of(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return sum;
}

static double held_out_error(struct learner *l) {
    size_t width = l->part->n_embd;
    double sum = 0;
    for (size_t from = l->n_learnt, n; from < l->n; from += n) {
        n = l->n - from < l->batch ? l->n - from : l->batch;
        sum += forwards(&l->pass, l->part, l->u + from * width, l->target + from * width, NULL, n);
    }
    return sum / l->held_out_size;
}

static const uint32_t *next_batch(struct learner *l) {
    if (l->n_learnt - l->n_used < l->batch) {
        rng_shuffle_u32(&l->rng, l->rows, l->n_learnt);
        l->n_used = 0;
    }
    const uint32_t *rows = l->rows + l->n_used;
    l->n_used += l->batch;
    return rows;
}

static double rate_at(const struct learner *l, double share) {
    const double pi = 3.14159265358979323846;
    double rate = (double)l->options->rate;
    if (share < WARM_UP) {
        return rate * (share / WARM_UP + 0.01);
    }
    double fallen = (1 + cos(pi * (share - WARM_UP) / (1 - WARM_UP))) / 2;
    return rate * (LAST_RATE + (1 - LAST_RATE) * fallen);
}

// false: the weights have left the range of finite numbers.
static bool learn(struct learner *l, size_t step, double share) {
    struct heal_tensor *t = l->tensors;
    struct tower_heal_gradient gradient = {t[UP].gradient, t[UP_BIAS].gradient, t[DOWN].gradient,
                                           t[DOWN_BIAS].gradient};
    forwards(&l->pass, l->part, l->u, l->target, next_batch(l), l->batch);
    backwards(&l->pass, l->part, l->batch, (float)l->loss_scale, &gradient);
    return heal_adam_step(t, N_TENSORS, step, rate_at(l, share), 0);
}

static void train(struct learner *l, struct tower_heal_result *out) {
    bool is_fine = true, is_best = true;
    out->before = out->after = held_out_error(l);
    for (double share; is_fine && (share = l->options->share_done(l->options->context)) < 1;) {
        is_fine = learn(l, out->n_steps++, share);
        is_best = false;
        if (!is_fine || out->n_steps % l->options->check_every != 0) {
            continue;
        }
        double error = held_out_error(l);
        if (error < out->after) {
            out->after = error;
            is_best = true;
            for (size_t i = 0; i < N_TENSORS; i++) {
                heal_tensor_keep(&l->tensors[i]);
            }
        }
    }
    for (size_t i = 0; i < N_TENSORS && !is_best; i++) {
        heal_tensor_restore(&l->tensors[i]);
    }
}

static enum wl_status open_learner(struct learner *l, struct wl_err *err) {
    struct tower_heal_part *part = l->part;
    rng_seed(&l->rng, l->options->seed);
    l->n_used = l->n_learnt; // the first batch shuffles
    l->rows = calloc(l->n_learnt, sizeof *l->rows);
    if (!l->rows || !heal_tensor_init(&l->tensors[UP], part->up, part->n_ff, part->n_embd) ||
        !heal_tensor_init(&l->tensors[UP_BIAS], part->up_bias, 1, part->n_ff) ||
        !heal_tensor_init(&l->tensors[DOWN], part->down, part->n_embd, part->n_ff) ||
        !heal_tensor_init(&l->tensors[DOWN_BIAS], part->down_bias, 1, part->n_embd)) {
        return wl_err_set(err, WL_MEMORY,
                          "no memory to train a feed-forward part of widths %zu and %zu",
                          part->n_embd, part->n_ff);
    }
    for (size_t i = 0; i < l->n_learnt; i++) {
        l->rows[i] = (uint32_t)i;
    }
    return pass_init(&l->pass, part, l->batch, err);
}

enum wl_status tower_heal(struct tower_heal_part *part, const float *u, const float *target,
                          size_t n, size_t n_held_out, const struct tower_heal_options *options,
                          struct tower_heal_result *out, struct wl_err *err) {
    struct learner l = {.part = part, .options = options, .u = u, .target = target, .n = n};
    *out = (struct tower_heal_result){0};
    if (n > INT_MAX || n_held_out < 1 || n_held_out >= n || options->batch < 1 ||
        options->check_every < 1 || part->n_ff < 1 || part->n_embd < 1) {
        return wl_err_set(err, WL_INPUT, "%zu rows to learn from with %zu held out", n, n_held_out);
    }
    l.n_learnt = n - n_held_out;
    l.batch = options->batch < l.n_learnt ? options->batch : l.n_learnt;
    double size = size_of(target, l.n_learnt * part->n_embd);
    l.held_out_size = size_of(target + l.n_learnt * part->n_embd, n_held_out * part->n_embd);
    if (!(size > 0) || !(l.held_out_size > 0) || !isfinite(size + l.held_out_size)) {
        return wl_err_set(err, WL_INPUT, "the block's part adds nothing, or nothing finite");
    }
    l.loss_scale = (double)l.n_learnt / size / (double)l.batch;
    enum wl_status status = open_learner(&l, err);
    if (status == WL_OK) {
        train(&l, out);
    }
    free(l.rows);
    pass_release(&l.pass);
    for (size_t i = 0; i < N_TENSORS; i++) {
        heal_tensor_release(&l.tensors[i]);
    }
    return status;
}
