#include "compressor/narrow_walk.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum wl_status narrow_walk_open(struct narrow_walk *walk, struct wl_err *err) {
    size_t n_embd = walk->source->n_embd, n = walk->text->n_tokens;
    const char *dir = walk->options->scratch_dir;
    walk->original.fd = walk->made.fd = -1;
    walk->positions = calloc((size_t)4 * NARROW_CHUNK, sizeof *walk->positions);
    walk->x = calloc(NARROW_CHUNK, n_embd * sizeof *walk->x);
    walk->mid = calloc(NARROW_CHUNK, n_embd * sizeof *walk->mid);
    walk->target = calloc(NARROW_CHUNK, n_embd * sizeof *walk->target);
    if (!walk->positions || !walk->x || !walk->mid || !walk->target) {
        return wl_err_set(err, WL_MEMORY, "no memory for the states of %d tokens", NARROW_CHUNK);
    }
    enum wl_status status = states_open(&walk->original, dir, n, n_embd, err);
    return status == WL_OK ? states_open(&walk->made, dir, n, n_embd, err) : status;
}

static void release_layer(struct narrow_walk *walk) {
    gram_release(&walk->gram);
    free(walk->h);
    free(walk->cross);
    walk->h = walk->cross = NULL;
}

void narrow_walk_close(struct narrow_walk *walk) {
    release_layer(walk);
    states_close(&walk->original);
    states_close(&walk->made);
    free(walk->positions);
    free(walk->x);
    free(walk->mid);
    free(walk->target);
}

// Positions count from 0 in every sequence; text is at the same place in all of M-RoPE's sections.
static void set_positions(struct narrow_walk *walk, const struct narrow_chunk *chunk) {
    size_t at = 0, n = chunk->n_tokens;
    for (size_t s = 0; s < chunk->batch.n_sequences; s++) {
        for (uint32_t i = 0; i < chunk->batch.lengths[s]; i++, at++) {
            int32_t position = (int32_t)i;
            walk->positions[at] = walk->positions[n + at] = walk->positions[2 * n + at] = position;
            walk->positions[3 * n + at] = 0;
        }
    }
}

enum wl_status narrow_each_chunk(struct narrow_walk *walk, bool is_held_out_only,
                                 narrow_chunk_fn *visit, void *context, struct wl_err *err) {
    const struct compress_text *text = walk->text;
    size_t n_learnt = text->n_sequences - walk->options->n_held_out, at = 0;
    enum wl_status status = WL_OK;
    for (size_t s = 0; s < text->n_sequences && status == WL_OK;) {
        struct narrow_chunk chunk = {.first = at, .is_held_out = s >= n_learnt};
        size_t end = chunk.is_held_out ? text->n_sequences : n_learnt, first = s;
        while (s < end && chunk.n_tokens + text->lengths[s] <= NARROW_CHUNK) {
            chunk.n_tokens += text->lengths[s++];
        }
        chunk.batch = (struct block_batch){.n_tokens = chunk.n_tokens,
                                           .lengths = text->lengths + first,
                                           .n_sequences = s - first,
                                           .positions = walk->positions};
        at += chunk.n_tokens;
        if (chunk.is_held_out || !is_held_out_only) {
            set_positions(walk, &chunk);
            status = visit(walk, &chunk, context, err);
        }
    }
    return status;
}

static enum wl_status embed_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                  void *context, struct wl_err *err) {
    (void)context;
    enum wl_status status = compress_source_embed(walk->source, walk->text->tokens + chunk->first,
                                                  chunk->n_tokens, walk->x, err);
    if (status == WL_OK) {
        status = states_write(&walk->original, chunk->first, chunk->n_tokens, walk->x, err);
    }
    if (status == WL_OK) {
        status = states_write(&walk->made, chunk->first, chunk->n_tokens, walk->x, err);
    }
    return status;
}

enum wl_status narrow_walk_embed(struct narrow_walk *walk, struct wl_err *err) {
    return narrow_each_chunk(walk, false, embed_chunk, NULL, err);
}

// ---- moments ----

// The feed-forward part's output before any norm of its own and without its bias: what the matrix
// `down` alone gives is what least squares can repair.
static struct block_weights linear_end(const struct block_weights *weights) {
    struct block_weights out = *weights;
    out.ffn_post_norm = NULL;
    out.down_bias = NULL;
    return out;
}

// target = (1 - a) W h + a (y - mid - bias), in place of y; `x` is used for W h. With a norm behind
// `down` only W h itself can be asked for.
static enum wl_status damped_target(struct narrow_walk *walk, const struct compress_block *block,
                                    size_t n_tokens, struct wl_err *err) {
    struct block_weights weights = linear_end(&block->weights);
    enum wl_status status =
        block_ffn_out(&block->shape, &weights, n_tokens, walk->mid, walk->h, walk->x, err);
    float damping = block->weights.ffn_post_norm ? 0 : (float)walk->options->damping;
    const float *bias = block->weights.down_bias;
    size_t n_embd = walk->source->n_embd;
    for (size_t i = 0; i < n_tokens * n_embd; i++) {
        float full = walk->target[i] - walk->mid[i] - (bias ? bias[i % n_embd] : 0);
        walk->target[i] = (1 - damping) * (walk->x[i] - walk->mid[i]) + damping * full;
    }
    return status;
}

// The first token of a sequence attends to nothing and has a state of its own kind, often huge: it
// would fill the moments.
static void add_moments(struct narrow_walk *walk, const struct narrow_chunk *chunk, size_t n_ff) {
    size_t n_embd = walk->source->n_embd, at = 0;
    for (size_t s = 0; s < chunk->batch.n_sequences; s++) {
        size_t n = chunk->batch.lengths[s];
        if (n > 1) {
            const float *h = walk->h + (at + 1) * n_ff, *t = walk->target + (at + 1) * n_embd;
            gram_add(&walk->gram, h, n - 1, 1);
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n_embd, (int)n_ff,
                        (int)(n - 1), 1, t, (int)n_embd, h, (int)n_ff, 1, walk->cross, (int)n_ff);
        }
        at += n;
    }
}

static enum wl_status take_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                 void *context, struct wl_err *err) {
    const struct compress_block *block = context;
    const struct block_weights *w = &block->weights;
    size_t first = chunk->first, n = chunk->n_tokens;
    enum wl_status status = states_read(&walk->original, first, n, walk->x, err);
    if (status == WL_OK) {
        status = block_attention(&block->shape, w, &chunk->batch, walk->x, walk->mid, NULL, err);
    }
    if (status == WL_OK) {
        status = block_ffn_inner(&block->shape, w, n, walk->mid, NULL, walk->h, err);
    }
    if (status == WL_OK) {
        status = block_ffn_out(&block->shape, w, n, walk->mid, walk->h, walk->target, err);
    }
    if (status == WL_OK) {
        status = states_write(&walk->original, first, n, walk->target, err);
    }
    if (status == WL_OK) {
        status = states_read(&walk->made, first, n, walk->x, err);
    }
    if (status == WL_OK) {
        status = block_attention(&block->shape, w, &chunk->batch, walk->x, walk->mid, NULL, err);
    }
    if (status == WL_OK) {
        status = states_write(&walk->made, first, n, walk->mid, err);
    }
    if (status != WL_OK || chunk->is_held_out) {
        return status;
    }
    status = block_ffn_inner(&block->shape, w, n, walk->mid, NULL, walk->h, err);
    if (status == WL_OK) {
        status = damped_target(walk, block, n, err);
    }
    if (status == WL_OK) {
        add_moments(walk, chunk, block->shape.n_ff);
    }
    return status;
}

enum wl_status narrow_take_moments(struct narrow_walk *walk, const struct compress_block *block,
                                   struct wl_err *err) {
    size_t n_ff = block->shape.n_ff;
    release_layer(walk);
    walk->h = calloc(NARROW_CHUNK, n_ff * sizeof *walk->h);
    walk->cross = calloc(walk->source->n_embd, n_ff * sizeof *walk->cross);
    if (!walk->h || !walk->cross) {
        return wl_err_set(err, WL_MEMORY, "no memory for the moments of %zu neurons", n_ff);
    }
    enum wl_status status = gram_init(&walk->gram, n_ff, err);
    return status == WL_OK ? narrow_each_chunk(walk, false, take_chunk, (void *)block, err)
                           : status;
}

// ---- a feed-forward part ----

struct part {
    const struct block_shape *shape;
    const struct block_weights *weights;
    double error, size; // sums of squares
};

static enum wl_status finish_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                   void *context, struct wl_err *err) {
    const struct part *part = context;
    size_t n = chunk->n_tokens;
    enum wl_status status = states_read(&walk->made, chunk->first, n, walk->mid, err);
    if (status == WL_OK) {
        status = block_ffn_inner(part->shape, part->weights, n, walk->mid, NULL, walk->h, err);
    }
    if (status == WL_OK) {
        status = block_ffn_out(part->shape, part->weights, n, walk->mid, walk->h, walk->x, err);
    }
    return status == WL_OK ? states_write(&walk->made, chunk->first, n, walk->x, err) : status;
}

enum wl_status narrow_finish_block(struct narrow_walk *walk, const struct block_shape *shape,
                                   const struct block_weights *weights, struct wl_err *err) {
    struct part part = {.shape = shape, .weights = weights};
    return narrow_each_chunk(walk, false, finish_chunk, &part, err);
}

static enum wl_status judge_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                  void *context, struct wl_err *err) {
    struct part *part = context;
    size_t n = chunk->n_tokens, n_embd = walk->source->n_embd, at = 0;
    enum wl_status status = states_read(&walk->made, chunk->first, n, walk->mid, err);
    if (status == WL_OK) {
        status = states_read(&walk->original, chunk->first, n, walk->target, err);
    }
    if (status == WL_OK) {
        status = block_ffn_inner(part->shape, part->weights, n, walk->mid, NULL, walk->h, err);
    }
    if (status == WL_OK) {
        status = block_ffn_out(part->shape, part->weights, n, walk->mid, walk->h, walk->x, err);
    }
    for (size_t s = 0; s < chunk->batch.n_sequences && status == WL_OK; s++) {
        size_t end = at + chunk->batch.lengths[s];
        for (size_t i = (at + 1) * n_embd; i < end * n_embd; i++) {
            double off = walk->x[i] - walk->target[i], size = walk->target[i] - walk->mid[i];
            part->error += off * off;
            part->size += size * size;
        }
        at = end;
    }
    return status;
}

enum wl_status narrow_held_out_error(struct narrow_walk *walk, const struct block_shape *shape,
                                     const struct block_weights *weights, double *out,
                                     struct wl_err *err) {
    struct part part = {.shape = shape, .weights = weights};
    enum wl_status status = narrow_each_chunk(walk, true, judge_chunk, &part, err);
    *out = part.size > 0 ? part.error / part.size : NAN;
    return status;
}
