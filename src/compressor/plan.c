#include "compressor/plan.h"

#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/pack.h"
#include "compressor/relabel.h"

enum { GEMMA3_27B_LAYERS = 62 }; // by which llama.cpp tells that model, and scales its attention

enum wl_status plan_init(struct plan *plan, const struct compress_source *source,
                         struct wl_err *err) {
    *plan = (struct plan){.layers = calloc(source->n_layer, sizeof *plan->layers),
                          .n_layer = source->n_layer};
    if (!plan->layers) {
        return wl_err_set(err, WL_MEMORY, "no memory for a plan of %u blocks", source->n_layer);
    }
    for (uint32_t i = 0; i < source->n_layer; i++) {
        struct block_shape shape;
        enum wl_status status = compress_source_shape(source, i, &shape, err);
        if (status != WL_OK) {
            plan_release(plan);
            return status;
        }
        plan->layers[i] = (struct plan_layer){.n_head_kv = shape.n_head_kv, .n_ff = shape.n_ff};
    }
    return WL_OK;
}

void plan_release(struct plan *plan) {
    free(plan->layers);
    *plan = (struct plan){0};
}

// ---- one block ----

struct check {
    const struct plan *plan;
    const struct compress_source *source;
    struct block_shape was;
    const char *arch;                  // that is written
    bool may_lack_attention;           // all but its first block
    uint32_t step, head_step, n_stays; // multiples that are fast, or allowed at all
};

static enum wl_status check_neurons(const struct check *c, uint32_t layer, struct wl_err *err) {
    uint32_t n_ff = c->plan->layers[layer].n_ff, most = c->was.n_ff;
    if (n_ff == 0) {
        return wl_err_set(err, WL_INPUT,
                          "block %u is planned without neurons: llama.cpp would leave out its "
                          "attention too; keep %u, or remove the block",
                          layer, c->step);
    }
    if (n_ff > most || (n_ff != most && n_ff % c->step != 0)) {
        return wl_err_set(err, WL_INPUT,
                          "block %u is planned with %u neurons, expected a multiple of %u up to %u "
                          "for these tensor types",
                          layer, n_ff, c->step, most);
    }
    return WL_OK;
}

static enum wl_status check_no_attention(const struct check *c, uint32_t layer,
                                         struct wl_err *err) {
    if (layer == 0) {
        return wl_err_set(err, WL_INPUT,
                          "block 0 is planned without attention: llama.cpp wants it there");
    }
    if (!c->plan->is_mixed) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "block %u is planned without attention, which only blocks with sizes of "
                          "their own can be",
                          layer);
    }
    return !c->may_lack_attention
               ? wl_err_set(err, WL_UNSUPPORTED,
                            "block %u is planned without attention: a '%s' has it in every block; "
                            "keep %u KV heads, or remove the block",
                            layer, c->arch, c->head_step)
               : WL_OK;
}

static enum wl_status check_heads(const struct check *c, uint32_t layer, struct wl_err *err) {
    uint32_t n = c->plan->layers[layer].n_head_kv, most = c->was.n_head_kv;
    if (n == 0) {
        return check_no_attention(c, layer, err);
    }
    if (n < most && !c->plan->is_mixed && c->source->arch->keeps_all_heads) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "block %u is planned with %u of %u KV heads: llama.cpp loads a '%s' with "
                          "all of them only; take neurons or blocks%s",
                          layer, n, most, c->arch,
                          *c->source->arch->flexible ? ", or ask for blocks with sizes of their own"
                                                     : "");
    }
    if (n > most || (n != most && n % c->head_step != 0)) {
        return wl_err_set(err, WL_INPUT,
                          "block %u is planned with %u KV heads, expected a multiple of %u up to "
                          "%u for these tensor types",
                          layer, n, c->head_step, most);
    }
    return WL_OK;
}

static enum wl_status check_same(const struct check *c, uint32_t layer, struct wl_err *err) {
    const struct plan_layer *first = &c->plan->layers[0], *other = &c->plan->layers[layer];
    if (c->plan->is_mixed || (other->n_ff == first->n_ff && other->n_head_kv == first->n_head_kv)) {
        return WL_OK;
    }
    return wl_err_set(err, WL_INPUT,
                      "block %u is planned with %u KV heads and %u neurons, block 0 with %u and "
                      "%u: a '%s' has the same in all of them, or sizes of their own must be asked "
                      "for",
                      layer, other->n_head_kv, other->n_ff, first->n_head_kv, first->n_ff, c->arch);
}

// ---- all of them ----

// Its attention is scaled by another rule, which is told by the number of layers alone.
static enum wl_status check_gemma3(const struct check *c, struct wl_err *err) {
    bool is_or_was = c->plan->n_layer == GEMMA3_27B_LAYERS || c->n_stays == GEMMA3_27B_LAYERS;
    bool is_changed =
        c->n_stays != c->plan->n_layer || c->plan->layers[0].n_head_kv != c->was.n_head_kv;
    if (!c->source->arch->has_windows || !is_or_was || !is_changed) {
        return WL_OK;
    }
    return wl_err_set(err, WL_UNSUPPORTED,
                      "%u of %u blocks with %u of %u KV heads: llama.cpp takes a '%s' of %d blocks "
                      "for the 27B model and scales its attention by its heads; change neither "
                      "there",
                      c->n_stays, c->plan->n_layer, c->plan->layers[0].n_head_kv, c->was.n_head_kv,
                      c->arch, GEMMA3_27B_LAYERS);
}

static enum wl_status open_check(struct check *c, struct wl_err *err) {
    const struct plan *plan = c->plan;
    if (plan->n_layer != c->source->n_layer) {
        return wl_err_set(err, WL_INPUT, "a plan of %u blocks, expected %u", plan->n_layer,
                          c->source->n_layer);
    }
    if (plan->layers[0].is_removed) {
        return wl_err_set(err, WL_INPUT,
                          "block 0 is planned to go, but there is none before it to take over");
    }
    c->arch = c->source->arch->name;
    c->step = pack_step(c->source);
    c->head_step = pack_head_step(c->source);
    for (uint32_t i = 0; i < plan->n_layer; i++) {
        c->n_stays += !plan->layers[i].is_removed;
    }
    enum wl_status status = compress_source_shape(c->source, 0, &c->was, err);
    if (status == WL_OK && plan->is_mixed) {
        status = relabel_find(&c->source->file, &c->arch, err);
    }
    c->may_lack_attention = status == WL_OK && plan->is_mixed && strcmp(c->arch, "deci") == 0;
    return status;
}

enum wl_status plan_check(const struct plan *plan, const struct compress_source *source,
                          struct wl_err *err) {
    struct check c = {.plan = plan, .source = source};
    enum wl_status status = open_check(&c, err);
    for (uint32_t i = 0; i < plan->n_layer && status == WL_OK; i++) {
        if (!plan->layers[i].is_removed && !(status = check_neurons(&c, i, err)) &&
            !(status = check_heads(&c, i, err))) {
            status = check_same(&c, i, err);
        }
    }
    return status == WL_OK ? check_gemma3(&c, err) : status;
}

// ---- sizes ----

enum part { PART_OTHER, PART_ATTENTION, PART_FFN };

// The tensors of a block that lose rows or columns.
static const struct share {
    const char *name;
    enum part part;
    bool is_by_columns;
} SHARES[] = {
    {"attn_q.weight", PART_ATTENTION, false},     {"attn_q.bias", PART_ATTENTION, false},
    {"attn_k.weight", PART_ATTENTION, false},     {"attn_k.bias", PART_ATTENTION, false},
    {"attn_v.weight", PART_ATTENTION, false},     {"attn_v.bias", PART_ATTENTION, false},
    {"attn_output.weight", PART_ATTENTION, true}, {"ffn_gate.weight", PART_FFN, false},
    {"ffn_up.weight", PART_FFN, false},           {"ffn_down.weight", PART_FFN, true},
};

static bool is_of_attention(const char *name) {
    return strncmp(name, "attn_", 5) == 0 || strcmp(name, "post_attention_norm.weight") == 0;
}

// What stays of a tensor: bytes, and elements of a matrix.
static uint64_t bytes_left(const struct gguf_tensor *tensor, const struct share *share,
                           uint64_t kept, uint64_t all, uint64_t *elements) {
    bool is_vector = tensor->n_dims == 1;
    uint64_t columns = tensor->ne[0], rows = tensor->ne[1];
    if (share && (share->is_by_columns || is_vector)) {
        columns = columns / all * kept;
    } else if (share) {
        rows = rows / all * kept;
    }
    *elements = is_vector ? 0 : columns * rows;
    uint64_t block = (uint64_t)ggml_blck_size(tensor->type);
    return (columns + block - 1) / block * ggml_type_size(tensor->type) * rows;
}

static void add_tensor(const struct gguf_tensor *tensor, const char *name,
                       const struct plan_layer *layer, const struct block_shape *was,
                       struct plan_sizes *out) {
    const struct share *share = NULL;
    for (size_t i = 0; i < sizeof SHARES / sizeof *SHARES; i++) {
        share = strcmp(SHARES[i].name, name) == 0 ? &SHARES[i] : share;
    }
    bool is_ffn = share && share->part == PART_FFN;
    uint64_t elements = 0, kept = is_ffn ? layer->n_ff : layer->n_head_kv;
    uint64_t bytes =
        bytes_left(tensor, share, kept, is_ffn ? was->n_ff : was->n_head_kv, &elements);
    if (layer->is_removed || (layer->n_head_kv == 0 && is_of_attention(name))) {
        bytes = elements = 0;
    }
    out->file_bytes -= tensor->n_bytes - (bytes < tensor->n_bytes ? bytes : tensor->n_bytes);
    out->ffn_weights += is_ffn ? elements : 0;
    out->attention_weights += share && !is_ffn ? elements : 0;
}

enum wl_status plan_sizes(const struct plan *plan, const struct compress_source *source,
                          struct plan_sizes *out, struct wl_err *err) {
    struct block_shape was;
    *out = (struct plan_sizes){.file_bytes = source->file.file_bytes};
    enum wl_status status = compress_source_shape(source, 0, &was, err);
    for (uint64_t i = 0; i < source->file.n_tensors && status == WL_OK; i++) {
        const struct gguf_tensor *tensor = &source->file.tensors[i];
        uint32_t layer = 0;
        int n = 0;
        for (; layer < plan->n_layer; layer++) {
            char prefix[32];
            n = snprintf(prefix, sizeof prefix, "blk.%u.", layer);
            if (strncmp(tensor->name, prefix, (size_t)n) == 0) {
                break;
            }
        }
        if (layer < plan->n_layer) {
            add_tensor(tensor, tensor->name + n, &plan->layers[layer], &was, out);
        }
    }
    out->block_weights = out->ffn_weights + out->attention_weights;
    return status;
}
