#include "compressor/narrow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress/heal.h"
#include "compress/obs.h"
#include "compress/repair.h"
#include "compressor/narrow_walk.h"
#include "os/clock.h"

enum { OBS_BLOCK = 64, HEAL_BATCH = 1024, HEAL_CHECK_EVERY = 20, HEAL_MAX_STEPS = 100000 };
static const float HEAL_RATE = 0.05F; // in the units of heal.h

// A block while it becomes narrower.
struct narrowing {
    struct narrow_walk *walk;
    const struct compress_block *block;
    struct block_shape shape;     // with the new n_ff
    struct block_weights weights; // the narrow ones
    uint32_t *kept;
    float *norm, *gate, *up, *down; // ours; weights points to them
    float *second_moments;          // of kept inputs
    struct narrow_layer result;
    int64_t heal_until_ns;
};

static enum wl_status no_memory(const struct narrowing *n, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory to narrow block %u to %u neurons", n->result.layer,
                      n->shape.n_ff);
}

// ---- which neurons ----

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

struct scored {
    double score;
    uint32_t neuron;
};

static int by_score(const void *a, const void *b) { // largest first
    const struct scored *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score)
                                : by_number(&x->neuron, &y->neuron);
}

static float largest(const float *row, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(row[i]));
    }
    return most;
}

static double score_of(const struct narrowing *n, uint32_t neuron, const float *diagonal) {
    const struct block_weights *w = &n->block->weights;
    size_t n_embd = n->shape.n_embd, n_ff = n->block->shape.n_ff;
    if (n->walk->options->method == NARROW_MAGNITUDE) {
        return largest(w->gate + neuron * n_embd, n_embd) +
               largest(w->up + neuron * n_embd, n_embd);
    }
    double sum = 0;
    for (size_t i = 0; i < n_embd; i++) {
        double value = w->down[i * n_ff + neuron];
        sum += value * value;
    }
    return sqrt(sum * diagonal[neuron]);
}

static enum wl_status choose_by_score(struct narrowing *n, const float *diagonal,
                                      struct wl_err *err) {
    uint32_t n_ff = n->block->shape.n_ff;
    struct scored *scored = calloc(n_ff, sizeof *scored);
    if (!scored) {
        return no_memory(n, err);
    }
    for (uint32_t i = 0; i < n_ff; i++) {
        scored[i] = (struct scored){score_of(n, i, diagonal), i};
    }
    qsort(scored, n_ff, sizeof *scored, by_score);
    for (uint32_t i = 0; i < n->shape.n_ff; i++) {
        n->kept[i] = scored[i].neuron;
    }
    free(scored);
    return WL_OK;
}

static enum wl_status choose_by_surgeon(struct narrowing *n, struct wl_err *err) {
    size_t n_ff = n->block->shape.n_ff;
    struct obs_options options = {
        .ridge = n->walk->options->ridge, .block = OBS_BLOCK, .group = 1, .n_min = n->shape.n_ff};
    float *square = calloc(n_ff, n_ff * sizeof *square);
    uint32_t *order = calloc(n_ff, sizeof *order);
    double *error = calloc(n_ff + 1, sizeof *error);
    enum wl_status status = square && order && error ? WL_OK : no_memory(n, err);
    if (status == WL_OK) {
        gram_square(&n->walk->gram, square);
        status = obs_order(&options, n->block->weights.down, n->shape.n_embd, n_ff, square, order,
                           error, err);
    }
    if (status == WL_OK) {
        memcpy(n->kept, order + n_ff - n->shape.n_ff, n->shape.n_ff * sizeof *order);
    }
    free(square);
    free(order);
    free(error);
    return status;
}

static enum wl_status choose(struct narrowing *n, struct wl_err *err) {
    enum narrow_method method = n->walk->options->method;
    bool has_scores = method == NARROW_MAGNITUDE || method == NARROW_WANDA;
    uint32_t n_ff = n->block->shape.n_ff;
    float *diagonal = calloc(n_ff, sizeof *diagonal);
    if (!diagonal) {
        return no_memory(n, err);
    }
    gram_diagonal(&n->walk->gram, diagonal);
    enum wl_status status =
        has_scores ? choose_by_score(n, diagonal, err) : choose_by_surgeon(n, err);
    qsort(n->kept, n->shape.n_ff, sizeof *n->kept, by_number);
    for (uint32_t i = 0; i < n->shape.n_ff && status == WL_OK; i++) {
        n->second_moments[i] = diagonal[n->kept[i]];
    }
    free(diagonal);
    return status;
}

// ---- cut, repair, heal ----

static void gather_rows(const float *from, const uint32_t *rows, size_t n_rows, size_t width,
                        float *out) {
    for (size_t i = 0; i < n_rows; i++) {
        memcpy(out + i * width, from + rows[i] * width, width * sizeof *out);
    }
}

static void gather_columns(const float *from, size_t n_rows, size_t width, const uint32_t *columns,
                           size_t n_columns, float *out) {
    for (size_t row = 0; row < n_rows; row++) {
        for (size_t i = 0; i < n_columns; i++) {
            out[row * n_columns + i] = from[row * width + columns[i]];
        }
    }
}

static void cut(struct narrowing *n) {
    const struct block_weights *w = &n->block->weights;
    size_t n_embd = n->shape.n_embd, n_ff = n->shape.n_ff;
    memcpy(n->norm, w->ffn_norm, n_embd * sizeof *n->norm);
    gather_rows(w->gate, n->kept, n_ff, n_embd, n->gate);
    gather_rows(w->up, n->kept, n_ff, n_embd, n->up);
    gather_columns(w->down, n_embd, n->block->shape.n_ff, n->kept, n_ff, n->down);
    n->weights = *w;
    n->weights.ffn_norm = n->norm;
    n->weights.gate = n->gate;
    n->weights.up = n->up;
    n->weights.down = n->down;
}

static enum wl_status repair(struct narrowing *n, struct wl_err *err) {
    size_t n_embd = n->shape.n_embd, n_all = n->block->shape.n_ff, n_ff = n->shape.n_ff;
    float *square = calloc(n_all, n_all * sizeof *square), *hh = calloc(n_ff, n_ff * sizeof *hh);
    float *th = calloc(n_embd, n_ff * sizeof *th), *down = calloc(n_embd, n_ff * sizeof *down);
    enum wl_status status = square && hh && th && down ? WL_OK : no_memory(n, err);
    if (status == WL_OK) {
        gram_square(&n->walk->gram, square);
        for (size_t i = 0; i < n_ff; i++) {
            gather_columns(square + n->kept[i] * n_all, 1, n_all, n->kept, n_ff, hh + i * n_ff);
        }
        gather_columns(n->walk->cross, n_embd, n_all, n->kept, n_ff, th);
        for (size_t i = 0; i < n_embd * n_ff; i++) {
            th[i] = (float)(th[i] / n->walk->gram.count);
        }
        status = repair_solve(hh, th, n->down, n_embd, n_ff, n->walk->options->ridge, down, err);
    }
    if (status == WL_OK) {
        memcpy(n->down, down, n_embd * n_ff * sizeof *down);
    }
    free(square);
    free(hh);
    free(th);
    free(down);
    return status;
}

static bool heal_goes_on(void *context, size_t step, double train_error, double held_out_error) {
    const struct narrowing *n = context;
    (void)step;
    (void)train_error;
    (void)held_out_error;
    return os_now_ns() < n->heal_until_ns;
}

// Rows of a stream without the first token of each sequence; what is judged comes last.
static enum wl_status gather_stream(const struct narrow_walk *walk, const struct states *stream,
                                    float *out, size_t *n_rows, size_t *n_held_out,
                                    struct wl_err *err) {
    const struct compress_text *text = walk->text;
    size_t n_learnt = text->n_sequences - walk->options->n_held_out;
    size_t at = 0, n_embd = walk->source->n_embd;
    enum wl_status status = WL_OK;
    *n_rows = *n_held_out = 0;
    for (size_t s = 0; s < text->n_sequences && status == WL_OK; s++) {
        size_t n = text->lengths[s] - 1;
        status = n ? states_read(stream, at + 1, n, out + *n_rows * n_embd, err) : WL_OK;
        *n_rows += n;
        *n_held_out += s >= n_learnt ? n : 0;
        at += text->lengths[s];
    }
    return status;
}

static enum wl_status heal(struct narrowing *n, struct wl_err *err) {
    const struct narrow_options *o = n->walk->options;
    size_t n_tokens = n->walk->text->n_tokens, n_embd = n->shape.n_embd, n_rows, n_held_out;
    float *mid = calloc(n_tokens, n_embd * sizeof *mid);
    float *target = calloc(n_tokens, n_embd * sizeof *target);
    enum wl_status status = mid && target ? WL_OK : no_memory(n, err);
    if (status == WL_OK) {
        status = gather_stream(n->walk, &n->walk->made, mid, &n_rows, &n_held_out, err);
    }
    if (status == WL_OK) {
        status = gather_stream(n->walk, &n->walk->original, target, &n_rows, &n_held_out, err);
    }
    if (status == WL_OK) {
        n->heal_until_ns = os_now_ns() + (int64_t)(o->heal_seconds * 1e9);
        struct heal_ffn ffn = {.n_embd = n_embd,
                               .n_ff = n->shape.n_ff,
                               .rms_eps = n->shape.rms_eps,
                               .is_gelu = n->shape.is_gelu,
                               .norm = n->norm,
                               .gate = n->gate,
                               .up = n->up,
                               .down = n->down};
        struct heal_options options = {.rate = HEAL_RATE,
                                       .batch_tokens = HEAL_BATCH,
                                       .n_steps = HEAL_MAX_STEPS,
                                       .seed = o->seed + n->result.layer,
                                       .check_every = HEAL_CHECK_EVERY,
                                       .go_on = heal_goes_on,
                                       .context = n};
        struct heal_result result;
        status = heal_ffn_train(&ffn, mid, target, n_rows, n_held_out, &options, &result, err);
    }
    free(mid);
    free(target);
    return status;
}

// ---- one block, all blocks ----

static enum wl_status open_narrowing(struct narrowing *n, struct wl_err *err) {
    size_t n_embd = n->shape.n_embd, n_ff = n->shape.n_ff;
    n->kept = calloc(n_ff, sizeof *n->kept);
    n->second_moments = calloc(n_ff, sizeof *n->second_moments);
    n->norm = calloc(n_embd, sizeof *n->norm);
    n->gate = calloc(n_ff, n_embd * sizeof *n->gate);
    n->up = calloc(n_ff, n_embd * sizeof *n->up);
    n->down = calloc(n_ff, n_embd * sizeof *n->down);
    return n->kept && n->second_moments && n->norm && n->gate && n->up && n->down
               ? WL_OK
               : no_memory(n, err);
}

static void close_narrowing(struct narrowing *n) {
    free(n->kept);
    free(n->second_moments);
    free(n->norm);
    free(n->gate);
    free(n->up);
    free(n->down);
}

// A part with a norm behind it is not healed: heal.h knows no such norm.
static bool can_heal(const struct narrowing *n) {
    return n->walk->options->heal_seconds > 0 && n->walk->options->method == NARROW_REPAIR &&
           !n->weights.ffn_post_norm && !n->weights.down_bias;
}

static enum wl_status make_narrow(struct narrowing *n, struct wl_err *err) {
    struct narrow_layer *result = &n->result;
    enum wl_status status = choose(n, err);
    if (status != WL_OK) {
        return status;
    }
    cut(n);
    status = narrow_held_out_error(n->walk, &n->shape, &n->weights, &result->error_cut, err);
    result->error_repaired = result->error_cut;
    if (status == WL_OK && n->walk->options->method == NARROW_REPAIR) {
        status = repair(n, err);
        if (status == WL_OK) {
            status = narrow_held_out_error(n->walk, &n->shape, &n->weights, &result->error_repaired,
                                           err);
        }
    }
    if (status == WL_OK && can_heal(n)) {
        status = heal(n, err);
        if (status == WL_OK) {
            status =
                narrow_held_out_error(n->walk, &n->shape, &n->weights, &result->error_healed, err);
        }
    }
    return status;
}

static void publish(struct narrowing *n) {
    bool is_healed = isfinite(n->result.error_healed);
    n->result.n_ff = n->shape.n_ff;
    n->result.kept = n->kept;
    n->result.down = n->down;
    n->result.norm = is_healed ? n->norm : NULL;
    n->result.gate = is_healed ? n->gate : NULL;
    n->result.up = is_healed ? n->up : NULL;
    n->result.second_moments = n->second_moments;
}

static enum wl_status narrow_block(struct narrow_walk *walk, uint32_t layer, struct wl_err *err) {
    const struct narrow_options *o = walk->options;
    int64_t begin_ns = os_now_ns();
    struct compress_block block;
    enum wl_status status = compress_source_load(walk->source, layer, &block, err);
    if (status != WL_OK) {
        return status;
    }
    struct narrowing n = {.walk = walk, .block = &block, .shape = block.shape};
    n.shape.n_ff = o->plan->layers[layer].n_ff;
    n.result = (struct narrow_layer){
        .layer = layer, .error_cut = NAN, .error_repaired = NAN, .error_healed = NAN};
    status = narrow_take_moments(walk, &block, err);
    bool is_narrower = n.shape.n_ff < block.shape.n_ff;
    if (status == WL_OK && is_narrower) {
        status = open_narrowing(&n, err);
        if (status == WL_OK) {
            status = make_narrow(&n, err);
        }
    }
    if (status == WL_OK) {
        status =
            narrow_finish_block(walk, &n.shape, is_narrower ? &n.weights : &block.weights, err);
    }
    if (status == WL_OK && is_narrower) {
        publish(&n);
        n.result.seconds = (double)(os_now_ns() - begin_ns) * 1e-9;
        status = o->on_layer ? o->on_layer(o->context, &n.result, err) : WL_OK;
    }
    close_narrowing(&n);
    compress_block_release(&block);
    return status;
}

static enum wl_status check_text(const struct compress_text *text, size_t n_held_out,
                                 struct wl_err *err) {
    size_t n_tokens = 0;
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
    return WL_OK;
}

struct stream_sums {
    double off, size;
};

static enum wl_status compare_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                    void *context, struct wl_err *err) {
    struct stream_sums *sums = context;
    size_t n = chunk->n_tokens, n_embd = walk->source->n_embd, at = 0;
    enum wl_status status = states_read(&walk->original, chunk->first, n, walk->target, err);
    if (status == WL_OK) {
        status = states_read(&walk->made, chunk->first, n, walk->x, err);
    }
    for (size_t s = 0; s < chunk->batch.n_sequences && status == WL_OK; s++) {
        size_t end = at + chunk->batch.lengths[s];
        for (size_t i = (at + 1) * n_embd; i < end * n_embd; i++) {
            double off = walk->x[i] - walk->target[i];
            sums->off += off * off;
            sums->size += (double)walk->target[i] * walk->target[i];
        }
        at = end;
    }
    return status;
}

enum wl_status narrow_run(const struct compress_source *source, const struct compress_text *text,
                          const struct narrow_options *options, double *stream_error,
                          struct wl_err *err) {
    struct narrow_walk walk = {.source = source, .text = text, .options = options};
    *stream_error = NAN;
    enum wl_status status = check_text(text, options->n_held_out, err);
    if (status != WL_OK) {
        return status;
    }
    status = narrow_walk_open(&walk, err);
    if (status == WL_OK) {
        status = narrow_walk_embed(&walk, err);
    }
    for (uint32_t layer = 0; layer < source->n_layer && status == WL_OK; layer++) {
        if (options->go_on && !options->go_on(options->context, (double)layer / source->n_layer)) {
            status = wl_err_set(err, WL_INTERRUPTED, "interrupted before block %u", layer);
        } else {
            status = narrow_block(&walk, layer, err);
        }
    }
    struct stream_sums sums = {0};
    if (status == WL_OK) {
        status = narrow_each_chunk(&walk, true, compare_chunk, &sums, err);
        *stream_error = sums.size > 0 ? sums.off / sums.size : NAN;
    }
    narrow_walk_close(&walk);
    return status;
}
