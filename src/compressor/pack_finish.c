// What a plan changes in the file as a whole: which blocks there are, and the keys that say so.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "compressor/pack.h"
#include "compressor/relabel.h"

enum { KEY_BYTES = 128 };

struct finish {
    const struct pack *pack;
    struct compress_target *target;
    const struct compress_source *source;
    const struct plan *plan;
    struct block_shape was;
    uint32_t *stays; // [n_stays] numbers of blocks in the source
    uint32_t n_stays;
};

// ---- steps ----

enum { LARGE_N_FF = 2048, LARGE_STEP = 256, SMALL_STEP = 32 };

static uint32_t coarsest(const struct compress_source *source, const char *name) {
    uint32_t step = 1;
    for (uint32_t layer = 0; layer < source->n_layer; layer++) {
        const struct gguf_tensor *tensor = compress_source_tensor(source, (int32_t)layer, name);
        uint32_t block = tensor ? (uint32_t)ggml_blck_size(tensor->type) : 1;
        step = block > step ? block : step;
    }
    return step;
}

static bool is_large(const struct compress_source *source) {
    const struct gguf_tensor *down = compress_source_tensor(source, 0, "ffn_down.weight");
    return down->ne[0] >= LARGE_N_FF;
}

uint32_t pack_step(const struct compress_source *source) {
    uint32_t step = coarsest(source, "ffn_down.weight");
    uint32_t least = is_large(source) ? LARGE_STEP : SMALL_STEP;
    return step > least ? step : least;
}

// Rows that were odd before may stay so.
uint32_t pack_head_step(const struct compress_source *source) {
    uint32_t step = coarsest(source, "attn_output.weight");
    struct block_shape shape;
    if (compress_source_shape(source, 0, &shape, NULL) != WL_OK) {
        return 1;
    }
    uint32_t width = shape.head_dim * (shape.n_head / shape.n_head_kv), n = 1;
    if (is_large(source) && width * shape.n_head_kv % LARGE_STEP == 0 && step < LARGE_STEP) {
        step = LARGE_STEP;
    }
    while (n < shape.n_head_kv && n * width % step != 0) {
        n++;
    }
    return n;
}

// ---- blocks ----

static bool is_of_block(const char *name, uint32_t layer, const char **rest) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", layer);
    *rest = name + strlen(prefix);
    return str_starts_with(name, prefix);
}

static enum wl_status drop_block(struct finish *f, uint32_t layer, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < f->source->file.n_tensors && status == WL_OK; i++) {
        const char *name = f->source->file.tensors[i].name, *rest;
        if (is_of_block(name, layer, &rest)) {
            status = compress_target_drop(f->target, name, err);
        }
    }
    return status;
}

static enum wl_status rename_one(struct finish *f, const char *name, uint32_t number,
                                 const char *rest, struct wl_err *err) {
    char renamed[GGUF_NAME_BYTES];
    snprintf(renamed, sizeof renamed, "blk.%" PRIu32 ".%s", number, rest);
    return compress_target_rename(f->target, name, renamed, err);
}

static enum wl_status renumber_block(struct finish *f, uint32_t layer, uint32_t number,
                                     struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < f->source->file.n_tensors && status == WL_OK; i++) {
        const char *name = f->source->file.tensors[i].name, *rest;
        if (is_of_block(name, layer, &rest)) {
            status = rename_one(f, name, number, rest, err);
        }
    }
    if (status == WL_OK && f->pack->has_new_bias && f->pack->has_new_bias[layer]) {
        char name[GGUF_NAME_BYTES];
        snprintf(name, sizeof name, "blk.%" PRIu32 ".ffn_down.bias", layer);
        status = rename_one(f, name, number, "ffn_down.bias", err);
    }
    return status;
}

static enum wl_status renumber(struct finish *f, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint32_t layer = 0; layer < f->plan->n_layer && status == WL_OK; layer++) {
        if (f->plan->layers[layer].is_removed) {
            status = drop_block(f, layer, err);
        }
    }
    for (uint32_t i = 0; i < f->n_stays && status == WL_OK; i++) {
        if (f->stays[i] != i) {
            status = renumber_block(f, f->stays[i], i, err);
        }
    }
    return status;
}

// ---- keys ----

static enum wl_status set(struct finish *f, const char *key, uint32_t value, struct wl_err *err) {
    char full[KEY_BYTES];
    snprintf(full, sizeof full, "%s.%s", f->source->arch->name, key);
    return compress_target_set_u32(f->target, full, value, err);
}

// Which layers see a window is told by their number, unless there is a list.
static enum wl_status set_windows(struct finish *f, struct wl_err *err) {
    char key[KEY_BYTES];
    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", f->source->arch->name);
    const struct gguf_kv *kv = gguf_file_find(&f->source->file, key);
    if (kv && kv->is_array) {
        return compress_target_pick(f->target, key, f->stays, f->n_stays, err);
    }
    if (!f->source->arch->has_windows) {
        return WL_OK;
    }
    uint32_t *values = calloc(f->n_stays, sizeof *values);
    if (!values) {
        return wl_err_set(err, WL_MEMORY, "no memory for a key");
    }
    enum wl_status status = WL_OK;
    for (uint32_t i = 0; i < f->n_stays && status == WL_OK; i++) {
        struct block_shape shape;
        status = compress_source_shape(f->source, f->stays[i], &shape, err);
        values[i] = status == WL_OK && shape.window > 0;
    }
    if (status == WL_OK) {
        status = compress_target_set_u32s(f->target, key, values, f->n_stays, err);
    }
    free(values);
    return status;
}

// The width of a head is told apart, or it would follow from the number of heads.
static enum wl_status set_heads(struct finish *f, uint32_t n_head_kv, struct wl_err *err) {
    uint32_t n_head = n_head_kv * (f->was.n_head / f->was.n_head_kv);
    enum wl_status status;
    if ((status = set(f, "attention.head_count", n_head, err)) ||
        (status = set(f, "attention.head_count_kv", n_head_kv, err)) ||
        (status = set(f, "attention.key_length", f->was.head_dim, err)) ||
        (status = set(f, "attention.value_length", f->was.head_dim, err))) {
        return status;
    }
    return set(f, "rope.dimension_count", f->was.head_dim, err);
}

// What has not changed keeps its key as it is.
static enum wl_status set_keys(struct finish *f, struct wl_err *err) {
    const struct plan_layer *first = &f->plan->layers[0];
    enum wl_status status = WL_OK;
    if (f->n_stays < f->plan->n_layer) {
        status = set(f, "block_count", f->n_stays, err);
        status = status == WL_OK ? set_windows(f, err) : status;
    }
    if (status == WL_OK && !f->plan->is_mixed && first->n_ff != f->was.n_ff) {
        status = set(f, "feed_forward_length", first->n_ff, err);
    }
    if (status == WL_OK && !f->plan->is_mixed && first->n_head_kv != f->was.n_head_kv) {
        status = set_heads(f, first->n_head_kv, err);
    }
    return status;
}

// ---- another architecture ----

static enum wl_status relabel(struct finish *f, struct wl_err *err) {
    struct relabel_layer *layers = calloc(f->n_stays, sizeof *layers);
    struct relabel_notes notes;
    if (!layers) {
        return wl_err_set(err, WL_MEMORY, "no memory for layers");
    }
    for (uint32_t i = 0; i < f->n_stays; i++) {
        const struct plan_layer *plan = &f->plan->layers[f->stays[i]];
        layers[i] =
            (struct relabel_layer){.n_head = plan->n_head_kv * (f->was.n_head / f->was.n_head_kv),
                                   .n_head_kv = plan->n_head_kv,
                                   .n_ff = plan->n_ff};
    }
    enum wl_status status = relabel_apply(f->target, layers, f->n_stays, &notes, err);
    free(layers);
    return status;
}

enum wl_status pack_finish(struct pack *pack, struct compress_target *target,
                           const struct compress_source *source, const struct plan *plan,
                           struct wl_err *err) {
    struct finish f = {.pack = pack, .target = target, .source = source, .plan = plan};
    enum wl_status status = compress_source_shape(source, 0, &f.was, err);
    f.stays = calloc(plan->n_layer, sizeof *f.stays);
    if (!f.stays) {
        return wl_err_set(err, WL_MEMORY, "no memory for %" PRIu32 " blocks", plan->n_layer);
    }
    for (uint32_t i = 0; i < plan->n_layer && status == WL_OK; i++) {
        if (!plan->layers[i].is_removed) {
            f.stays[f.n_stays++] = i;
        }
    }
    if (status == WL_OK) {
        status = renumber(&f, err);
    }
    if (status == WL_OK) {
        status = set_keys(&f, err);
    }
    if (status == WL_OK && plan->is_mixed) {
        status = relabel(&f, err);
    }
    free(f.stays);
    return status;
}
