#include "compressor/retype_walk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "compress/moments.h"
#include "compressor/retype_rows.h"
#include "compressor/states.h"

enum { MAX_TOKENS = 16384, CHUNK_TOKENS = 2048, PROBE_TOKENS = 512 };
static const double NOISE = 0.05; // of a row's root mean square: about four bits' rounding

// A sequence that was taken.
struct piece {
    size_t first, image; // in the text: token, row of embeddings
    uint32_t length;
};

// Whole pieces that are worked on at once.
struct chunk {
    size_t first_piece, n_pieces, first_token, n_tokens; // tokens of those taken
};

struct walk {
    const struct compress_source *source;
    const struct compress_text *text;
    const struct retype_walk_options *options;
    struct piece *pieces;
    uint32_t *lengths;
    size_t n_pieces, n_tokens, chunk_tokens;
    struct states states;
    int32_t *positions; // [4][chunk]
    float *x, *mid, *y; // [chunk][n_embd]
    float *heads;       // [chunk][n_head * head_dim]
    float *h;           // [chunk][n_ff]
    struct moments normed_in, heads_in, mid_in, inner_in;
    struct rng rng;
};

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the states of the calibration text");
}

static enum wl_status tell(const struct walk *w, uint32_t layer, double share, struct wl_err *err) {
    const struct retype_walk_options *o = w->options;
    double done = (layer + share) / w->source->n_layer;
    return !o->go_on || o->go_on(o->context, done)
               ? WL_OK
               : wl_err_set(err, WL_INTERRUPTED, "interrupted in block %u", layer);
}

// ---- which tokens ----

static enum wl_status take_pieces(struct walk *w, struct wl_err *err) {
    const struct compress_text *text = w->text;
    size_t every = (text->n_tokens + MAX_TOKENS - 1) / MAX_TOKENS, at = 0, image = 0;
    w->chunk_tokens = CHUNK_TOKENS;
    w->pieces = calloc(text->n_sequences + 1, sizeof *w->pieces);
    w->lengths = calloc(text->n_sequences + 1, sizeof *w->lengths);
    if (!w->pieces || !w->lengths) {
        return no_memory(err);
    }
    for (size_t s = 0; s < text->n_sequences; s++) {
        uint32_t length = text->lengths[s];
        if (length == 0 || length > text->n_tokens - at) {
            return wl_err_set(err, WL_INPUT, "calibration text: sequence %zu has %u tokens", s,
                              length);
        }
        if (every <= 1 || s % every == 0) {
            w->lengths[w->n_pieces] = length;
            w->pieces[w->n_pieces++] = (struct piece){at, image, length};
            w->n_tokens += length;
            w->chunk_tokens = length > w->chunk_tokens ? length : w->chunk_tokens;
        }
        for (uint32_t i = 0; i < length; i++, at++) {
            image += text->tokens[at] == COMPRESS_IMAGE_TOKEN;
        }
    }
    return at == text->n_tokens && image == text->n_image_tokens && w->n_tokens > 1
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "calibration text: its sequences have %zu tokens and %zu parts of "
                            "images, expected %zu and %zu",
                            at, image, text->n_tokens, text->n_image_tokens);
}

// The chunk after `last`, of at most so many tokens but one piece at least; false at the end.
static bool next_chunk(const struct walk *w, size_t most, struct chunk *chunk) {
    chunk->first_piece += chunk->n_pieces;
    chunk->first_token += chunk->n_tokens;
    chunk->n_pieces = chunk->n_tokens = 0;
    for (size_t i = chunk->first_piece; i < w->n_pieces; i++) {
        if (chunk->n_pieces && w->lengths[i] > most - chunk->n_tokens) {
            break;
        }
        chunk->n_pieces++;
        chunk->n_tokens += w->lengths[i];
        if (chunk->n_tokens >= most) {
            break;
        }
    }
    return chunk->n_pieces > 0;
}

static struct block_batch batch_of(struct walk *w, const struct chunk *chunk) {
    size_t n = chunk->n_tokens, at = 0;
    for (size_t p = chunk->first_piece; p < chunk->first_piece + chunk->n_pieces; p++) {
        for (uint32_t i = 0; i < w->lengths[p]; i++, at++) {
            for (size_t section = 0; section < 4; section++) {
                const int32_t *given = w->text->positions;
                w->positions[section * n + at] =
                    given ? given[section * w->text->n_tokens + w->pieces[p].first + i]
                          : (section < 3 ? (int32_t)i : 0);
            }
        }
    }
    return (struct block_batch){.n_tokens = n,
                                .lengths = w->lengths + chunk->first_piece,
                                .n_sequences = chunk->n_pieces,
                                .positions = w->positions};
}

// ---- the stream ----

static enum wl_status embed_piece(struct walk *w, const struct piece *piece, float *x,
                                  struct wl_err *err) {
    size_t n_embd = w->source->n_embd, image = piece->image;
    enum wl_status status = WL_OK;
    for (uint32_t i = 0; i < piece->length && status == WL_OK; i++, x += n_embd) {
        const int32_t *token = w->text->tokens + piece->first + i;
        if (*token == COMPRESS_IMAGE_TOKEN) {
            memcpy(x, w->text->embeddings + image++ * n_embd, n_embd * sizeof *x);
        } else {
            status = compress_source_embed(w->source, token, 1, x, err);
        }
    }
    return status;
}

static enum wl_status embed(struct walk *w, struct wl_err *err) {
    enum wl_status status = WL_OK;
    struct chunk chunk = {0};
    while (status == WL_OK && next_chunk(w, w->chunk_tokens, &chunk)) {
        float *x = w->x;
        for (size_t p = 0; p < chunk.n_pieces && status == WL_OK; p++) {
            const struct piece *piece = &w->pieces[chunk.first_piece + p];
            status = embed_piece(w, piece, x, err);
            x += piece->length * (size_t)w->source->n_embd;
        }
        if (status == WL_OK) {
            status = states_write(&w->states, chunk.first_token, chunk.n_tokens, w->x, err);
        }
    }
    return status;
}

static enum wl_status open_walk(struct walk *w, struct wl_err *err) {
    size_t n_embd = w->source->n_embd;
    enum wl_status status = take_pieces(w, err);
    if (status != WL_OK) {
        return status;
    }
    w->positions = calloc(w->chunk_tokens, 4 * sizeof *w->positions);
    w->x = calloc(w->chunk_tokens, n_embd * sizeof *w->x);
    w->mid = calloc(w->chunk_tokens, n_embd * sizeof *w->mid);
    w->y = calloc(w->chunk_tokens, n_embd * sizeof *w->y);
    if (!w->positions || !w->x || !w->mid || !w->y) {
        return no_memory(err);
    }
    rng_seed(&w->rng, 1);
    status = states_open(&w->states, w->options->scratch_dir, w->n_tokens, n_embd, err);
    return status == WL_OK ? embed(w, err) : status;
}

static void close_layer(struct walk *w) {
    moments_release(&w->normed_in);
    moments_release(&w->heads_in);
    moments_release(&w->mid_in);
    moments_release(&w->inner_in);
    free(w->heads);
    free(w->h);
    w->heads = w->h = NULL;
}

static void close_walk(struct walk *w) {
    close_layer(w);
    states_close(&w->states);
    free(w->pieces);
    free(w->lengths);
    free(w->positions);
    free(w->x);
    free(w->mid);
    free(w->y);
}

static enum wl_status open_layer(struct walk *w, const struct block_shape *shape,
                                 struct wl_err *err) {
    size_t width = (size_t)shape->n_head * shape->head_dim;
    close_layer(w);
    w->heads = calloc(w->chunk_tokens, width * sizeof *w->heads);
    w->h = calloc(w->chunk_tokens, shape->n_ff * sizeof *w->h);
    if (!w->heads || !w->h) {
        return no_memory(err);
    }
    enum wl_status status = moments_init(&w->normed_in, shape->n_embd, err);
    status = status ? status : moments_init(&w->heads_in, width, err);
    status = status ? status : moments_init(&w->mid_in, shape->n_embd, err);
    return status ? status : moments_init(&w->inner_in, shape->n_ff, err);
}

// ---- what an error does ----

// Where each part lies in the weights, and its sides.
static const float **part_of(struct block_weights *weights, const struct block_shape *shape,
                             enum retype_part part, size_t *n_rows, size_t *n_columns) {
    size_t width = (size_t)shape->n_head * shape->head_dim;
    size_t kv_width = (size_t)shape->n_head_kv * shape->head_dim;
    const struct {
        const float **weight;
        size_t n_rows, n_columns;
    } parts[RETYPE_BLOCK_PARTS] = {
        [RETYPE_Q] = {&weights->wq, width, shape->n_embd},
        [RETYPE_K] = {&weights->wk, kv_width, shape->n_embd},
        [RETYPE_V] = {&weights->wv, kv_width, shape->n_embd},
        [RETYPE_ATTENTION_OUT] = {&weights->wo, shape->n_embd, width},
        [RETYPE_GATE] = {&weights->gate, shape->n_ff, shape->n_embd},
        [RETYPE_UP] = {&weights->up, shape->n_ff, shape->n_embd},
        [RETYPE_DOWN] = {&weights->down, shape->n_embd, shape->n_ff},
    };
    *n_rows = parts[part].n_rows;
    *n_columns = parts[part].n_columns;
    return parts[part].weight;
}

static const struct moments *inputs_of(const struct walk *w, enum retype_part part) {
    return part == RETYPE_DOWN            ? &w->inner_in
           : part == RETYPE_ATTENTION_OUT ? &w->heads_in
           : part >= RETYPE_GATE          ? &w->mid_in
                                          : &w->normed_in;
}

// Even noise in place of rounding; returns the relative error of the part's own output.
static double add_noise(struct walk *w, const struct moments *inputs, const float *from,
                        size_t n_rows, size_t n_columns, float *out) {
    double off = 0, size = 0;
    for (size_t row = 0; row < n_rows; row++, from += n_columns, out += n_columns) {
        double squares = 0;
        for (size_t i = 0; i < n_columns; i++) {
            squares += (double)from[i] * (double)from[i];
        }
        double range = NOISE * sqrt(12 * squares / (double)n_columns); // of that variance
        for (size_t i = 0; i < n_columns; i++) {
            double noise = range * ((double)(rng_next(&w->rng) >> 40) * 0x1p-24 - 0.5);
            out[i] = (float)((double)from[i] + noise);
            off += inputs->sums[i] * noise * noise;
            size += inputs->sums[i] * (double)from[i] * (double)from[i];
        }
    }
    return size > 0 ? off / size : 0;
}

static enum wl_status through_block(struct walk *w, const struct block_shape *shape,
                                    const struct block_weights *weights,
                                    const struct block_batch *batch, const float *x, float *y,
                                    struct wl_err *err) {
    size_t n = batch->n_tokens;
    enum wl_status status = block_attention(shape, weights, batch, x, w->mid, w->heads, err);
    status = status ? status : block_ffn_inner(shape, weights, n, w->mid, NULL, w->h, err);
    return status ? status : block_ffn_out(shape, weights, n, w->mid, w->h, y, err);
}

static double relative_error(const struct walk *w, const struct block_batch *batch, const float *y,
                             const float *truth) {
    double off = 0, size = 0;
    size_t n_embd = w->source->n_embd, at = 0;
    for (size_t s = 0; s < batch->n_sequences; at += batch->lengths[s++]) {
        for (size_t i = (at + 1) * n_embd; i < (at + batch->lengths[s]) * n_embd; i++) {
            double difference = (double)y[i] - (double)truth[i];
            off += difference * difference;
            size += (double)truth[i] * (double)truth[i];
        }
    }
    return size > 0 ? off / size : 0;
}

// The first tokens before the block and behind it.
struct probe {
    struct chunk chunk;
    float *x, *y; // [n_tokens][n_embd]
};

static enum wl_status open_probe(const struct walk *w, struct probe *probe, struct wl_err *err) {
    size_t n_embd = w->source->n_embd;
    *probe = (struct probe){0};
    if (!w->options->wants_sensitivity || !next_chunk(w, PROBE_TOKENS, &probe->chunk)) {
        return WL_OK;
    }
    probe->x = calloc(probe->chunk.n_tokens, n_embd * sizeof *probe->x);
    probe->y = calloc(probe->chunk.n_tokens, n_embd * sizeof *probe->y);
    return probe->x && probe->y ? states_read(&w->states, 0, probe->chunk.n_tokens, probe->x, err)
                                : no_memory(err);
}

static void close_probe(struct probe *probe) {
    free(probe->x);
    free(probe->y);
}

static enum wl_status probe_part(struct walk *w, const struct compress_block *block,
                                 const struct probe *probe, const struct block_batch *batch,
                                 enum retype_part part, double *sensitivity, struct wl_err *err) {
    struct block_weights weights = block->weights;
    size_t n_rows, n_columns;
    const float **weight = part_of(&weights, &block->shape, part, &n_rows, &n_columns);
    *sensitivity = 0;
    if (!n_rows || !n_columns || !*weight) {
        return WL_OK;
    }
    float *noisy = calloc(n_rows, n_columns * sizeof *noisy);
    if (!noisy) {
        return no_memory(err);
    }
    double error = add_noise(w, inputs_of(w, part), *weight, n_rows, n_columns, noisy);
    *weight = noisy;
    enum wl_status status = through_block(w, &block->shape, &weights, batch, probe->x, w->y, err);
    if (status == WL_OK && error > 0) {
        *sensitivity = relative_error(w, batch, w->y, probe->y) / error;
    }
    free(noisy);
    return status;
}

// Noise in one part after the other.
static enum wl_status probe_block(struct walk *w, const struct compress_block *block,
                                  const struct probe *probe, uint32_t layer, double *sensitivity,
                                  struct wl_err *err) {
    struct block_batch batch = batch_of(w, &probe->chunk);
    enum wl_status status =
        through_block(w, &block->shape, &block->weights, &batch, probe->x, probe->y, err);
    for (int part = 0; part < RETYPE_BLOCK_PARTS && status == WL_OK; part++) {
        status = tell(w, layer, 0.5 + 0.5 * part / RETYPE_BLOCK_PARTS, err);
        status = status ? status
                        : probe_part(w, block, probe, &batch, (enum retype_part)part,
                                     &sensitivity[part], err);
    }
    return status;
}

// ---- one block ----

static void count_chunk(struct walk *w, const struct compress_block *block,
                        const struct chunk *chunk) {
    const struct block_shape *shape = &block->shape;
    size_t at = 0, n_embd = shape->n_embd;
    for (size_t p = chunk->first_piece; p < chunk->first_piece + chunk->n_pieces; p++) {
        size_t skip = w->lengths[p] > 1, from = at + skip, n = w->lengths[p] - skip;
        moments_add_normed(&w->normed_in, w->x + from * n_embd, n, shape->rms_eps,
                           block->weights.attn_norm);
        moments_add(&w->heads_in, w->heads + from * w->heads_in.width, n);
        moments_add_normed(&w->mid_in, w->mid + from * n_embd, n, shape->rms_eps,
                           block->weights.ffn_norm);
        moments_add(&w->inner_in, w->h + from * shape->n_ff, n);
        at += w->lengths[p];
    }
}

static enum wl_status pass_block(struct walk *w, const struct compress_block *block, uint32_t layer,
                                 struct wl_err *err) {
    struct chunk chunk = {0};
    enum wl_status status = WL_OK;
    double share = w->options->wants_sensitivity ? 0.5 : 1;
    while (status == WL_OK && next_chunk(w, w->chunk_tokens, &chunk)) {
        struct block_batch batch = batch_of(w, &chunk);
        size_t first = chunk.first_token, n = chunk.n_tokens;
        status = tell(w, layer, share * (double)first / (double)w->n_tokens, err);
        status = status ? status : states_read(&w->states, first, n, w->x, err);
        status = status ? status
                        : through_block(w, &block->shape, &block->weights, &batch, w->x, w->y, err);
        if (status == WL_OK) {
            count_chunk(w, block, &chunk);
            status = states_write(&w->states, first, n, w->y, err);
        }
    }
    return status;
}

static enum wl_status store_layer(const struct walk *w, struct retype_layer *out,
                                  struct wl_err *err) {
    struct {
        const struct moments *from;
        float **to;
    } kinds[] = {{&w->normed_in, &out->normed},
                 {&w->heads_in, &out->heads},
                 {&w->mid_in, &out->mid},
                 {&w->inner_in, &out->inner}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        *kinds[i].to = calloc(kinds[i].from->width + 1, sizeof(float));
        if (!*kinds[i].to) {
            return no_memory(err);
        }
        moments_mean(kinds[i].from, *kinds[i].to);
    }
    out->n_ff = (uint32_t)w->inner_in.width;
    return WL_OK;
}

static void forget_block(const struct walk *w, uint32_t layer) {
    char prefix[32];
    size_t len = (size_t)snprintf(prefix, sizeof prefix, "blk.%u.", layer);
    for (uint64_t i = 0; i < w->source->file.n_tensors; i++) {
        const struct gguf_tensor *tensor = &w->source->file.tensors[i];
        if (strncmp(tensor->name, prefix, len) == 0) {
            retype_forget(w->source, tensor);
        }
    }
}

static enum wl_status walk_block(struct walk *w, uint32_t layer, struct retype_layer *out,
                                 struct wl_err *err) {
    struct compress_block block;
    struct probe probe = {0};
    enum wl_status status = compress_source_load(w->source, layer, &block, err);
    if (status != WL_OK) {
        return status;
    }
    forget_block(w, layer);
    status = open_layer(w, &block.shape, err);
    status = status ? status : open_probe(w, &probe, err);
    status = status ? status : pass_block(w, &block, layer, err);
    if (status == WL_OK && probe.x) {
        status = probe_block(w, &block, &probe, layer, out->sensitivity, err);
    }
    status = status ? status : store_layer(w, out, err);
    close_probe(&probe);
    compress_block_release(&block);
    return status;
}

// ---- all of them ----

static enum wl_status walk_output(struct walk *w, float **out, struct wl_err *err) {
    const struct gguf_tensor *norm = compress_source_tensor(w->source, -1, "output_norm.weight");
    size_t n_embd = w->source->n_embd;
    struct block_shape shape;
    struct moments moments = {0};
    struct chunk chunk = {0};
    float *factor = calloc(n_embd, sizeof *factor);
    *out = calloc(n_embd, sizeof **out);
    enum wl_status status = factor && *out && norm ? WL_OK : no_memory(err);
    status = status ? status : compress_source_shape(w->source, 0, &shape, err);
    status = status ? status : moments_init(&moments, n_embd, err);
    if (status == WL_OK) {
        compress_source_rows(w->source, norm, 0, 1, factor);
    }
    while (status == WL_OK && next_chunk(w, w->chunk_tokens, &chunk)) {
        status = states_read(&w->states, chunk.first_token, chunk.n_tokens, w->x, err);
        if (status == WL_OK) {
            moments_add_normed(&moments, w->x, chunk.n_tokens, shape.rms_eps, factor);
        }
    }
    if (status == WL_OK) {
        moments_mean(&moments, *out);
    }
    moments_release(&moments);
    free(factor);
    return status;
}

enum wl_status retype_walk(const struct compress_source *source, const struct compress_text *text,
                           const struct retype_walk_options *options, struct retype_inputs *out,
                           struct wl_err *err) {
    struct walk w = {.source = source, .text = text, .options = options, .states.fd = -1};
    *out = (struct retype_inputs){0};
    out->layers = calloc(source->n_layer + (size_t)1, sizeof *out->layers);
    enum wl_status status = out->layers ? open_walk(&w, err) : no_memory(err);
    out->n_layer = out->layers ? source->n_layer : 0;
    for (uint32_t layer = 0; layer < out->n_layer && status == WL_OK; layer++) {
        status = walk_block(&w, layer, &out->layers[layer], err);
    }
    status = status ? status : walk_output(&w, &out->output, err);
    close_walk(&w);
    return status;
}

void retype_inputs_release(struct retype_inputs *inputs) {
    for (size_t i = 0; i < inputs->n_layer; i++) {
        free(inputs->layers[i].normed);
        free(inputs->layers[i].heads);
        free(inputs->layers[i].mid);
        free(inputs->layers[i].inner);
    }
    free(inputs->layers);
    free(inputs->output);
    *inputs = (struct retype_inputs){0};
}
