#include "compressor/relabel.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "compressor/relabel_plan.h"
#include "compressor/target_plan.h"

enum { FF_MULTIPLE = 256 };

const char *const RELABEL_JOINED[RELABEL_N_JOINED] = {"attn_q.weight", "attn_k.weight",
                                                      "attn_v.weight"};

struct relabelling {
    struct compress_target *target;
    struct relabel_model model;
    const struct relabel_layer *layers;
    size_t n_layers;
};

// ---- sizes ----

static enum wl_status bad_layer(size_t i, const char *what, struct wl_err *err) {
    return wl_err_set(err, WL_INPUT, "layer %zu cannot be written: %s", i, what);
}

static enum wl_status check_attention(const struct relabelling *r, size_t i, struct wl_err *err) {
    const struct relabel_layer *layer = &r->layers[i];
    if (r->model.twin == RELABEL_OPENELM && (layer->n_head == 0 || layer->n_head_kv == 0)) {
        return bad_layer(i, "openelm has attention in every layer", err);
    }
    if (i == 0 && layer->n_head_kv == 0) {
        return bad_layer(i, "llama.cpp wants attention in the first layer", err);
    }
    if (layer->n_head == 0 && layer->n_head_kv > 0) {
        return bad_layer(i, "it has KV heads but no query heads", err);
    }
    if (layer->n_head_kv > 0 && layer->n_head % layer->n_head_kv != 0) {
        return wl_err_set(err, WL_INPUT,
                          "layer %zu cannot be written: %" PRIu32 " query heads cannot share "
                          "%" PRIu32 " KV heads equally",
                          i, layer->n_head, layer->n_head_kv);
    }
    return WL_OK;
}

static enum wl_status check_layer(const struct relabelling *r, size_t i, struct wl_err *err) {
    const struct relabel_layer *layer = &r->layers[i];
    if (layer->n_head > RELABEL_MAX_SIZE || layer->n_head_kv > RELABEL_MAX_SIZE ||
        layer->n_ff > RELABEL_MAX_SIZE) {
        return wl_err_set(err, WL_INPUT, "layer %zu cannot be written: a size is above %d", i,
                          RELABEL_MAX_SIZE);
    }
    if (layer->n_ff == 0 && layer->n_head > 0) {
        return bad_layer(i,
                         "without feed-forward part llama.cpp leaves out its attention too; keep "
                         "32 neurons whose ffn_down columns are zero",
                         err);
    }
    if (layer->n_ff == 0) {
        return bad_layer(i, "nothing of it is left; leave the whole layer out", err);
    }
    return check_attention(r, i, err);
}

static enum wl_status check_sizes(const struct relabelling *r, struct relabel_notes *notes,
                                  struct wl_err *err) {
    enum wl_status status = WL_OK;
    *notes = (struct relabel_notes){0};
    if (r->n_layers == 0 || r->n_layers > RELABEL_MAX_LAYERS) {
        return wl_err_set(err, WL_INPUT, "a model of %zu layers, expected 1 to %d", r->n_layers,
                          RELABEL_MAX_LAYERS);
    }
    for (size_t i = 0; i < r->n_layers && status == WL_OK; i++) {
        status = check_layer(r, i, err);
        if (r->layers[i].n_ff % FF_MULTIPLE != 0 && notes->n_odd_ff++ == 0) {
            notes->first_odd_ff = (uint32_t)i;
        }
    }
    return status;
}

// ---- tensors ----

static bool is_linear(const struct relabel_layer *layer) {
    return layer->n_head > 0 && layer->n_head_kv == 0;
}

// Whether the layer has it at all: attention may be gone, or be one matrix.
static bool belongs(const struct relabel_rule *rule, const struct relabel_layer *layer) {
    if (rule->part != RELABEL_ATTENTION || layer->n_head_kv > 0) {
        return true;
    }
    return is_linear(layer) && (strcmp(rule->name, "attn_norm.weight") == 0 ||
                                strcmp(rule->name, "attn_output.weight") == 0);
}

static enum wl_status drop_removed(const struct relabelling *r, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < r->target->n_tensors && status == WL_OK; i++) {
        const struct target_tensor *t = &r->target->tensors[i];
        size_t layer;
        const struct relabel_rule *rule =
            target_is_written(t) ? relabel_rule_of(t->name, &layer) : NULL;
        if (rule && rule->part == RELABEL_ATTENTION && layer < r->n_layers &&
            !belongs(rule, &r->layers[layer])) {
            status = compress_target_drop(r->target, t->source_name, err);
        }
    }
    return status;
}

static uint64_t n_vocab(const struct relabelling *r) {
    const struct target_tensor *t = target_find_written(r->target, "token_embd.weight");
    return t ? target_written_rows(r->target, t) : 0;
}

static uint64_t width_of(const struct relabelling *r, enum relabel_width width,
                         const struct relabel_layer *layer) {
    uint64_t head = r->model.head_dim;
    switch (width) {
    case RELABEL_EMBD: return r->model.n_embd;
    case RELABEL_VOCAB: return n_vocab(r);
    case RELABEL_Q: return is_linear(layer) ? r->model.n_embd : layer->n_head * head;
    case RELABEL_KV: return layer->n_head_kv * head;
    case RELABEL_FF: return layer->n_ff;
    case RELABEL_HEAD: return head;
    case RELABEL_HALF_HEAD: return head / 2;
    default: return 1;
    }
}

static enum wl_status check_shape(const struct relabelling *r, const struct relabel_rule *rule,
                                  size_t layer, struct wl_err *err) {
    char name[RELABEL_NAME_BYTES];
    const struct target_tensor *t =
        target_find_written(r->target, relabel_tensor_name(rule, layer, name));
    if (!t && rule->need[r->model.twin] != RELABEL_REQUIRED) {
        return WL_OK;
    }
    if (!t) {
        return wl_err_set(err, WL_INPUT, "cannot write a '%s': tensor '%s' is missing",
                          RELABEL_TWIN_NAMES[r->model.twin], name);
    }
    uint64_t ne[4];
    uint64_t columns = width_of(r, rule->columns, &r->layers[layer]);
    uint64_t rows = width_of(r, rule->rows, &r->layers[layer]);
    target_written_shape(r->target, t, ne);
    if (ne[0] == columns && ne[1] == rows && ne[2] == 1 && ne[3] == 1) {
        return WL_OK;
    }
    return wl_err_set(err, WL_INPUT,
                      "cannot write a '%s': tensor '%s' has %" PRIu64 " columns and %" PRIu64
                      " rows, expected %" PRIu64 " and %" PRIu64,
                      RELABEL_TWIN_NAMES[r->model.twin], name, ne[0], ne[1], columns, rows);
}

static enum wl_status check_known(const struct relabelling *r, const struct target_tensor *t,
                                  struct wl_err *err) {
    size_t layer;
    const struct relabel_rule *rule = relabel_rule_of(t->name, &layer);
    if (rule && rule->need[r->model.twin] != RELABEL_UNKNOWN && layer < r->n_layers) {
        return WL_OK;
    }
    return wl_err_set(err, WL_INPUT, "cannot write a '%s' of %zu layers with a tensor '%s'",
                      RELABEL_TWIN_NAMES[r->model.twin], r->n_layers, t->name);
}

static enum wl_status check_tensors(const struct relabelling *r, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < r->target->n_tensors && status == WL_OK; i++) {
        const struct target_tensor *t = &r->target->tensors[i];
        status = target_is_written(t) ? check_known(r, t, err) : WL_OK;
    }
    for (size_t i = 0; i < RELABEL_N_RULES && status == WL_OK; i++) {
        const struct relabel_rule *rule = &RELABEL_RULES[i];
        size_t n = rule->part == RELABEL_TABLE ? 1 : r->n_layers;
        for (size_t layer = 0; layer < n && status == WL_OK; layer++) {
            bool is_there = rule->part == RELABEL_TABLE || belongs(rule, &r->layers[layer]);
            status = is_there ? check_shape(r, rule, layer, err) : WL_OK;
        }
    }
    return status;
}

// Heads whose halves rotate together become heads whose neighbours do.
static enum wl_status interleave(const struct relabelling *r, size_t layer, struct wl_err *err) {
    static const char *const NAMES[] = {"attn_q.weight", "attn_k.weight", "attn_q.bias",
                                        "attn_k.bias"};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES && status == WL_OK; i++) {
        char name[RELABEL_NAME_BYTES];
        snprintf(name, sizeof name, "blk.%zu.%s", layer, NAMES[i]);
        const struct target_tensor *t = target_find_written(r->target, name);
        status = t ? compress_target_interleave(r->target, t->source_name, r->model.head_dim, err)
                   : WL_OK;
    }
    return status;
}

static enum wl_status join(const struct relabelling *r, size_t layer, struct wl_err *err) {
    const char *names[RELABEL_N_JOINED];
    char name[RELABEL_NAME_BYTES];
    for (size_t i = 0; i < RELABEL_N_JOINED; i++) {
        snprintf(name, sizeof name, "blk.%zu.%s", layer, RELABEL_JOINED[i]);
        names[i] = target_find_written(r->target, name)->source_name; // checked before
    }
    snprintf(name, sizeof name, "blk.%zu.attn_qkv.weight", layer);
    return compress_target_join(r->target, names, RELABEL_N_JOINED, name, err);
}

static enum wl_status change_tensors(const struct relabelling *r, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < r->n_layers && status == WL_OK; i++) {
        if (r->model.twin == RELABEL_OPENELM) {
            status = join(r, i, err);
        } else if (r->model.has_halves) {
            status = interleave(r, i, err);
        }
    }
    return status;
}

// ---- keys ----

static enum wl_status set_size(const struct relabelling *r, const char *key, uint32_t value,
                               struct wl_err *err) {
    char full[RELABEL_KEY_BYTES];
    relabel_key(RELABEL_TWIN_NAMES[r->model.twin], key, full);
    return compress_target_set_u32(r->target, full, value, err);
}

static enum wl_status set_sizes(const struct relabelling *r, const char *key, size_t offset,
                                struct wl_err *err) {
    char full[RELABEL_KEY_BYTES];
    uint32_t values[RELABEL_MAX_LAYERS];
    for (size_t i = 0; i < r->n_layers; i++) {
        memcpy(&values[i], (const char *)&r->layers[i] + offset, sizeof values[i]);
    }
    relabel_key(RELABEL_TWIN_NAMES[r->model.twin], key, full);
    return compress_target_set_u32s(r->target, full, values, r->n_layers, err);
}

// A list for the layers there were does not load when there are fewer.
static enum wl_status check_lists(const struct relabelling *r, struct wl_err *err) {
    const char *twin = RELABEL_TWIN_NAMES[r->model.twin];
    size_t len = strlen(twin);
    for (size_t i = 0; i < r->target->n_keys; i++) {
        const struct target_key *key = &r->target->keys[i];
        bool is_own = key->name_len > len && memcmp(key->name, twin, len) == 0;
        if (is_own && key->is_array && key->n == r->model.n_layers && key->n != r->n_layers) {
            return wl_err_set(err, WL_INPUT,
                              "key '%.*s' still has a value for each of %" PRIu32
                              " layers, expected %zu",
                              (int)(key->name_len < 100 ? key->name_len : 100), key->name,
                              r->model.n_layers, r->n_layers);
        }
    }
    return WL_OK;
}

static enum wl_status change_keys(const struct relabelling *r, struct wl_err *err) {
    enum wl_status status;
    if ((status = compress_target_set_arch(r->target, RELABEL_TWIN_NAMES[r->model.twin], err)) ||
        (status = compress_target_set_string(r->target, "wattlaw.relabelled_from", r->model.arch,
                                             err)) ||
        (status = set_size(r, "block_count", (uint32_t)r->n_layers, err)) ||
        (status = set_size(r, "attention.key_length", r->model.head_dim, err)) ||
        (status = set_size(r, "attention.value_length", r->model.head_dim, err)) ||
        (status = set_size(r, "rope.dimension_count", r->model.head_dim, err)) ||
        (status = set_sizes(r, "feed_forward_length", offsetof(struct relabel_layer, n_ff), err)) ||
        (status =
             set_sizes(r, "attention.head_count", offsetof(struct relabel_layer, n_head), err)) ||
        (status = set_sizes(r, "attention.head_count_kv", offsetof(struct relabel_layer, n_head_kv),
                            err))) {
        return status;
    }
    return check_lists(r, err);
}

enum wl_status relabel_apply(struct compress_target *target, const struct relabel_layer *layers,
                             size_t n_layers, struct relabel_notes *notes, struct wl_err *err) {
    struct relabelling r = {.target = target, .layers = layers, .n_layers = n_layers};
    enum wl_status status;
    if ((status = relabel_read(target->source, &r.model, err)) ||
        (status = check_sizes(&r, notes, err)) || (status = drop_removed(&r, err)) ||
        (status = check_tensors(&r, err)) || (status = change_tensors(&r, err))) {
        return status;
    }
    return change_keys(&r, err);
}
