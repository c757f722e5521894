#include "compressor/narrow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "compressor/narrow_end.h"
#include "compressor/narrow_keep.h"
#include "compressor/narrow_threads.h"
#include "compressor/narrow_unit.h"
#include "os/clock.h"

// ---- what the parts share ----

enum wl_status narrow_no_memory(const struct narrow_unit *unit, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory to narrow block %u to %u KV heads and %u neurons",
                      unit->layer, unit->shape.n_head_kv, unit->shape.n_ff);
}

void narrow_gather_columns(const float *from, size_t n_rows, size_t width, const uint32_t *columns,
                           size_t n_columns, float *out) {
    for (size_t row = 0; row < n_rows; row++) {
        for (size_t i = 0; i < n_columns; i++) {
            out[row * n_columns + i] = from[row * width + columns[i]];
        }
    }
}

void narrow_forget(const struct narrow_unit *unit) {
    const struct gguf_file *file = &unit->walk->source->file;
    madvise(file->map, (size_t)file->file_bytes, MADV_DONTNEED);
}

float *narrow_read(const struct narrow_unit *unit, const char *name, const uint32_t *rows,
                   size_t n_rows) {
    const struct compress_source *source = unit->walk->source;
    const struct gguf_tensor *tensor = compress_source_tensor(source, (int32_t)unit->layer, name);
    bool is_vector = tensor && tensor->n_dims == 1;
    size_t width = tensor && !is_vector ? (size_t)tensor->ne[0] : 1;
    float *out = tensor ? calloc(n_rows, width * sizeof *out) : NULL;
    if (out && (is_vector || !rows)) {
        compress_source_rows(source, tensor, 0, is_vector ? 1 : n_rows, out);
    }
    for (size_t i = 0; i < n_rows && out && rows && !is_vector; i++) {
        compress_source_rows(source, tensor, rows[i], 1, out + i * width);
    }
    narrow_forget(unit);
    return out;
}

// ---- one block ----

static enum wl_status open_unit(struct narrow_unit *unit, struct wl_err *err) {
    struct narrow_walk *walk = unit->walk;
    const struct plan_layer *plan = &walk->options->plan->layers[unit->layer];
    unit->end = narrow_next(walk->options->plan, unit->layer);
    enum wl_status status = compress_source_load(walk->source, unit->layer, &unit->block, err);
    if (status != WL_OK) {
        return status;
    }
    narrow_forget(unit);
    unit->was = unit->shape = unit->block.shape;
    unit->shape.n_ff = plan->n_ff;
    unit->shape.n_head_kv = plan->n_head_kv;
    unit->shape.n_head = plan->n_head_kv * (unit->was.n_head / unit->was.n_head_kv);
    unit->weights = unit->block.weights;
    unit->is_attention_cut = plan->n_head_kv < unit->was.n_head_kv;
    bool may_gain = (unit->end > unit->layer + 1 || unit->is_attention_cut) &&
                    walk->options->method == NARROW_REPAIR && !unit->weights.ffn_post_norm;
    unit->is_ffn_worked_on = plan->n_ff < unit->was.n_ff || may_gain;
    unit->result = (struct narrow_layer){.layer = unit->layer,
                                         .n_head_kv = plan->n_head_kv,
                                         .n_ff = plan->n_ff,
                                         .error_cut = NAN,
                                         .error_repaired = NAN,
                                         .error_bias = NAN,
                                         .error_healed = NAN,
                                         .error_image = NAN,
                                         .attention_error_cut = NAN,
                                         .attention_error_repaired = NAN};
    return narrow_keep_begin(walk, unit->layer, err);
}

static void close_unit(struct narrow_unit *unit) {
    narrow_attention_release(unit);
    narrow_ffn_release(unit);
    narrow_moments_close(&unit->moments);
    free(unit->head_in);
    compress_block_release(&unit->block);
    narrow_forget(unit);
}

// Own weights, where there are any, in the place of those of the block that is loaded anew.
static void renew_weights(struct narrow_unit *unit) {
    struct block_weights cut = unit->weights;
    unit->weights = unit->block.weights;
    if (unit->is_attention_cut && unit->shape.n_head_kv > 0) {
        unit->weights.wq = cut.wq;
        unit->weights.wk = cut.wk;
        unit->weights.wv = cut.wv;
        unit->weights.bq = cut.bq;
        unit->weights.bk = cut.bk;
        unit->weights.bv = cut.bv;
        unit->weights.wo = cut.wo;
    }
}

static void publish(struct narrow_unit *unit) {
    struct narrow_layer *result = &unit->result;
    if (unit->is_attention_cut && unit->shape.n_head_kv > 0) {
        result->kept_groups = unit->groups;
        result->attn_output = unit->weights.wo;
        result->attention_moments = unit->attention_moments;
    }
    if (unit->shape.n_ff < unit->was.n_ff) {
        result->kept = unit->neurons;
    }
    if (unit->is_down_new || unit->is_healed) {
        result->down = unit->down;
        result->second_moments = unit->second_moments;
    }
    if (unit->is_healed) {
        result->norm = unit->norm;
        result->gate = unit->gate;
        result->up = unit->up;
    }
}

// Shares of a block's time, very roughly; half of it is healing where there is any.
static void enter(struct narrow_unit *unit, double begin, double end) {
    const struct narrow_options *o = unit->walk->options;
    double scale = (double)(unit->end - unit->layer) / o->plan->n_layer;
    double base = (double)unit->layer / o->plan->n_layer;
    narrow_set_share(unit->walk, base + scale * begin, base + scale * end);
}

static enum wl_status work_on_attention(struct narrow_unit *unit, struct wl_err *err) {
    enter(unit, 0, 0.15);
    enum wl_status status = narrow_pass_original(unit, err);
    enter(unit, 0.15, 0.25);
    if (status == WL_OK && unit->is_attention_cut) {
        status = narrow_attention_work(unit, err);
    }
    if (status == WL_OK && unit->end > unit->layer + 1) {
        status = narrow_pass_removed(unit, err);
        renew_weights(unit);
    }
    enter(unit, 0.25, 0.4);
    return status == WL_OK ? narrow_pass_attention(unit, err) : status;
}

static enum wl_status work_on_unit(struct narrow_unit *unit, struct wl_err *err) {
    enum wl_status status = work_on_attention(unit, err);
    enter(unit, 0.4, 0.45);
    if (status == WL_OK && unit->is_ffn_worked_on) {
        status = narrow_ffn_work(unit, err);
        enter(unit, 0.45, 0.95);
        if (status == WL_OK) {
            status = narrow_heal(unit, err);
        }
    }
    enter(unit, 0.95, 1);
    return status == WL_OK ? narrow_pass_finish(unit, err) : status;
}

static enum wl_status narrow_block(struct narrow_walk *walk, uint32_t layer, struct wl_err *err) {
    int64_t begin_ns = os_now_ns();
    struct narrow_unit unit = {.walk = walk, .layer = layer};
    enum wl_status status = open_unit(&unit, err);
    if (status == WL_OK) {
        int usual = narrow_calm_begin((size_t)unit.was.n_embd * unit.was.n_ff);
        status = work_on_unit(&unit, err);
        narrow_calm_end(usual);
    }
    if (status == WL_OK) {
        publish(&unit);
        unit.result.seconds = (double)(os_now_ns() - begin_ns) * 1e-9;
        status = narrow_keep_finish(walk, &unit.result, err);
    }
    if (status == WL_OK) {
        status = narrow_tell(walk, &unit.result, err);
    } else {
        narrow_keep_abandon(walk, layer);
    }
    close_unit(&unit);
    return status;
}

// ---- all blocks ----

// Enough that nothing below can go wrong: plan_check knows what llama.cpp takes.
static enum wl_status check_plan(const struct narrow_walk *walk, bool *has_aside,
                                 struct wl_err *err) {
    const struct plan *plan = walk->options->plan;
    *has_aside = false;
    if (plan->n_layer != walk->source->n_layer || plan->layers[0].is_removed) {
        return wl_err_set(err, WL_INPUT, "a plan of %u blocks%s, expected %u and block 0 to stay",
                          plan->n_layer, plan->layers[0].is_removed ? " without block 0" : "",
                          walk->source->n_layer);
    }
    for (uint32_t i = 0; i < plan->n_layer; i++) {
        struct block_shape was;
        const struct plan_layer *layer = &plan->layers[i];
        enum wl_status status = compress_source_shape(walk->source, i, &was, err);
        if (status != WL_OK) {
            return status;
        }
        if (!layer->is_removed &&
            (layer->n_head_kv > was.n_head_kv || layer->n_ff > was.n_ff || layer->n_ff < 1)) {
            return wl_err_set(err, WL_INPUT,
                              "block %u is planned with %u KV heads and %u neurons, it has %u and "
                              "%u",
                              i, layer->n_head_kv, layer->n_ff, was.n_head_kv, was.n_ff);
        }
        *has_aside = *has_aside || layer->is_removed || layer->n_head_kv < was.n_head_kv;
    }
    return WL_OK;
}

// Where the walk begins: at block 0, or where it was interrupted.
static enum wl_status begin(struct narrow_walk *walk, uint32_t *layer, struct wl_err *err) {
    bool has_aside = false;
    *layer = 0;
    enum wl_status status = check_plan(walk, &has_aside, err);
    if (status == WL_OK && walk->options->checkpoint_dir) {
        status = narrow_keep_find(walk, layer, err);
    }
    if (status == WL_OK && *layer == 0) {
        status = narrow_walk_embed(walk, err);
    } else if (status == WL_OK) {
        status = narrow_keep_replay(walk, *layer, err);
    }
    if (status == WL_OK && has_aside) {
        status = states_open(&walk->aside, walk->options->scratch_dir, walk->text->n_tokens,
                             walk->source->n_embd, err);
    }
    return status;
}

enum wl_status narrow_run(const struct compress_source *source, const struct compress_text *text,
                          const struct narrow_options *options, double *stream_error,
                          struct wl_err *err) {
    struct narrow_walk walk = {.source = source, .text = text, .options = options};
    uint32_t layer = 0;
    *stream_error = NAN;
    enum wl_status status = narrow_walk_open(&walk, err);
    if (status == WL_OK) {
        status = begin(&walk, &layer, err);
    }
    while (status == WL_OK && layer < source->n_layer) {
        status = narrow_block(&walk, layer, err);
        layer = narrow_next(options->plan, layer);
    }
    if (status == WL_OK) {
        narrow_set_share(&walk, 1, 1);
        status = narrow_end(&walk, stream_error, err);
    }
    narrow_walk_close(&walk);
    return status;
}
