#include "compressor/eye_narrow.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress/obs.h"
#include "compress/repair.h"
#include "compress/tower_heal.h"
#include "compress/tower_parts.h"
#include "os/clock.h"

enum { OBS_BLOCK = 64, HEAL_BATCH = 512, HEAL_CHECK_EVERY = 40, HEAL_MAX_FLOATS = 1 << 25 };
static const float HEAL_RATE = 0.05F; // in the units of heal.h
// Share of the loss so far that a block makes up for (narrow.h); all of it where it also stands in
// for blocks that are gone.
static const double DAMPING = 0.5, RIDGE = 1e-2, REPAIR_RIDGE = 1e-3;

// A block while it becomes narrower, or stands in for others.
struct narrowing {
    struct eye_walk *walk;
    struct eye_made *made;
    const struct eye_block *block;
    struct tower_shape shape;     // with the new n_ff
    struct tower_weights weights; // the narrow ones
    struct eye_made_layer *out;
    uint32_t layer;
    float *square, *cross;      // centred moments of all neurons, per patch: [n][n], [n_embd][n]
    float *full;                // [n_embd][n] the best matrix with all of them
    float *up, *up_bias, *down; // ours
};

static enum wl_status no_memory(const struct narrowing *n, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY,
                      "no memory to narrow block %" PRIu32 " to %" PRIu32 " neurons", n->layer,
                      n->shape.n_ff);
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

// A bias takes up every mean, so all fits are around it.
static void centre(struct narrowing *n) {
    const struct gram *gram = &n->walk->gram;
    size_t n_ff = gram->n, n_embd = n->shape.n_embd;
    gram_square(gram, n->square);
    for (size_t i = 0; i < n_ff; i++) {
        for (size_t j = 0; j < n_ff; j++) {
            double mean = gram->sum[i] / gram->count * (gram->sum[j] / gram->count);
            n->square[i * n_ff + j] = (float)((double)n->square[i * n_ff + j] - mean);
        }
    }
    for (size_t i = 0; i < n_embd; i++) {
        double mean = n->walk->target_sum[i] / gram->count;
        for (size_t j = 0; j < n_ff; j++) {
            double value = (double)n->walk->cross[i * n_ff + j] / gram->count;
            n->cross[i * n_ff + j] = (float)(value - mean * (gram->sum[j] / gram->count));
        }
    }
}

static enum wl_status fit_full(struct narrowing *n, float *scratch, struct wl_err *err) {
    size_t n_ff = n->block->shape.n_ff;
    memcpy(scratch, n->square, n_ff * n_ff * sizeof *scratch);
    return repair_solve(scratch, n->cross, n->block->weights.down, n->shape.n_embd, n_ff,
                        REPAIR_RIDGE, n->full, err);
}

// Those stay without which the best matrix loses most.
static enum wl_status choose(struct narrowing *n, float *scratch, struct wl_err *err) {
    size_t n_ff = n->block->shape.n_ff;
    struct obs_options options = {
        .ridge = RIDGE, .block = OBS_BLOCK, .group = 1, .n_min = n->shape.n_ff};
    uint32_t *order = calloc(n_ff, sizeof *order);
    double *error = calloc(n_ff + 1, sizeof *error);
    if (!order || !error) {
        free(order);
        free(error);
        return no_memory(n, err);
    }
    memcpy(scratch, n->square, n_ff * n_ff * sizeof *scratch);
    enum wl_status status =
        obs_order(&options, n->full, n->shape.n_embd, n_ff, scratch, order, error, err);
    if (status == WL_OK) {
        memcpy(n->out->kept, order + n_ff - n->shape.n_ff, n->shape.n_ff * sizeof *order);
        qsort(n->out->kept, n->shape.n_ff, sizeof *n->out->kept, by_number);
    }
    free(order);
    free(error);
    return status;
}

// ---- cut and repair ----

static void gather_columns(const float *from, size_t n_rows, size_t width, const uint32_t *columns,
                           size_t n_columns, float *out) {
    for (size_t row = 0; row < n_rows; row++) {
        for (size_t i = 0; i < n_columns; i++) {
            out[row * n_columns + i] = from[row * width + columns[i]];
        }
    }
}

static void cut(struct narrowing *n) {
    const struct tower_weights *w = &n->block->weights;
    size_t n_embd = n->shape.n_embd, n_ff = n->shape.n_ff;
    for (size_t i = 0; i < n_ff; i++) {
        uint32_t row = n->out->kept[i];
        memcpy(n->up + i * n_embd, w->up + row * n_embd, n_embd * sizeof *n->up);
        n->up_bias[i] = w->up_bias ? w->up_bias[row] : 0;
    }
    gather_columns(w->down, n_embd, n->block->shape.n_ff, n->out->kept, n_ff, n->down);
    if (w->down_bias) {
        memcpy(n->out->down_bias, w->down_bias, n_embd * sizeof *n->out->down_bias);
    }
    n->weights = *w;
    n->weights.up = n->up;
    n->weights.up_bias = w->up_bias ? n->up_bias : NULL;
    n->weights.down = n->down;
    n->weights.down_bias = n->out->down_bias;
}

static void fit_bias(struct narrowing *n) {
    const struct gram *gram = &n->walk->gram;
    size_t n_ff = n->shape.n_ff;
    for (size_t i = 0; i < n->shape.n_embd; i++) {
        double bias = n->walk->target_sum[i] / gram->count;
        for (size_t j = 0; j < n_ff; j++) {
            double mean = gram->sum[n->out->kept[j]] / gram->count;
            bias -= (double)n->down[i * n_ff + j] * mean;
        }
        n->out->down_bias[i] = (float)bias;
    }
}

static enum wl_status repair(struct narrowing *n, struct wl_err *err) {
    size_t n_embd = n->shape.n_embd, n_all = n->block->shape.n_ff, n_ff = n->shape.n_ff;
    float *hh = calloc(n_ff, n_ff * sizeof *hh), *th = calloc(n_embd, n_ff * sizeof *th);
    float *down = calloc(n_embd, n_ff * sizeof *down);
    if (!hh || !th || !down) {
        free(hh);
        free(th);
        free(down);
        return no_memory(n, err);
    }
    for (size_t i = 0; i < n_ff; i++) {
        gather_columns(n->square + n->out->kept[i] * n_all, 1, n_all, n->out->kept, n_ff,
                       hh + i * n_ff);
    }
    gather_columns(n->cross, n_embd, n_all, n->out->kept, n_ff, th);
    enum wl_status status = repair_solve(hh, th, n->down, n_embd, n_ff, REPAIR_RIDGE, down, err);
    if (status == WL_OK) {
        memcpy(n->down, down, n_embd * n_ff * sizeof *down);
        fit_bias(n);
    }
    free(hh);
    free(th);
    free(down);
    return status;
}

// ---- heal ----

struct heal_time {
    struct text_watch *watch;
    int64_t begin_ns;
    double seconds;
};

static double share_done(void *context) {
    struct heal_time *time = context;
    double share = (double)(os_now_ns() - time->begin_ns) * 1e-9 / time->seconds;
    return text_watch_stops(time->watch) ? 1 : share;
}

static enum wl_status learn(struct narrowing *n, float *mid, const float *target, size_t n_rows,
                            size_t n_held_out, struct wl_err *err) {
    const struct eye_options *o = n->walk->options;
    const struct tower_weights *w = &n->weights;
    struct heal_time time = {n->walk->watch, os_now_ns(), o->heal_seconds};
    struct tower_heal_part part = {.n_embd = n->shape.n_embd,
                                   .n_ff = n->shape.n_ff,
                                   .act = n->shape.act,
                                   .up = n->up,
                                   .up_bias = n->up_bias,
                                   .down = n->down,
                                   .down_bias = n->out->down_bias};
    struct tower_heal_options options = {.rate = HEAL_RATE,
                                         .batch = HEAL_BATCH,
                                         .check_every = HEAL_CHECK_EVERY,
                                         .seed = o->seed + n->layer,
                                         .share_done = share_done,
                                         .context = &time};
    struct tower_heal_result result;
    tower_norm(mid, n_rows, part.n_embd, n->shape.eps, w->ln2, w->ln2_bias, mid);
    enum wl_status status =
        tower_heal(&part, mid, target, n_rows, n_held_out, &options, &result, err);
    return status == WL_OK && n->walk->watch->is_stopped
               ? wl_err_set(err, WL_INTERRUPTED, "cancelled")
               : status;
}

// What is learnt is judged on the held-out views, so there must be some.
static enum wl_status heal(struct narrowing *n, struct wl_err *err) {
    const struct eye_record *record = n->walk->record;
    size_t n_embd = n->shape.n_embd, n_rows, n_held_out;
    size_t stride = record->n_patches * n_embd / HEAL_MAX_FLOATS + 1;
    size_t room = record->n_patches / stride + 1;
    float *mid = calloc(room, n_embd * sizeof *mid),
          *target = calloc(room, n_embd * sizeof *target);
    enum wl_status status = mid && target ? WL_OK : no_memory(n, err);
    if (status == WL_OK) {
        status = eye_walk_gather(n->walk, stride, mid, target, &n_rows, &n_held_out, err);
    }
    if (status == WL_OK && n_held_out > 0) {
        n->weights.up_bias = n->up_bias;
        status = learn(n, mid, target, n_rows, n_held_out, err);
    }
    if (status == WL_OK && n_held_out > 0) {
        status = eye_walk_error(n->walk, &n->shape, &n->weights, &n->out->error_healed, err);
    }
    free(mid);
    free(target);
    return status;
}

// ---- one block ----

static enum wl_status store(struct eye_made *made, const float *values, size_t n, int64_t *at,
                            struct wl_err *err) {
    *at = (int64_t)made->n_stored;
    made->n_stored += n;
    return states_write(&made->store, (size_t)*at, n, values, err);
}

static enum wl_status open_narrowing(struct narrowing *n, struct wl_err *err) {
    size_t n_embd = n->shape.n_embd, n_all = n->block->shape.n_ff, n_ff = n->shape.n_ff;
    n->square = calloc(n_all, n_all * sizeof *n->square);
    n->cross = calloc(n_embd, n_all * sizeof *n->cross);
    n->full = calloc(n_embd, n_all * sizeof *n->full);
    n->up = calloc(n_ff, n_embd * sizeof *n->up);
    n->up_bias = calloc(n_ff, sizeof *n->up_bias);
    n->down = calloc(n_ff, n_embd * sizeof *n->down);
    n->out->kept = calloc(n_ff, sizeof *n->out->kept);
    n->out->down_bias = calloc(n_embd, sizeof *n->out->down_bias);
    return n->square && n->cross && n->full && n->up && n->up_bias && n->down && n->out->kept &&
                   n->out->down_bias
               ? WL_OK
               : no_memory(n, err);
}

static void close_narrowing(struct narrowing *n) {
    free(n->square);
    free(n->cross);
    free(n->full);
    free(n->up);
    free(n->up_bias);
    free(n->down);
}

static enum wl_status choose_kept(struct narrowing *n, struct wl_err *err) {
    size_t n_ff = n->block->shape.n_ff;
    float *scratch = calloc(n_ff, n_ff * sizeof *scratch);
    if (!scratch) {
        return no_memory(n, err);
    }
    enum wl_status status = WL_OK;
    centre(n);
    if (n->shape.n_ff == n_ff) {
        for (uint32_t i = 0; i < n->shape.n_ff; i++) {
            n->out->kept[i] = i;
        }
    } else {
        status = fit_full(n, scratch, err);
        status = status == WL_OK ? choose(n, scratch, err) : status;
    }
    free(scratch);
    return status;
}

static enum wl_status keep(struct narrowing *n, struct wl_err *err) {
    struct eye_made_layer *out = n->out;
    size_t n_embd = n->shape.n_embd, n_ff = n->shape.n_ff;
    out->is_changed = true;
    enum wl_status status = store(n->made, n->down, n_embd * n_ff, &out->down, err);
    if (status == WL_OK && isfinite(out->error_healed)) {
        status = store(n->made, n->up, n_embd * n_ff, &out->up, err);
        out->up_bias = n->up_bias;
        n->up_bias = NULL;
    }
    return status;
}

static enum wl_status make_narrow(struct narrowing *n, struct wl_err *err) {
    struct eye_made_layer *out = n->out;
    enum wl_status status = open_narrowing(n, err);
    if (status == WL_OK) {
        status = choose_kept(n, err);
    }
    if (status == WL_OK) {
        cut(n);
        status = eye_walk_error(n->walk, &n->shape, &n->weights, &out->error_cut, err);
    }
    if (status == WL_OK) {
        status = repair(n, err);
    }
    if (status == WL_OK) {
        status = eye_walk_error(n->walk, &n->shape, &n->weights, &out->error_repaired, err);
    }
    if (status == WL_OK && n->walk->options->heal_seconds > 0) {
        status = heal(n, err);
    }
    return status == WL_OK ? keep(n, err) : status;
}

// The original stream through this block, and on through those after it that go.
static enum wl_status lead_original(struct eye_walk *walk, const struct eye_plan *plan,
                                    const struct eye_block *block, uint32_t layer,
                                    uint32_t *n_removed, struct wl_err *err) {
    double influence;
    enum wl_status status = eye_walk_original(walk, block, false, &influence, err);
    *n_removed = 0;
    for (uint32_t i = layer + 1; i < plan->n_layer && plan->layers[i].is_removed; i++) {
        struct eye_block next;
        status = status == WL_OK ? eye_source_load(walk->source, i, &next, err) : status;
        if (status != WL_OK) {
            return status;
        }
        status = eye_walk_original(walk, &next, false, &influence, err);
        eye_block_release(&next);
        ++*n_removed;
    }
    return status;
}

static enum wl_status make_block(struct eye_made *made, struct eye_walk *walk,
                                 const struct eye_plan *plan, uint32_t layer, struct wl_err *err) {
    struct eye_block block;
    uint32_t n_removed = 0;
    enum wl_status status = eye_source_load(walk->source, layer, &block, err);
    if (status != WL_OK) {
        return status;
    }
    struct narrowing n = {.walk = walk,
                          .made = made,
                          .block = &block,
                          .shape = block.shape,
                          .out = &made->layers[layer],
                          .layer = layer};
    n.shape.n_ff = n.out->n_ff = plan->layers[layer].n_ff;
    status = lead_original(walk, plan, &block, layer, &n_removed, err);
    bool is_changed = n.shape.n_ff < block.shape.n_ff || n_removed > 0;
    if (status == WL_OK) {
        status = eye_walk_moments(walk, &block, n_removed > 0 ? 1 : DAMPING, err);
    }
    if (status == WL_OK && is_changed) {
        status = make_narrow(&n, err);
    }
    if (status == WL_OK) {
        status = eye_walk_finish(walk, &n.shape, is_changed ? &n.weights : &block.weights, err);
    }
    close_narrowing(&n);
    eye_block_release(&block);
    return status;
}

enum wl_status eye_narrow_all(struct eye_made *made, struct eye_walk *walk,
                              const struct eye_plan *plan, struct wl_err *err) {
    double begin = walk->watch->share_done;
    *made = (struct eye_made){.layers = calloc(plan->n_layer, sizeof *made->layers),
                              .n_layer = plan->n_layer,
                              .store.fd = -1};
    if (!made->layers) {
        return wl_err_set(err, WL_MEMORY, "no memory for the made blocks");
    }
    enum wl_status status = states_open(&made->store, walk->options->scratch_dir, 0, 1, err);
    if (status == WL_OK) {
        status = eye_walk_begin(walk, err);
    }
    for (uint32_t i = 0; i < plan->n_layer; i++) {
        struct eye_made_layer *layer = &made->layers[i];
        *layer = (struct eye_made_layer){.is_removed = plan->layers[i].is_removed,
                                         .down = EYE_NOT_STORED,
                                         .up = EYE_NOT_STORED,
                                         .error_cut = NAN,
                                         .error_repaired = NAN,
                                         .error_healed = NAN};
        if (status == WL_OK && !layer->is_removed) {
            status = make_block(made, walk, plan, i, err);
        }
        walk->watch->share_done = begin + 0.4 * (double)(i + 1) / plan->n_layer;
    }
    return status;
}

void eye_made_release(struct eye_made *made) {
    for (uint32_t i = 0; made->layers && i < made->n_layer; i++) {
        struct eye_made_layer *layer = &made->layers[i];
        free(layer->kept);
        free(layer->down_bias);
        free(layer->up_bias);
    }
    free(made->layers);
    if (made->store.fd >= 0) {
        states_close(&made->store);
    }
    *made = (struct eye_made){.store.fd = -1};
}
