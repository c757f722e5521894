#include <stdlib.h>

#include "compress/block_parts.h"

// Whole sequences that go through the matrices together.
struct span {
    size_t first_token, n_tokens;
    size_t first_sequence, n_sequences;
};

// For the longest span (scores: for the longest sequence).
struct scratch {
    float *u; // [n_embd]: the normed input, and later what is added to the stream
    float *q, *k, *v, *heads;
    float *scores;
    struct block_turns turns;
};

// The span after `last`; with no tokens at the end.
static struct span next_span(const struct block_batch *batch, const struct span *last) {
    struct span span = {.first_token = last->first_token + last->n_tokens,
                        .first_sequence = last->first_sequence + last->n_sequences};
    for (size_t i = span.first_sequence; i < batch->n_sequences; i++) {
        size_t length = batch->lengths[i];
        if (span.n_tokens && length > BLOCK_ROWS - span.n_tokens) {
            break;
        }
        span.n_tokens += length;
        span.n_sequences++;
        if (span.n_tokens >= BLOCK_ROWS) {
            break;
        }
    }
    return span;
}

static size_t longest_span(const struct block_batch *batch) {
    size_t longest = 0;
    struct span span = {0};
    while (span = next_span(batch, &span), span.n_tokens) {
        longest = span.n_tokens > longest ? span.n_tokens : longest;
    }
    return longest;
}

static size_t longest_sequence(const struct block_batch *batch) {
    size_t longest = 0;
    for (size_t i = 0; i < batch->n_sequences; i++) {
        longest = batch->lengths[i] > longest ? batch->lengths[i] : longest;
    }
    return longest;
}

static void scratch_release(struct scratch *scratch) {
    free(scratch->u);
    free(scratch->q);
    free(scratch->k);
    free(scratch->v);
    free(scratch->heads);
    free(scratch->scores);
    block_turns_release(&scratch->turns);
}

static enum wl_status scratch_init(struct scratch *scratch, const struct block_shape *shape,
                                   const struct block_batch *batch, bool has_heads,
                                   struct wl_err *err) {
    size_t n = longest_span(batch), longest = longest_sequence(batch);
    uint64_t width = (uint64_t)shape->n_head * shape->head_dim;
    uint64_t kv_width = (uint64_t)shape->n_head_kv * shape->head_dim;
    *scratch = (struct scratch){.u = block_floats(n, shape->n_embd, err),
                                .q = block_floats(n, width, err),
                                .k = block_floats(n, kv_width, err),
                                .v = block_floats(n, kv_width, err),
                                .heads = has_heads ? NULL : block_floats(n, width, err),
                                .scores = block_floats(BLOCK_QUERIES, longest, err)};
    if (!scratch->u || !scratch->q || !scratch->k || !scratch->v ||
        (!scratch->heads && !has_heads) || !scratch->scores) {
        scratch_release(scratch);
        return WL_MEMORY;
    }
    enum wl_status status = block_turns_init(&scratch->turns, shape, n, err);
    if (status) {
        scratch_release(scratch);
    }
    return status;
}

// Queries or keys: projected, normed head by head where the model does, turned.
static void make_turned(const struct block_shape *shape, const struct scratch *scratch, size_t n,
                        const float *w, const float *bias, const float *norm, size_t n_heads,
                        float *out) {
    size_t head_dim = shape->head_dim;
    block_multiply(scratch->u, n, w, bias, shape->n_embd, n_heads * head_dim, out);
    if (norm) {
        block_norm(out, n * n_heads, head_dim, shape->rms_eps, norm, out);
    }
    block_turns_apply(&scratch->turns, shape, n, n_heads, out);
}

// x, mid and heads from the span's first token on.
static void attend_span(const struct block_shape *shape, const struct block_weights *weights,
                        const struct block_batch *batch, const struct span *span,
                        struct scratch *scratch, const float *x, float *mid, float *heads) {
    size_t n = span->n_tokens;
    size_t width = (size_t)shape->n_head * shape->head_dim;
    size_t kv_width = (size_t)shape->n_head_kv * shape->head_dim;
    block_norm(x, n, shape->n_embd, shape->rms_eps, weights->attn_norm, scratch->u);
    block_turns_set(&scratch->turns, shape, batch, span->first_token, n);
    make_turned(shape, scratch, n, weights->wq, weights->bq, weights->q_norm, shape->n_head,
                scratch->q);
    make_turned(shape, scratch, n, weights->wk, weights->bk, weights->k_norm, shape->n_head_kv,
                scratch->k);
    block_multiply(scratch->u, n, weights->wv, weights->bv, shape->n_embd, kv_width, scratch->v);
    for (size_t i = 0, token = 0; i < span->n_sequences; i++) {
        size_t length = batch->lengths[span->first_sequence + i];
        block_heads_attend(shape, length, scratch->q + token * width, scratch->k + token * kv_width,
                           scratch->v + token * kv_width, scratch->scores, heads + token * width);
        token += length;
    }
    struct block_return back = {.w = weights->wo,
                                .bias = weights->bo,
                                .post_norm = weights->attn_post_norm,
                                .n_in = width,
                                .n_embd = shape->n_embd,
                                .rms_eps = shape->rms_eps};
    block_return_add(&back, n, heads, x, scratch->u, mid);
}

enum wl_status block_attention(const struct block_shape *shape, const struct block_weights *weights,
                               const struct block_batch *batch, const float *x, float *mid,
                               float *heads, struct wl_err *err) {
    struct scratch scratch;
    enum wl_status status = scratch_init(&scratch, shape, batch, heads != NULL, err);
    if (status) {
        return status;
    }
    size_t n_embd = shape->n_embd, width = (size_t)shape->n_head * shape->head_dim;
    struct span span = {0};
    while (span = next_span(batch, &span), span.n_tokens) {
        attend_span(shape, weights, batch, &span, &scratch, x + span.first_token * n_embd,
                    mid + span.first_token * n_embd,
                    heads ? heads + span.first_token * width : scratch.heads);
    }
    scratch_release(&scratch);
    return WL_OK;
}
