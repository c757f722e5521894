#include "compressor/analysis_walk.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROBE_LENGTH = 128, // tokens of a sequence that the probe takes, where there are many
    PROBE_SKIP = 8,     // of each that are not judged: they have next to nothing before them
};
static const size_t PROBE_MAX_TOKENS = 65536;

// LAPACK and what is not a product of large matrices does less in a second.
static const double SLOW = 4;

// ---- texts ----

static enum wl_status check_text(const struct analysis_walk *walk, struct wl_err *err) {
    const struct compress_text *text = walk->text;
    const struct analysis_options *o = walk->options;
    size_t n = 0;
    for (size_t s = 0; s < text->n_sequences; s++) {
        if (text->lengths[s] < 2 || text->lengths[s] > ANALYSIS_MAX_SEQUENCE) {
            return wl_err_set(err, WL_INPUT,
                              "sequence %zu has %" PRIu32 " tokens, expected 2 to %d", s,
                              text->lengths[s], ANALYSIS_MAX_SEQUENCE);
        }
        n += text->lengths[s];
    }
    if (n != text->n_tokens || o->n_held_out < 1 || o->n_held_out >= text->n_sequences) {
        return wl_err_set(err, WL_INPUT,
                          "%zu of %zu sequences are held out, expected 1 or more and not all",
                          o->n_held_out, text->n_sequences);
    }
    if (o->n_tokens_kl < 2 || o->n_tokens_kl > PROBE_MAX_TOKENS) {
        return wl_err_set(err, WL_INPUT, "divergences on %zu tokens: expected 2 to %zu",
                          o->n_tokens_kl, PROBE_MAX_TOKENS);
    }
    return WL_OK;
}

static size_t sum_lengths(const uint32_t *lengths, size_t n) {
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += lengths[i];
    }
    return sum;
}

bool analysis_next_chunk(const struct analysis_walk *walk, const struct analysis_sequences *of,
                         struct analysis_chunk *chunk) {
    size_t s = chunk->next_sequence, first = chunk->first + chunk->n_tokens, n = 0, from = s;
    while (s < of->n_sequences && (n == 0 || n + of->lengths[s] <= ANALYSIS_CHUNK)) {
        n += of->lengths[s++];
    }
    *chunk = (struct analysis_chunk){.first = first, .n_tokens = n, .next_sequence = s};
    chunk->batch = (struct block_batch){.n_tokens = n,
                                        .lengths = of->lengths + from,
                                        .n_sequences = s - from,
                                        .positions = walk->positions};
    for (size_t part = 0; part < 4; part++) {
        int32_t *out = walk->positions + part * n;
        for (size_t i = from, at = 0; !of->positions && i < s; i++) {
            for (uint32_t k = 0; k < of->lengths[i]; k++, at++) {
                out[at] = part < 3 ? (int32_t)k : 0; // text is at the same place in M-RoPE's three
            }
        }
        if (of->positions) {
            memcpy(out, of->positions + part * of->stride + first, n * sizeof *out);
        }
    }
    return n > 0;
}

// What enters block 0 for tokens of the text.
static enum wl_status embed(const struct analysis_walk *walk, size_t first, size_t n, float *out,
                            struct wl_err *err) {
    const struct compress_text *text = walk->text;
    size_t n_embd = walk->source->n_embd, n_images = 0;
    for (size_t i = 0; i < first; i++) {
        n_images += text->tokens[i] == COMPRESS_IMAGE_TOKEN;
    }
    for (size_t i = first; i < first + n; i++, out += n_embd) {
        enum wl_status status = WL_OK;
        if (text->tokens[i] != COMPRESS_IMAGE_TOKEN) {
            status = compress_source_embed(walk->source, text->tokens + i, 1, out, err);
        } else if (text->embeddings && n_images < text->n_image_tokens) {
            memcpy(out, text->embeddings + n_images++ * n_embd, n_embd * sizeof *out);
        } else {
            status = wl_err_set(err, WL_INPUT, "token %zu is of an image that is not there", i);
        }
        if (status != WL_OK) {
            return status;
        }
    }
    return WL_OK;
}

static enum wl_status embed_stream(struct analysis_walk *walk, struct wl_err *err) {
    struct analysis_chunk chunk = {0};
    enum wl_status status = WL_OK;
    while (status == WL_OK && analysis_next_chunk(walk, &walk->sequences, &chunk)) {
        status = embed(walk, chunk.first, chunk.n_tokens, walk->x, err);
        if (status == WL_OK) {
            status = states_write(&walk->stream, chunk.first, chunk.n_tokens, walk->x, err);
        }
    }
    return status;
}

// ---- the probe ----

// The beginnings of some held-out sequences, evenly chosen: they may come in
// groups of a kind.
struct choice {
    size_t n_sequences;
    uint32_t most; // tokens of each
};

static struct choice choose(const struct analysis_walk *walk) {
    size_t n_kl = walk->options->n_tokens_kl, n = n_kl / PROBE_LENGTH;
    n = n < 1 ? 1 : n;
    n = n < walk->options->n_held_out ? n : walk->options->n_held_out;
    return (struct choice){n, (uint32_t)(n_kl / n)};
}

static void add_judged(struct analysis_probe *probe, const int32_t *tokens, uint32_t length) {
    uint32_t skip = PROBE_SKIP < length / 2 ? PROBE_SKIP : length / 2;
    for (uint32_t i = skip; i < length; i++) {
        if (tokens[i] != COMPRESS_IMAGE_TOKEN) {
            probe->judged[probe->n_judged++] = (uint32_t)(probe->n + i);
        }
    }
}

static void add_positions(struct analysis_probe *probe, const struct compress_text *text,
                          size_t first, uint32_t length, size_t stride) {
    for (size_t part = 0; part < 4; part++) {
        int32_t *out = probe->positions + part * stride + probe->n;
        for (uint32_t i = 0; i < length; i++) {
            out[i] = text->positions ? text->positions[part * text->n_tokens + first + i]
                     : part < 3      ? (int32_t)i
                                     : 0;
        }
    }
}

static enum wl_status fill_probe(struct analysis_walk *walk, struct wl_err *err) {
    struct analysis_probe *probe = &walk->probe;
    const struct compress_text *text = walk->text;
    size_t n_held_out = walk->options->n_held_out, n_embd = walk->source->n_embd;
    struct choice choice = choose(walk);
    size_t stride = choice.n_sequences * choice.most, first = 0, s = 0;
    for (size_t i = 0; i < choice.n_sequences; i++) {
        size_t wanted = text->n_sequences - n_held_out + i * n_held_out / choice.n_sequences;
        for (; s < wanted; s++) {
            first += text->lengths[s];
        }
        uint32_t length = text->lengths[s] < choice.most ? text->lengths[s] : choice.most;
        enum wl_status status = embed(walk, first, length, probe->x + probe->n * n_embd, err);
        if (status != WL_OK) {
            return status;
        }
        add_judged(probe, text->tokens + first, length);
        add_positions(probe, text, first, length, stride);
        probe->lengths[i] = length;
        probe->n += length;
    }
    probe->sequences =
        (struct analysis_sequences){probe->lengths, choice.n_sequences, probe->positions, stride};
    return probe->n_judged > 0
               ? WL_OK
               : wl_err_set(err, WL_INPUT, "the held-out sequences are images from end to end");
}

static enum wl_status open_probe(struct analysis_walk *walk, struct wl_err *err) {
    struct analysis_probe *probe = &walk->probe;
    struct choice choice = choose(walk);
    size_t n = choice.n_sequences * choice.most, n_embd = walk->source->n_embd;
    probe->lengths = calloc(choice.n_sequences, sizeof *probe->lengths);
    probe->positions = calloc(n, 4 * sizeof *probe->positions);
    probe->judged = calloc(n, sizeof *probe->judged);
    probe->x = calloc(n, n_embd * sizeof *probe->x);
    if (!probe->lengths || !probe->positions || !probe->judged || !probe->x) {
        return wl_err_set(err, WL_MEMORY, "no memory for the states of %zu tokens", n);
    }
    enum wl_status status = fill_probe(walk, err);
    size_t n_rows = (size_t)walk->source->n_layer * N_VARIANTS * probe->n;
    return status == WL_OK
               ? states_open(&probe->variants, walk->options->scratch_dir, n_rows, n_embd, err)
               : status;
}

// ---- progress ----

bool analysis_goes_on(void *context) {
    const struct analysis_walk *walk = context;
    const struct analysis_options *o = walk->options;
    double share = walk->work_total > 0 ? fmin(walk->work_done / walk->work_total, 1) : 0;
    return !o->go_on || o->go_on(o->context, share);
}

enum wl_status analysis_worked(struct analysis_walk *walk, double work, struct wl_err *err) {
    walk->work_done += work;
    return analysis_goes_on(walk)
               ? WL_OK
               : wl_err_set(err, WL_INTERRUPTED, "interrupted: the analysis is not finished");
}

static double heads_width(const struct block_shape *shape) {
    return (double)shape->n_head * shape->head_dim;
}

double analysis_block_work(const struct block_shape *shape) {
    double attention = heads_width(shape) * (1 + (double)shape->n_head_kv / shape->n_head);
    return 2 * (double)shape->n_embd * (2 * attention + 3 * (double)shape->n_ff);
}

double analysis_moments_work(const struct block_shape *shape) {
    double n_ff = shape->n_ff, heads = heads_width(shape);
    return n_ff * n_ff + heads * heads;
}

double analysis_curves_work(const struct analysis_walk *walk, const struct block_shape *shape) {
    double n_ff = shape->n_ff, heads = heads_width(shape), n_embd = shape->n_embd;
    double work = n_ff * n_ff * (n_ff + 4 * n_embd) + heads * heads * (heads + 4 * n_embd) +
                  2 * n_embd * n_embd * n_embd;
    double bonds = walk->options->with_bonds ? 20 * n_embd * n_embd * n_ff : 0;
    return SLOW * (work + bonds);
}

static enum wl_status plan_work(struct analysis_walk *walk, struct wl_err *err) {
    double n = (double)walk->stream.n_tokens, n_kl = (double)walk->probe.n;
    for (uint32_t i = 0; i < walk->source->n_layer; i++) {
        struct block_shape shape;
        enum wl_status status = compress_source_shape(walk->source, i, &shape, err);
        if (status != WL_OK) {
            return status;
        }
        double block = analysis_block_work(&shape);
        walk->work_total += n * (block + analysis_moments_work(&shape)) +
                            analysis_curves_work(walk, &shape) +
                            n_kl * block * N_VARIANTS * (1 + (double)i);
    }
    walk->work_total += analysis_output_work(walk);
    return WL_OK;
}

// ---- all of it ----

static enum wl_status allocate(struct analysis_walk *walk, struct wl_err *err) {
    struct block_shape shape;
    enum wl_status status = compress_source_shape(walk->source, 0, &shape, err);
    if (status != WL_OK) {
        return status;
    }
    size_t n = walk->most, n_embd = walk->source->n_embd;
    size_t heads = (size_t)shape.n_head * shape.head_dim;
    walk->positions = calloc(n + 1, 4 * sizeof *walk->positions);
    walk->x = calloc(n + 1, n_embd * sizeof *walk->x);
    walk->mid = calloc(n + 1, n_embd * sizeof *walk->mid);
    walk->y = calloc(n + 1, n_embd * sizeof *walk->y);
    walk->heads = calloc(n + 1, heads * sizeof *walk->heads);
    walk->h = calloc(n + 1, shape.n_ff * sizeof *walk->h);
    return walk->positions && walk->x && walk->mid && walk->y && walk->heads && walk->h
               ? WL_OK
               : wl_err_set(err, WL_MEMORY, "no memory for the states of %zu tokens", n);
}

enum wl_status analysis_walk_open(struct analysis_walk *walk, struct wl_err *err) {
    const struct compress_text *text = walk->text;
    walk->stream.fd = walk->probe.variants.fd = -1;
    enum wl_status status = check_text(walk, err);
    if (status != WL_OK) {
        return status;
    }
    size_t n_learnt = text->n_sequences - walk->options->n_held_out;
    size_t n_tokens = sum_lengths(text->lengths, n_learnt);
    walk->sequences =
        (struct analysis_sequences){text->lengths, n_learnt, text->positions, text->n_tokens};
    walk->most = ANALYSIS_CHUNK;
    for (size_t s = 0; s < text->n_sequences; s++) {
        walk->most = text->lengths[s] > walk->most ? text->lengths[s] : walk->most;
    }
    if ((status = allocate(walk, err)) ||
        (status = states_open(&walk->stream, walk->options->scratch_dir, n_tokens,
                              walk->source->n_embd, err)) ||
        (status = embed_stream(walk, err)) || (status = open_probe(walk, err))) {
        return status;
    }
    walk->out->n_tokens = n_tokens - n_learnt; // first tokens do not count
    walk->out->n_tokens_kl = walk->probe.n_judged;
    return plan_work(walk, err);
}

void analysis_walk_close(struct analysis_walk *walk) {
    states_close(&walk->stream);
    states_close(&walk->probe.variants);
    free(walk->probe.lengths);
    free(walk->probe.positions);
    free(walk->probe.judged);
    free(walk->probe.x);
    free(walk->positions);
    free(walk->x);
    free(walk->mid);
    free(walk->y);
    free(walk->heads);
    free(walk->h);
}

enum wl_status analysis_matrix(const struct analysis_walk *walk, uint32_t layer, const char *name,
                               float **out, struct wl_err *err) {
    const struct gguf_tensor *tensor = compress_source_tensor(walk->source, (int32_t)layer, name);
    *out = NULL;
    if (!tensor) {
        return wl_err_set(err, WL_INPUT, "tensor 'blk.%" PRIu32 ".%s' is missing", layer, name);
    }
    *out = calloc((size_t)tensor->ne[1], (size_t)tensor->ne[0] * sizeof **out);
    if (!*out) {
        return wl_err_set(err, WL_MEMORY, "no memory for tensor '%s'", tensor->name);
    }
    compress_source_rows(walk->source, tensor, 0, tensor->ne[1], *out);
    return WL_OK;
}
