#include <stdlib.h>

#include "compressor/narrow_unit.h"

// What attn_output or `down` alone gives, before any norm of its own and without its bias, is what
// least squares can repair.
static struct block_weights linear_ends(const struct block_weights *weights) {
    struct block_weights out = *weights;
    out.attn_post_norm = out.ffn_post_norm = NULL;
    out.bo = out.down_bias = NULL;
    return out;
}

// ---- the original stream ----

static enum wl_status add_head_rows(struct narrow_walk *walk, const uint32_t *rows, size_t n,
                                    float weight, void *context, struct wl_err *err) {
    struct narrow_unit *unit = context;
    size_t width = unit->moments.n_in;
    float *in = unit->head_in + NARROW_CHUNK * width;
    (void)err;
    narrow_gather(unit->head_in, rows, n, width, in);
    narrow_gather(walk->target, rows, n, unit->moments.n_out, walk->row_target);
    narrow_moments_add(&unit->moments, in, walk->row_target, n, weight);
    return WL_OK;
}

// target = (1 - a) Wo a + a (mid - z - bias), where mid is the original's; with a norm behind
// attn_output only Wo a itself can be asked for.
static enum wl_status take_heads(struct narrow_unit *unit, const struct narrow_chunk *chunk,
                                 struct wl_err *err) {
    struct narrow_walk *walk = unit->walk;
    struct block_weights linear = linear_ends(&unit->block.weights);
    size_t n_embd = unit->was.n_embd;
    enum wl_status status =
        states_read(&walk->now.made, chunk->first, chunk->n_tokens, walk->x, err);
    if (status == WL_OK) {
        status = narrow_attend(walk, &unit->was, &linear, chunk, walk->x, walk->target,
                               unit->head_in, err);
    }
    if (status != WL_OK) {
        return status;
    }
    const float *bias = unit->block.weights.bo;
    float a = unit->block.weights.attn_post_norm ? 0 : (float)walk->options->damping;
    for (size_t i = 0; i < chunk->n_tokens * n_embd; i++) {
        float full = walk->mid[i] - walk->x[i] - (bias ? bias[i % n_embd] : 0);
        walk->target[i] = (1 - a) * (walk->target[i] - walk->x[i]) + a * full;
    }
    return narrow_each_rows(walk, chunk, add_head_rows, unit, err);
}

static enum wl_status original_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                     void *context, struct wl_err *err) {
    struct narrow_unit *unit = context;
    const struct block_weights *w = &unit->block.weights;
    size_t first = chunk->first, n = chunk->n_tokens;
    enum wl_status status = states_read(&walk->now.original, first, n, walk->x, err);
    if (status == WL_OK) {
        status = narrow_attend(walk, &unit->was, w, chunk, walk->x, walk->mid, NULL, err);
    }
    if (status == WL_OK && walk->aside.fd >= 0) {
        status = states_write(&walk->aside, first, n, walk->mid, err);
    }
    if (status == WL_OK) {
        status = narrow_feed_forward(walk, &unit->was, w, n, walk->mid, walk->target, err);
    }
    if (status == WL_OK) {
        status = states_write(&walk->next.original, first, n, walk->target, err);
    }
    return status == WL_OK && unit->head_in && !chunk->is_held_out ? take_heads(unit, chunk, err)
                                                                   : status;
}

enum wl_status narrow_pass_original(struct narrow_unit *unit, struct wl_err *err) {
    bool has_moments = unit->is_attention_cut && unit->shape.n_head_kv > 0;
    size_t width = (size_t)unit->was.n_head * unit->was.head_dim;
    enum wl_status status = WL_OK;
    if (has_moments) {
        status = narrow_moments_open(&unit->moments, width, unit->was.n_embd, err);
        unit->head_in = calloc(NARROW_CHUNK + NARROW_ROWS, width * sizeof *unit->head_in);
        status = status == WL_OK && !unit->head_in ? narrow_no_memory(unit, err) : status;
    }
    if (status == WL_OK) {
        status = narrow_each_chunk(unit->walk, false, original_chunk, unit, err);
    }
    free(unit->head_in);
    unit->head_in = NULL;
    return status;
}

static enum wl_status removed_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                    void *context, struct wl_err *err) {
    const struct compress_block *block = context;
    size_t first = chunk->first, n = chunk->n_tokens;
    enum wl_status status = states_read(&walk->next.original, first, n, walk->x, err);
    if (status == WL_OK) {
        status = narrow_attend(walk, &block->shape, &block->weights, chunk, walk->x, walk->mid,
                               NULL, err);
    }
    if (status == WL_OK) {
        status =
            narrow_feed_forward(walk, &block->shape, &block->weights, n, walk->mid, walk->mid, err);
    }
    return status == WL_OK ? states_write(&walk->next.original, first, n, walk->mid, err) : status;
}

enum wl_status narrow_pass_removed(struct narrow_unit *unit, struct wl_err *err) {
    struct narrow_walk *walk = unit->walk;
    enum wl_status status = WL_OK;
    for (uint32_t layer = unit->layer + 1; layer < unit->end && status == WL_OK; layer++) {
        compress_block_release(&unit->block);
        status = compress_source_load(walk->source, layer, &unit->block, err);
        narrow_forget(unit);
        if (status == WL_OK) {
            status = narrow_each_chunk(walk, false, removed_chunk, &unit->block, err);
        }
    }
    compress_block_release(&unit->block);
    if (status == WL_OK) {
        status = compress_source_load(walk->source, unit->layer, &unit->block, err);
    }
    narrow_forget(unit);
    return status;
}

// ---- the made stream ----

// The target of `down`. A block that stands for itself: (1 - a) W h + a (y - mid - bias), y the
// original's. One that takes over others': y - bias - ((1 - a) mid' + a mid), mid' the original's,
// since what those blocks would give here is not known. With a norm behind `down` only W h itself
// can be asked for.
static enum wl_status add_ffn_rows(struct narrow_walk *walk, const uint32_t *rows, size_t n,
                                   float weight, void *context, struct wl_err *err) {
    struct narrow_unit *unit = context;
    const struct block_weights *w = &unit->block.weights;
    struct block_weights linear = linear_ends(w);
    size_t n_embd = unit->was.n_embd;
    bool takes_over = unit->end > unit->layer + 1, has_norm = w->ffn_post_norm != NULL;
    narrow_gather(walk->mid, rows, n, n_embd, walk->row_in);
    narrow_gather(walk->target, rows, n, n_embd, walk->row_target);
    enum wl_status status =
        block_ffn_inner(&unit->was, &linear, n, walk->row_in, NULL, walk->h, err);
    if (status == WL_OK && takes_over && !has_norm) {
        narrow_gather(walk->x, rows, n, n_embd, walk->row_wh); // mid' in the place of y - W h
    } else if (status == WL_OK) {
        status = block_ffn_out(&unit->was, &linear, n, walk->row_in, walk->h, walk->row_wh, err);
    }
    if (status != WL_OK) {
        return status;
    }
    float a = has_norm ? 0 : (float)walk->options->damping;
    for (size_t i = 0; i < n * n_embd; i++) {
        float bias = w->down_bias ? w->down_bias[i % n_embd] : 0, mid = walk->row_in[i];
        float full = walk->row_target[i] - bias - mid;
        float own = takes_over && !has_norm ? walk->row_target[i] - bias - walk->row_wh[i]
                                            : walk->row_wh[i] - mid;
        walk->row_target[i] = (1 - a) * own + a * full;
    }
    narrow_moments_add(&unit->moments, walk->h, walk->row_target, n, weight);
    return WL_OK;
}

static enum wl_status attention_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                      void *context, struct wl_err *err) {
    struct narrow_unit *unit = context;
    size_t first = chunk->first, n = chunk->n_tokens;
    enum wl_status status = states_read(&walk->now.made, first, n, walk->x, err);
    if (status == WL_OK) {
        status =
            narrow_attend(walk, &unit->shape, &unit->weights, chunk, walk->x, walk->mid, NULL, err);
    }
    if (status == WL_OK) {
        status = states_write(&walk->next.made, first, n, walk->mid, err);
    }
    if (status != WL_OK || chunk->is_held_out || !unit->is_ffn_worked_on) {
        return status;
    }
    status = states_read(&walk->next.original, first, n, walk->target, err);
    if (status == WL_OK && unit->end > unit->layer + 1) {
        status = states_read(&walk->aside, first, n, walk->x, err);
    }
    return status == WL_OK ? narrow_each_rows(walk, chunk, add_ffn_rows, unit, err) : status;
}

enum wl_status narrow_pass_attention(struct narrow_unit *unit, struct wl_err *err) {
    enum wl_status status = WL_OK;
    if (unit->is_ffn_worked_on) {
        status = narrow_moments_open(&unit->moments, unit->was.n_ff, unit->was.n_embd, err);
    }
    return status == WL_OK ? narrow_each_chunk(unit->walk, false, attention_chunk, unit, err)
                           : status;
}

static enum wl_status finish_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                   void *context, struct wl_err *err) {
    struct narrow_unit *unit = context;
    size_t first = chunk->first, n = chunk->n_tokens;
    enum wl_status status = states_read(&walk->next.made, first, n, walk->mid, err);
    if (status == WL_OK) {
        status =
            narrow_feed_forward(walk, &unit->shape, &unit->weights, n, walk->mid, walk->mid, err);
    }
    return status == WL_OK ? states_write(&walk->next.made, first, n, walk->mid, err) : status;
}

enum wl_status narrow_pass_finish(struct narrow_unit *unit, struct wl_err *err) {
    return narrow_each_chunk(unit->walk, false, finish_chunk, unit, err);
}
