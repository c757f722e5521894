#include "compress/back.h"

#include <cblas.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compress/back_parts.h"

// ---- memory ----

static float *grow(float **memory, size_t *n_floats, uint64_t wanted, struct wl_err *err) {
    if (wanted > *n_floats || !*memory) {
        free(*memory);
        *memory = wanted <= PTRDIFF_MAX / sizeof(float)
                      ? malloc((size_t)(wanted + 1) * sizeof(float))
                      : NULL;
        *n_floats = *memory ? (size_t)wanted : 0;
    }
    if (!*memory) {
        wl_err_set(err, WL_MEMORY, "no memory for %llu states", (unsigned long long)wanted);
    }
    return *memory;
}

float *back_work_take(struct back_work *work, uint64_t n_floats, struct wl_err *err) {
    return grow(&work->memory, &work->n_floats, n_floats, err);
}

void back_work_release(struct back_work *work) {
    free(work->memory);
    *work = (struct back_work){0};
}

void back_states_release(struct back_states *states) {
    free(states->memory);
    *states = (struct back_states){0};
}

struct widths {
    size_t embd, heads, kv, ff;
};

static struct widths widths_of(const struct block_shape *shape) {
    return (struct widths){shape->n_embd, (size_t)shape->n_head * shape->head_dim,
                           (size_t)shape->n_head_kv * shape->head_dim, shape->n_ff};
}

uint64_t back_states_floats(const struct block_shape *shape, size_t n_tokens) {
    uint64_t heads = (uint64_t)shape->n_head * shape->head_dim;
    uint64_t kv = (uint64_t)shape->n_head_kv * shape->head_dim;
    if (heads > INT_MAX || kv > INT_MAX || shape->n_embd > INT_MAX || shape->n_ff > INT_MAX ||
        n_tokens > INT_MAX) {
        return UINT64_MAX; // beyond what BLAS counts
    }
    uint64_t width = 5 * (uint64_t)shape->n_embd + 3 * heads + 3 * kv + 3 * (uint64_t)shape->n_ff;
    return width > UINT64_MAX / (n_tokens + 1) ? UINT64_MAX : width * n_tokens;
}

static float *carve(float **next, size_t n_rows, size_t width) {
    float *at = *next;
    *next += n_rows * width;
    return at;
}

static enum wl_status lay_out(struct back_states *s, const struct block_shape *shape,
                              const struct block_weights *weights, size_t n, struct wl_err *err) {
    struct widths w = widths_of(shape);
    float *next = grow(&s->memory, &s->n_floats, back_states_floats(shape, n), err);
    if (!next) {
        return WL_MEMORY;
    }
    s->u = carve(&next, n, w.embd);
    s->q = carve(&next, n, w.heads);
    s->k = carve(&next, n, w.kv);
    s->v = carve(&next, n, w.kv);
    s->raw_q = weights->q_norm ? carve(&next, n, w.heads) : s->q;
    s->raw_k = weights->k_norm ? carve(&next, n, w.kv) : s->k;
    s->heads = carve(&next, n, w.heads);
    s->attn = weights->attn_post_norm ? carve(&next, n, w.embd) : NULL;
    s->mid = carve(&next, n, w.embd);
    s->ffn_u = carve(&next, n, w.embd);
    s->gate = carve(&next, n, w.ff);
    s->up = carve(&next, n, w.ff);
    s->h = carve(&next, n, w.ff);
    s->ffn = weights->ffn_post_norm ? carve(&next, n, w.embd) : NULL;
    return WL_OK;
}

static size_t longest(const struct block_batch *batch) {
    size_t most = 0;
    for (size_t i = 0; i < batch->n_sequences; i++) {
        most = batch->lengths[i] > most ? batch->lengths[i] : most;
    }
    return most;
}

// ---- forth ----

// out = x + norm(w in + bias); `raw` is what is normed, NULL without norm.
static void return_to_stream(const struct block_return *back, size_t n, const float *in,
                             const float *x, float *raw, float *out) {
    int n_embd = (int)back->n_embd, n_in = (int)back->n_in;
    if (raw) {
        block_multiply(in, n, back->w, back->bias, back->n_in, back->n_embd, raw);
        block_norm(raw, n, back->n_embd, back->rms_eps, back->post_norm, out);
        cblas_saxpy(n_embd * (int)n, 1, x, 1, out, 1);
        return;
    }
    memcpy(out, x, n * back->n_embd * sizeof *out);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, n_embd, n_in, 1, in, n_in, back->w,
                n_in, 1, out, n_embd);
    for (size_t row = 0; back->bias && row < n; row++) {
        cblas_saxpy(n_embd, 1, back->bias, 1, out + row * back->n_embd, 1);
    }
}

// Queries or keys: `raw` is before the norm, which may be no other place.
static void make_turned(const struct block_shape *shape, const struct block_turns *turns, size_t n,
                        const float *norm, size_t n_heads, const float *raw, float *out) {
    if (norm) {
        block_norm(raw, n * n_heads, shape->head_dim, shape->rms_eps, norm, out);
    }
    block_turns_apply(turns, shape, n, n_heads, out);
}

static struct block_return attention_return(const struct block_shape *shape,
                                            const struct block_weights *weights) {
    return (struct block_return){.w = weights->wo,
                                 .bias = weights->bo,
                                 .post_norm = weights->attn_post_norm,
                                 .n_in = (size_t)shape->n_head * shape->head_dim,
                                 .n_embd = shape->n_embd,
                                 .rms_eps = shape->rms_eps};
}

static struct block_return ffn_return(const struct block_shape *shape,
                                      const struct block_weights *weights) {
    return (struct block_return){.w = weights->down,
                                 .bias = weights->down_bias,
                                 .post_norm = weights->ffn_post_norm,
                                 .n_in = shape->n_ff,
                                 .n_embd = shape->n_embd,
                                 .rms_eps = shape->rms_eps};
}

static void attend(const struct block_shape *shape, const struct block_weights *weights,
                   const struct block_batch *batch, const struct block_turns *turns, const float *x,
                   struct back_states *s, float *scores) {
    struct widths w = widths_of(shape);
    size_t n = batch->n_tokens;
    block_norm(x, n, w.embd, shape->rms_eps, weights->attn_norm, s->u);
    block_multiply(s->u, n, weights->wq, weights->bq, w.embd, w.heads, s->raw_q);
    block_multiply(s->u, n, weights->wk, weights->bk, w.embd, w.kv, s->raw_k);
    block_multiply(s->u, n, weights->wv, weights->bv, w.embd, w.kv, s->v);
    make_turned(shape, turns, n, weights->q_norm, shape->n_head, s->raw_q, s->q);
    make_turned(shape, turns, n, weights->k_norm, shape->n_head_kv, s->raw_k, s->k);
    for (size_t i = 0, token = 0; i < batch->n_sequences; i++) {
        block_heads_attend(shape, batch->lengths[i], s->q + token * w.heads, s->k + token * w.kv,
                           s->v + token * w.kv, scores, s->heads + token * w.heads);
        token += batch->lengths[i];
    }
    struct block_return back = attention_return(shape, weights);
    return_to_stream(&back, n, s->heads, x, s->attn, s->mid);
}

enum wl_status back_forth(const struct block_shape *shape, const struct block_weights *weights,
                          struct back_batch *batch, const float *x, struct back_states *states,
                          struct back_work *work, float *y, struct wl_err *err) {
    struct widths w = widths_of(shape);
    size_t n = batch->batch.n_tokens;
    struct block_turns turns;
    float *scores = back_work_take(work, (uint64_t)BLOCK_QUERIES * longest(&batch->batch), err);
    enum wl_status status = scores ? lay_out(states, shape, weights, n, err) : WL_MEMORY;
    if (status != WL_OK || (status = back_turns(batch, shape, &turns, err))) {
        return status;
    }
    attend(shape, weights, &batch->batch, &turns, x, states, scores);
    block_norm(states->mid, n, w.embd, shape->rms_eps, weights->ffn_norm, states->ffn_u);
    block_multiply(states->ffn_u, n, weights->gate, NULL, w.embd, w.ff, states->gate);
    block_multiply(states->ffn_u, n, weights->up, NULL, w.embd, w.ff, states->up);
    back_act_forth(shape->is_gelu, n * w.ff, states->gate, states->up, states->h);
    struct block_return back = ffn_return(shape, weights);
    return_to_stream(&back, n, states->h, states->mid, states->ffn, y);
    return WL_OK;
}

// ---- back ----

struct pass {
    const struct block_shape *shape;
    const struct block_weights *weights;
    const struct block_batch *batch;
    const struct block_turns *turns;
    const float *x;
    struct back_states *states;
    const struct back_gradients *gradients;
    size_t n;
    struct widths w;
    float *dy;          // [n][n_embd] what comes back along the stream
    float *added, *du;  // [n][n_embd]
    float *dheads, *dq; // [n][heads]
    float *dk, *dv;     // [n][kv]
    float *dh;          // [n][n_ff]
    float *scores;
};

static void add_rows(const float *dy, size_t n, size_t width, float *sum) {
    for (size_t row = 0; sum && row < n; row++) {
        cblas_saxpy((int)width, 1, dy + row * width, 1, sum, 1);
    }
}

static void tell(const struct pass *p, enum back_matrix matrix, const float *x, const float *dy) {
    if (p->gradients->on_matrix) {
        p->gradients->on_matrix(p->gradients->context, matrix, p->n, x, dy);
    }
}

// dx = beta dx + dy w.
static void through(const struct pass *p, const float *dy, const float *w, size_t n_out,
                    size_t n_in, float beta, float *dx) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)p->n, (int)n_in, (int)n_out, 1, dy,
                (int)n_out, w, (int)n_in, beta, dx, (int)n_in);
}

// From the stream's gradient to that of the matrix that adds to it.
static const float *leave_stream(const struct pass *p, const float *raw, const float *post_norm,
                                 enum back_vector norm, enum back_vector bias) {
    float *const *vectors = p->gradients->vectors;
    const float *out = p->dy;
    if (raw) {
        memset(p->added, 0, p->n * p->w.embd * sizeof *p->added);
        back_norm(raw, p->n, p->w.embd, p->shape->rms_eps, post_norm, p->dy, vectors[norm],
                  p->added);
        out = p->added;
    }
    add_rows(out, p->n, p->w.embd, vectors[bias]);
    return out;
}

static void back_ffn(struct pass *p) {
    const struct block_weights *weights = p->weights;
    struct back_states *s = p->states;
    size_t embd = p->w.embd, ff = p->w.ff;
    const float *out =
        leave_stream(p, s->ffn, weights->ffn_post_norm, BACK_FFN_POST_NORM, BACK_DOWN_BIAS);
    tell(p, BACK_DOWN, s->h, out);
    through(p, out, weights->down, embd, ff, 0, p->dh);
    back_act(p->shape->is_gelu, p->n * ff, s->gate, s->up, p->dh);
    tell(p, BACK_GATE, s->ffn_u, s->gate);
    tell(p, BACK_UP, s->ffn_u, s->up);
    through(p, s->gate, weights->gate, ff, embd, 0, p->du);
    through(p, s->up, weights->up, ff, embd, 1, p->du);
    back_norm(s->mid, p->n, embd, p->shape->rms_eps, weights->ffn_norm, p->du,
              p->gradients->vectors[BACK_FFN_NORM], p->dy);
}

// In place: the gradient of queries or keys as they are compared becomes that of the matrix's
// output. `raw_again` is scratch of the same size.
static void back_turned(const struct pass *p, const float *raw, const float *norm,
                        enum back_vector which, size_t n_heads, float *scratch, float *dq) {
    size_t n = p->n * n_heads, dim = p->shape->head_dim;
    back_turns_apply(p->turns, p->shape, p->n, n_heads, dq);
    if (norm) {
        memcpy(scratch, dq, n * dim * sizeof *dq);
        memset(dq, 0, n * dim * sizeof *dq);
        back_norm(raw, n, dim, p->shape->rms_eps, norm, scratch, p->gradients->vectors[which], dq);
    }
}

static void back_heads(struct pass *p) {
    const struct block_batch *batch = p->batch;
    memset(p->dk, 0, p->n * p->w.kv * sizeof *p->dk);
    memset(p->dv, 0, p->n * p->w.kv * sizeof *p->dv);
    for (size_t i = 0, token = 0; i < batch->n_sequences; i++) {
        back_heads_attend(p->shape, batch->lengths[i], p->states, token, p->dheads, p->scores,
                          p->dq, p->dk, p->dv);
        token += batch->lengths[i];
    }
}

static void back_attention(struct pass *p) {
    const struct block_weights *weights = p->weights;
    const struct back_states *s = p->states;
    float *const *vectors = p->gradients->vectors;
    const float *out =
        leave_stream(p, s->attn, weights->attn_post_norm, BACK_ATTN_POST_NORM, BACK_O_BIAS);
    tell(p, BACK_O, s->heads, out);
    through(p, out, weights->wo, p->w.embd, p->w.heads, 0, p->dheads);
    back_heads(p);
    back_turned(p, s->raw_q, weights->q_norm, BACK_Q_NORM, p->shape->n_head, p->dheads, p->dq);
    back_turned(p, s->raw_k, weights->k_norm, BACK_K_NORM, p->shape->n_head_kv, p->dheads, p->dk);
    add_rows(p->dq, p->n, p->w.heads, vectors[BACK_Q_BIAS]);
    add_rows(p->dk, p->n, p->w.kv, vectors[BACK_K_BIAS]);
    add_rows(p->dv, p->n, p->w.kv, vectors[BACK_V_BIAS]);
    tell(p, BACK_Q, s->u, p->dq);
    tell(p, BACK_K, s->u, p->dk);
    tell(p, BACK_V, s->u, p->dv);
    through(p, p->dq, weights->wq, p->w.heads, p->w.embd, 0, p->du);
    through(p, p->dk, weights->wk, p->w.kv, p->w.embd, 1, p->du);
    through(p, p->dv, weights->wv, p->w.kv, p->w.embd, 1, p->du);
    back_norm(p->x, p->n, p->w.embd, p->shape->rms_eps, weights->attn_norm, p->du,
              vectors[BACK_ATTN_NORM], p->dy);
}

static enum wl_status share_out(struct pass *p, struct back_work *work, struct wl_err *err) {
    uint64_t width = 2 * (uint64_t)p->w.embd + 2 * (uint64_t)p->w.heads + 2 * (uint64_t)p->w.kv +
                     (uint64_t)p->w.ff;
    size_t scores = back_heads_floats(longest(p->batch));
    float *next = back_work_take(work, width * p->n + scores, err);
    if (!next) {
        return WL_MEMORY;
    }
    p->added = carve(&next, p->n, p->w.embd);
    p->du = carve(&next, p->n, p->w.embd);
    p->dheads = carve(&next, p->n, p->w.heads);
    p->dq = carve(&next, p->n, p->w.heads);
    p->dk = carve(&next, p->n, p->w.kv);
    p->dv = carve(&next, p->n, p->w.kv);
    p->dh = carve(&next, p->n, p->w.ff);
    p->scores = next;
    return WL_OK;
}

enum wl_status back_block(const struct block_shape *shape, const struct block_weights *weights,
                          struct back_batch *batch, const float *x, struct back_states *states,
                          const float *dy, const struct back_gradients *gradients,
                          struct back_work *work, float *dx, struct wl_err *err) {
    struct block_turns turns;
    struct pass pass = {.shape = shape,
                        .weights = weights,
                        .batch = &batch->batch,
                        .turns = &turns,
                        .x = x,
                        .states = states,
                        .gradients = gradients,
                        .n = batch->batch.n_tokens,
                        .w = widths_of(shape),
                        .dy = dx};
    enum wl_status status = back_turns(batch, shape, &turns, err);
    if (status == WL_OK) {
        status = share_out(&pass, work, err);
    }
    if (status != WL_OK) {
        return status;
    }
    if (dx != dy) {
        memcpy(dx, dy, pass.n * pass.w.embd * sizeof *dx);
    }
    back_ffn(&pass);
    back_attention(&pass);
    return WL_OK;
}
