#include "compressor/narrow_walk.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/narrow_threads.h"

// ---- text ----

static enum wl_status check_lengths(const struct narrow_walk *walk, struct wl_err *err) {
    const struct compress_text *text = walk->text;
    size_t n_tokens = 0, n_held_out = walk->options->n_held_out;
    for (size_t s = 0; s < text->n_sequences; s++) {
        if (text->lengths[s] < 2 || text->lengths[s] > NARROW_MAX_SEQUENCE) {
            return wl_err_set(err, WL_INPUT, "sequence %zu has %u tokens, expected 2 to %d", s,
                              text->lengths[s], NARROW_MAX_SEQUENCE);
        }
        n_tokens += text->lengths[s];
    }
    if (n_tokens != text->n_tokens || n_held_out >= text->n_sequences) {
        return wl_err_set(err, WL_INPUT, "calibration text: %zu of %zu sequences are held out",
                          n_held_out, text->n_sequences);
    }
    if (n_tokens > SIZE_MAX / 4 / sizeof(float) / walk->source->n_embd) {
        return wl_err_set(err, WL_LIMIT, "calibration text: %zu tokens are too many", n_tokens);
    }
    return WL_OK;
}

static enum wl_status check_images(const struct narrow_walk *walk, struct wl_err *err) {
    const struct compress_text *text = walk->text;
    size_t n_images = 0;
    for (size_t i = 0; i < text->n_tokens; i++) {
        n_images += narrow_is_image(walk, i);
    }
    if (n_images != text->n_image_tokens || (n_images > 0 && !text->embeddings)) {
        return wl_err_set(err, WL_INPUT,
                          "calibration text: %zu image tokens, but embeddings of %zu", n_images,
                          text->embeddings ? text->n_image_tokens : 0);
    }
    if (n_images > 0 && walk->source->arch->sees_whole_images) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "images with a model of architecture '%s': its image tokens see those "
                          "behind them too, which is not computed here; take text alone",
                          walk->source->arch->name);
    }
    double share = walk->options->image_share;
    if (n_images > 0 && !(share >= 0 && share <= 1)) {
        return wl_err_set(err, WL_INPUT, "share of image tokens: expected 0 to 1, found %g", share);
    }
    return WL_OK;
}

// Image tokens together count for image_share of all, the sum of all weights is their number.
static void set_weights(struct narrow_walk *walk) {
    const struct compress_text *text = walk->text;
    size_t n_learnt = text->n_sequences - walk->options->n_held_out, at = 0;
    double n_text = 0, n_images = 0, share = walk->options->image_share;
    for (size_t s = 0; s < n_learnt; s++) {
        for (size_t i = 1; i < text->lengths[s]; i++) {
            bool is_image = narrow_is_image(walk, at + i);
            n_images += is_image;
            n_text += !is_image;
        }
        at += text->lengths[s];
    }
    bool has_both = n_text > 0 && n_images > 0;
    walk->text_weight = has_both ? (float)((1 - share) * (n_text + n_images) / n_text) : 1;
    walk->image_weight = has_both ? (float)(share * (n_text + n_images) / n_images) : 1;
}

// ---- opening ----

static size_t widest(const struct compress_source *source) {
    size_t n_ff = 0;
    for (uint32_t i = 0; i < source->n_layer; i++) {
        struct block_shape shape;
        if (compress_source_shape(source, i, &shape, NULL) == WL_OK && shape.n_ff > n_ff) {
            n_ff = shape.n_ff;
        }
    }
    return n_ff;
}

enum wl_status narrow_walk_open(struct narrow_walk *walk, struct wl_err *err) {
    size_t n_embd = walk->source->n_embd;
    walk->now.original.fd = walk->now.made.fd = walk->aside.fd = -1;
    walk->next = walk->now;
    enum wl_status status = check_lengths(walk, err);
    if (status == WL_OK) {
        status = check_images(walk, err);
    }
    if (status != WL_OK) {
        return status;
    }
    set_weights(walk);
    walk->positions = calloc((size_t)4 * NARROW_CHUNK, sizeof *walk->positions);
    walk->rows = calloc(NARROW_CHUNK, sizeof *walk->rows);
    walk->x = calloc(NARROW_CHUNK, n_embd * sizeof *walk->x);
    walk->mid = calloc(NARROW_CHUNK, n_embd * sizeof *walk->mid);
    walk->target = calloc(NARROW_CHUNK, n_embd * sizeof *walk->target);
    walk->row_in = calloc(NARROW_ROWS, n_embd * sizeof *walk->row_in);
    walk->row_target = calloc(NARROW_ROWS, n_embd * sizeof *walk->row_target);
    walk->row_wh = calloc(NARROW_ROWS, n_embd * sizeof *walk->row_wh);
    walk->n_threads = narrow_threads();
    walk->h_size = NARROW_ROWS * widest(walk->source);
    walk->h = calloc(walk->n_threads, (walk->h_size + 1) * sizeof *walk->h);
    bool has_room = walk->positions && walk->rows && walk->x && walk->mid && walk->target &&
                    walk->row_in && walk->row_target && walk->row_wh && walk->h;
    return has_room
               ? WL_OK
               : wl_err_set(err, WL_MEMORY, "no memory for the states of %d tokens", NARROW_CHUNK);
}

static void close_streams(struct narrow_streams *streams) {
    states_close(&streams->original);
    states_close(&streams->made);
}

void narrow_walk_close(struct narrow_walk *walk) {
    if (walk->next.original.fd != walk->now.original.fd) {
        close_streams(&walk->next);
    }
    close_streams(&walk->now);
    states_close(&walk->aside);
    free(walk->positions);
    free(walk->rows);
    free(walk->x);
    free(walk->mid);
    free(walk->target);
    free(walk->row_in);
    free(walk->row_target);
    free(walk->row_wh);
    free(walk->h);
}

// ---- progress ----

void narrow_set_share(struct narrow_walk *walk, double begin, double end) {
    walk->share_begin = walk->share = begin;
    walk->share_end = end;
}

bool narrow_goes_on(void *context) {
    const struct narrow_walk *walk = context;
    const struct narrow_options *o = walk->options;
    return !o->go_on || o->go_on(o->context, walk->share);
}

enum wl_status narrow_look(struct narrow_walk *walk, struct wl_err *err) {
    return narrow_goes_on(walk)
               ? WL_OK
               : wl_err_set(err, WL_INTERRUPTED, "interrupted while blocks were made narrower");
}

// ---- chunks ----

// Without positions of its own a text counts from 0 in every sequence, in all of M-RoPE's sections.
static void set_positions(struct narrow_walk *walk, const struct narrow_chunk *chunk) {
    const struct compress_text *text = walk->text;
    size_t at = 0, n = chunk->n_tokens;
    for (size_t kind = 0; kind < 4 && text->positions; kind++) {
        memcpy(walk->positions + kind * n, text->positions + kind * text->n_tokens + chunk->first,
               n * sizeof *walk->positions);
    }
    for (size_t s = 0; s < chunk->batch.n_sequences && !text->positions; s++) {
        for (uint32_t i = 0; i < chunk->batch.lengths[s]; i++, at++) {
            int32_t position = (int32_t)i;
            walk->positions[at] = walk->positions[n + at] = walk->positions[2 * n + at] = position;
            walk->positions[3 * n + at] = 0;
        }
    }
}

static size_t count_images(const struct narrow_walk *walk, size_t first, size_t n) {
    size_t n_images = 0;
    for (size_t i = first; i < first + n && walk->text->n_image_tokens; i++) {
        n_images += narrow_is_image(walk, i);
    }
    return n_images;
}

enum wl_status narrow_each_chunk(struct narrow_walk *walk, bool is_held_out_only,
                                 narrow_chunk_fn *visit, void *context, struct wl_err *err) {
    const struct compress_text *text = walk->text;
    size_t n_learnt = text->n_sequences - walk->options->n_held_out, at = 0, n_images = 0;
    enum wl_status status = WL_OK;
    for (size_t s = 0; s < text->n_sequences && status == WL_OK;) {
        struct narrow_chunk chunk = {
            .first = at, .first_image = n_images, .is_held_out = s >= n_learnt};
        size_t end = chunk.is_held_out ? text->n_sequences : n_learnt, first = s;
        while (s < end && chunk.n_tokens + text->lengths[s] <= NARROW_CHUNK) {
            chunk.n_tokens += text->lengths[s++];
        }
        chunk.batch = (struct block_batch){.n_tokens = chunk.n_tokens,
                                           .lengths = text->lengths + first,
                                           .n_sequences = s - first,
                                           .positions = walk->positions};
        at += chunk.n_tokens;
        n_images += count_images(walk, chunk.first, chunk.n_tokens);
        if (chunk.is_held_out || !is_held_out_only) {
            set_positions(walk, &chunk);
            status = narrow_look(walk, err);
            status = status == WL_OK ? visit(walk, &chunk, context, err) : status;
        }
        walk->share = walk->share_begin +
                      (walk->share_end - walk->share_begin) * (double)at / (double)text->n_tokens;
    }
    return status;
}

// ---- rows ----

void narrow_gather(const float *from, const uint32_t *rows, size_t n, size_t width, float *out) {
    for (size_t i = 0; i < n; i++) {
        memcpy(out + i * width, from + rows[i] * width, width * sizeof *out);
    }
}

static size_t list_rows(struct narrow_walk *walk, const struct narrow_chunk *chunk, bool is_image) {
    size_t at = 0, n = 0;
    for (size_t s = 0; s < chunk->batch.n_sequences; s++) {
        for (size_t i = at + 1; i < at + chunk->batch.lengths[s]; i++) {
            if (narrow_is_image(walk, chunk->first + i) == is_image) {
                walk->rows[n++] = (uint32_t)i;
            }
        }
        at += chunk->batch.lengths[s];
    }
    return n;
}

enum wl_status narrow_each_rows(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                narrow_rows_fn *visit, void *context, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (int is_image = 0; is_image < 2; is_image++) {
        float weight = is_image ? walk->image_weight : walk->text_weight;
        size_t n_rows = weight > 0 ? list_rows(walk, chunk, is_image) : 0;
        for (size_t first = 0; first < n_rows && status == WL_OK; first += NARROW_ROWS) {
            size_t n = n_rows - first < NARROW_ROWS ? n_rows - first : NARROW_ROWS;
            status = narrow_look(walk, err);
            if (status == WL_OK) {
                status = visit(walk, walk->rows + first, n, weight, context, err);
            }
        }
    }
    return status;
}

// ---- parts of a block ----

struct attending {
    const struct block_shape *shape;
    const struct block_weights *weights;
    const struct narrow_chunk *chunk;
    const float *x;
    float *mid, *heads;
    size_t n_parts;
};

// The sequences of part `part`: those that begin in its share of the chunk's tokens.
static void sequences_of(const struct attending *a, size_t part, size_t *first_sequence,
                         size_t *first_token, struct block_batch *batch) {
    size_t begin = a->chunk->n_tokens * part / a->n_parts;
    size_t end = a->chunk->n_tokens * (part + 1) / a->n_parts, at = 0;
    *batch = (struct block_batch){0};
    for (size_t s = 0; s < a->chunk->batch.n_sequences; s++) {
        if (at >= begin && at < end) {
            *first_sequence = batch->n_sequences ? *first_sequence : s;
            *first_token = batch->n_sequences ? *first_token : at;
            batch->n_sequences++;
            batch->n_tokens += a->chunk->batch.lengths[s];
        }
        at += a->chunk->batch.lengths[s];
    }
}

static enum wl_status attend_part(void *context, size_t part, struct wl_err *err) {
    const struct attending *a = context;
    size_t sequence = 0, token = 0, n_embd = a->shape->n_embd;
    size_t width = (size_t)a->shape->n_head * a->shape->head_dim;
    struct block_batch batch;
    sequences_of(a, part, &sequence, &token, &batch);
    if (batch.n_sequences == 0) {
        return WL_OK;
    }
    int32_t *positions = calloc(batch.n_tokens, 4 * sizeof *positions);
    if (!positions) {
        return wl_err_set(err, WL_MEMORY, "no memory for the positions of %zu tokens",
                          batch.n_tokens);
    }
    for (size_t kind = 0; kind < 4; kind++) {
        memcpy(positions + kind * batch.n_tokens,
               a->chunk->batch.positions + kind * a->chunk->n_tokens + token,
               batch.n_tokens * sizeof *positions);
    }
    batch.lengths = a->chunk->batch.lengths + sequence;
    batch.positions = positions;
    enum wl_status status =
        block_attention(a->shape, a->weights, &batch, a->x + token * n_embd,
                        a->mid + token * n_embd, a->heads ? a->heads + token * width : NULL, err);
    free(positions);
    return status;
}

enum wl_status narrow_attend(struct narrow_walk *walk, const struct block_shape *shape,
                             const struct block_weights *weights, const struct narrow_chunk *chunk,
                             const float *x, float *mid, float *heads, struct wl_err *err) {
    if (shape->n_head_kv == 0) {
        memcpy(mid, x, chunk->n_tokens * shape->n_embd * sizeof *mid);
        return WL_OK;
    }
    struct attending a = {shape, weights, chunk, x, mid, heads, walk->n_threads};
    return narrow_in_parts(walk->n_threads, attend_part, &a, err);
}

struct feeding {
    struct narrow_walk *walk;
    const struct block_shape *shape;
    const struct block_weights *weights;
    size_t n, most;
    const float *mid;
    float *y;
    atomic_bool is_stopped;
};

// Every n_threads-th portion of rows; only the first part runs where go_on may be asked.
static enum wl_status feed_part(void *context, size_t part, struct wl_err *err) {
    struct feeding *f = context;
    size_t n_embd = f->shape->n_embd, n_parts = f->walk->n_threads;
    float *h = f->walk->h + part * f->walk->h_size;
    enum wl_status status = WL_OK;
    for (size_t first = part * f->most; first < f->n && status == WL_OK && !f->is_stopped;
         first += n_parts * f->most) {
        size_t n = f->n - first < f->most ? f->n - first : f->most;
        const float *in = f->mid + first * n_embd;
        status = part == 0 ? narrow_look(f->walk, err) : WL_OK;
        if (status == WL_OK) {
            status = block_ffn_inner(f->shape, f->weights, n, in, NULL, h, err);
        }
        if (status == WL_OK) {
            status = block_ffn_out(f->shape, f->weights, n, in, h, f->y + first * n_embd, err);
        }
    }
    if (status != WL_OK) {
        f->is_stopped = true;
    }
    return status;
}

enum wl_status narrow_feed_forward(struct narrow_walk *walk, const struct block_shape *shape,
                                   const struct block_weights *weights, size_t n, const float *mid,
                                   float *y, struct wl_err *err) {
    size_t share = (n + walk->n_threads - 1) / walk->n_threads;
    struct feeding feeding = {.walk = walk,
                              .shape = shape,
                              .weights = weights,
                              .n = n,
                              .most = share < NARROW_ROWS ? share : NARROW_ROWS,
                              .mid = mid,
                              .y = y};
    return n > 0 ? narrow_in_parts(walk->n_threads, feed_part, &feeding, err) : WL_OK;
}

// ---- the beginning ----

// What the image encoder gave enters as it is, whatever the model does with its own embeddings.
static enum wl_status put_images(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                 struct wl_err *err) {
    size_t n_embd = walk->source->n_embd, image = chunk->first_image;
    for (size_t i = 0; i < chunk->n_tokens; i++) {
        if (!narrow_is_image(walk, chunk->first + i)) {
            continue;
        }
        const float *from = walk->text->embeddings + image++ * n_embd;
        for (size_t j = 0; j < n_embd; j++) {
            if (!isfinite(from[j])) {
                return wl_err_set(err, WL_INPUT,
                                  "the embedding of image token %zu is not finite: is the image "
                                  "encoder's file whole?",
                                  image - 1);
            }
        }
        memcpy(walk->x + i * n_embd, from, n_embd * sizeof *walk->x);
    }
    return WL_OK;
}

static enum wl_status embed_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                  void *context, struct wl_err *err) {
    (void)context;
    size_t n_embd = walk->source->n_embd;
    enum wl_status status = WL_OK;
    for (size_t i = 0, n; i < chunk->n_tokens && status == WL_OK; i += n) {
        for (n = 0; i + n < chunk->n_tokens && !narrow_is_image(walk, chunk->first + i + n); n++) {
        }
        status = compress_source_embed(walk->source, walk->text->tokens + chunk->first + i, n,
                                       walk->x + i * n_embd, err);
        n += i + n < chunk->n_tokens; // the image token behind them
    }
    if (status == WL_OK) {
        status = put_images(walk, chunk, err);
    }
    if (status == WL_OK) {
        status = states_write(&walk->now.original, chunk->first, chunk->n_tokens, walk->x, err);
    }
    if (status == WL_OK) {
        status = states_write(&walk->now.made, chunk->first, chunk->n_tokens, walk->x, err);
    }
    return status;
}

enum wl_status narrow_walk_embed(struct narrow_walk *walk, struct wl_err *err) {
    size_t n_embd = walk->source->n_embd, n = walk->text->n_tokens;
    const char *dir = walk->options->scratch_dir;
    enum wl_status status = states_open(&walk->now.original, dir, n, n_embd, err);
    if (status == WL_OK) {
        status = states_open(&walk->now.made, dir, n, n_embd, err);
    }
    if (status == WL_OK) {
        status = narrow_each_chunk(walk, false, embed_chunk, NULL, err);
    }
    return status;
}
