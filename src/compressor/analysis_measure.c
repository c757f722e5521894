#include <math.h>
#include <stdlib.h>

#include "compressor/analysis_walk.h"

void analysis_moments_release(struct analysis_moments *moments) {
    gram_release(&moments->h);
    gram_release(&moments->heads);
}

struct sums {
    double angle;                // of 1 - cos(x, y)
    double size, attention, ffn; // of |x|^2 and of what the parts add
    double n;
};

static void add_token(struct sums *sums, const float *x, const float *mid, const float *y,
                      size_t n_embd) {
    double xx = 0, xy = 0, yy = 0, attention = 0, ffn = 0;
    for (size_t i = 0; i < n_embd; i++) {
        double a = (double)x[i], b = (double)mid[i], c = (double)y[i];
        xx += a * a;
        xy += a * c;
        yy += c * c;
        attention += (b - a) * (b - a);
        ffn += (c - b) * (c - b);
    }
    double both = sqrt(xx * yy);
    sums->angle += both > 0 ? fmax(1 - xy / both, 0) : 0;
    sums->size += xx;
    sums->attention += attention;
    sums->ffn += ffn;
    sums->n++;
}

// The first token of a sequence attends to nothing and has a state of its own
// kind, often huge: it would fill the moments.
static void add_chunk(const struct analysis_walk *walk, const struct analysis_chunk *chunk,
                      const struct block_shape *shape, struct sums *sums,
                      struct analysis_moments *moments) {
    size_t n_embd = shape->n_embd, heads = (size_t)shape->n_head * shape->head_dim, at = 0;
    for (size_t s = 0; s < chunk->batch.n_sequences; s++) {
        size_t n = chunk->batch.lengths[s];
        for (size_t i = at + 1; i < at + n; i++) {
            add_token(sums, walk->x + i * n_embd, walk->mid + i * n_embd, walk->y + i * n_embd,
                      n_embd);
        }
        gram_add(&moments->h, walk->h + (at + 1) * shape->n_ff, n - 1, 1);
        gram_add(&moments->heads, walk->heads + (at + 1) * heads, n - 1, 1);
        at += n;
    }
}

static enum wl_status pass_chunk(struct analysis_walk *walk, const struct compress_block *block,
                                 const struct analysis_chunk *chunk, struct wl_err *err) {
    const struct block_shape *shape = &block->shape;
    const struct block_weights *w = &block->weights;
    size_t n = chunk->n_tokens;
    enum wl_status status;
    if ((status = states_read(&walk->stream, chunk->first, n, walk->x, err)) ||
        (status = block_attention(shape, w, &chunk->batch, walk->x, walk->mid, walk->heads, err)) ||
        (status = block_ffn_inner(shape, w, n, walk->mid, NULL, walk->h, err)) ||
        (status = block_ffn_out(shape, w, n, walk->mid, walk->h, walk->y, err))) {
        return status;
    }
    return states_write(&walk->stream, chunk->first, n, walk->y, err);
}

static enum wl_status take_shares(const struct sums *sums, struct analysis_layer *layer,
                                  struct wl_err *err) {
    layer->influence = sums->angle / sums->n;
    layer->attention_share = sums->size > 0 ? sums->attention / sums->size : 0;
    layer->ffn_share = sums->size > 0 ? sums->ffn / sums->size : 0;
    return isfinite(layer->influence + layer->attention_share + layer->ffn_share)
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "the states behind block %u are not finite: is the "
                            "file damaged?",
                            layer->layer);
}

enum wl_status analysis_measure(struct analysis_walk *walk, const struct compress_block *block,
                                struct analysis_layer *layer, struct analysis_moments *moments,
                                struct wl_err *err) {
    const struct block_shape *shape = &block->shape;
    struct analysis_chunk chunk = {0};
    struct sums sums = {0};
    double work = analysis_block_work(shape) + analysis_moments_work(shape);
    enum wl_status status = gram_init(&moments->h, shape->n_ff, err);
    if (status == WL_OK) {
        status = gram_init(&moments->heads, (size_t)shape->n_head * shape->head_dim, err);
    }
    while (status == WL_OK && analysis_next_chunk(walk, &walk->sequences, &chunk)) {
        status = pass_chunk(walk, block, &chunk, err);
        if (status == WL_OK) {
            add_chunk(walk, &chunk, shape, &sums, moments);
            status = analysis_worked(walk, work * (double)chunk.n_tokens, err);
        }
    }
    return status == WL_OK ? take_shares(&sums, layer, err) : status;
}
