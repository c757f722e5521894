#include "compressor/narrow_end.h"

#include <math.h>
#include <stdlib.h>

struct ending {
    const float *norm; // as it was, and as it may become: [n_embd]
    float *fitted;
    float rms_eps;
    double *products, *squares;   // [n_embd]: sums of x z and of z^2, both normalised
    double off, size;             // of the streams, on held-out text
    double off_before, off_after; // of what the output matrix sees
};

static float scale_of(const float *row, size_t n_embd, float rms_eps) {
    double squares = 0;
    for (size_t i = 0; i < n_embd; i++) {
        squares += (double)row[i] * row[i];
    }
    return (float)(1 / sqrt(squares / (double)n_embd + rms_eps));
}

static void add_distance(struct ending *e, const float *x, const float *z, size_t n_embd) {
    for (size_t i = 0; i < n_embd; i++) {
        double off = z[i] - x[i];
        e->off += off * off;
        e->size += (double)x[i] * x[i];
    }
}

static enum wl_status learn_rows(struct narrow_walk *walk, const uint32_t *rows, size_t n,
                                 float weight, void *context, struct wl_err *err) {
    struct ending *e = context;
    size_t n_embd = walk->source->n_embd;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        const float *x = walk->target + rows[i] * n_embd, *z = walk->x + rows[i] * n_embd;
        float by_x = scale_of(x, n_embd, e->rms_eps), by_z = scale_of(z, n_embd, e->rms_eps);
        for (size_t j = 0; j < n_embd; j++) {
            double in = (double)z[j] * by_z;
            e->products[j] += weight * in * (double)x[j] * by_x;
            e->squares[j] += weight * in * in;
        }
    }
    return WL_OK;
}

static enum wl_status read_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                 struct wl_err *err) {
    enum wl_status status =
        states_read(&walk->now.original, chunk->first, chunk->n_tokens, walk->target, err);
    return status == WL_OK
               ? states_read(&walk->now.made, chunk->first, chunk->n_tokens, walk->x, err)
               : status;
}

static enum wl_status measure_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                    void *context, struct wl_err *err) {
    struct ending *e = context;
    size_t n_embd = walk->source->n_embd, at = 0;
    enum wl_status status = read_chunk(walk, chunk, err);
    if (status != WL_OK || !chunk->is_held_out) {
        return status == WL_OK && e->products ? narrow_each_rows(walk, chunk, learn_rows, e, err)
                                              : status;
    }
    for (size_t s = 0; s < chunk->batch.n_sequences; s++) {
        size_t end = at + chunk->batch.lengths[s];
        for (size_t i = at + 1; i < end; i++) {
            add_distance(e, walk->target + i * n_embd, walk->x + i * n_embd, n_embd);
        }
        at = end;
    }
    return WL_OK;
}

// ---- the norm ----

static enum wl_status judge_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                  void *context, struct wl_err *err) {
    struct ending *e = context;
    size_t n_embd = walk->source->n_embd, at = 0;
    enum wl_status status = read_chunk(walk, chunk, err);
    for (size_t s = 0; s < chunk->batch.n_sequences && status == WL_OK; s++) {
        for (size_t i = at + 1; i < at + chunk->batch.lengths[s]; i++) {
            const float *x = walk->target + i * n_embd, *z = walk->x + i * n_embd;
            float by_x = scale_of(x, n_embd, e->rms_eps), by_z = scale_of(z, n_embd, e->rms_eps);
            for (size_t j = 0; j < n_embd; j++) {
                double wanted = (double)x[j] * by_x * e->norm[j], in = (double)z[j] * by_z;
                double before = in * e->norm[j] - wanted, after = in * e->fitted[j] - wanted;
                e->off_before += before * before;
                e->off_after += after * after;
            }
        }
        at += chunk->batch.lengths[s];
    }
    return status;
}

static enum wl_status fit(struct narrow_walk *walk, struct ending *e, struct wl_err *err) {
    const struct narrow_options *o = walk->options;
    for (size_t i = 0; i < walk->source->n_embd; i++) {
        double gain = e->squares[i] > 0 ? e->products[i] / e->squares[i] : 1;
        e->fitted[i] = (float)(e->norm[i] * gain);
    }
    enum wl_status status = narrow_each_chunk(walk, true, judge_chunk, e, err);
    return status == WL_OK && e->off_after < e->off_before
               ? o->on_output_norm(o->context, e->fitted, err)
               : status;
}

enum wl_status narrow_end(struct narrow_walk *walk, double *stream_error, struct wl_err *err) {
    const struct compress_source *source = walk->source;
    bool is_fitted = walk->options->on_output_norm != NULL;
    struct block_shape shape;
    enum wl_status status = compress_source_shape(source, source->n_layer - 1, &shape, err);
    if (status != WL_OK) {
        return status;
    }
    float *norm = calloc(source->n_embd, sizeof *norm);
    struct ending e = {.norm = norm,
                       .rms_eps = shape.rms_eps,
                       .fitted = calloc(source->n_embd, sizeof *e.fitted),
                       .products = is_fitted ? calloc(source->n_embd, sizeof *e.products) : NULL,
                       .squares = calloc(source->n_embd, sizeof *e.squares)};
    if (!norm || !e.fitted || !e.squares || (is_fitted && !e.products)) {
        status = wl_err_set(err, WL_MEMORY, "no memory for the output norm");
    }
    if (status == WL_OK) {
        const struct gguf_tensor *tensor = compress_source_tensor(source, -1, "output_norm.weight");
        compress_source_rows(source, tensor, 0, 1, norm);
        status = narrow_each_chunk(walk, !is_fitted, measure_chunk, &e, err);
    }
    *stream_error = e.size > 0 ? e.off / e.size : NAN;
    if (status == WL_OK && is_fitted) {
        status = fit(walk, &e, err);
    }
    free(norm);
    free(e.fitted);
    free(e.products);
    free(e.squares);
    return status;
}
