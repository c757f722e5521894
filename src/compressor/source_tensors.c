#include "compressor/source_tensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum side { SIDE_ONE, SIDE_EMBD, SIDE_HEADS, SIDE_KV, SIDE_HEAD, SIDE_FF, SIDE_VOCAB, SIDE_PAIRS };
enum when { ALWAYS, MAYBE, WITH_QK_NORM, WITH_POST_NORMS, MAYBE_DOWN, MAYBE_FACTORS };
enum need { ABSENT, OPTIONAL, REQUIRED };

struct known_tensor {
    const char *name;
    enum side columns, rows;
    enum when when;
    size_t offset; // of the pointer in struct block_weights
};

#define WEIGHT(name_, columns_, rows_, when_, field_)                                              \
    { name_, SIDE_##columns_, SIDE_##rows_, when_, offsetof(struct block_weights, field_) }

static const struct known_tensor OF_LAYER[] = {
    WEIGHT("attn_norm.weight", EMBD, ONE, ALWAYS, attn_norm),
    WEIGHT("attn_q.weight", EMBD, HEADS, ALWAYS, wq),
    WEIGHT("attn_k.weight", EMBD, KV, ALWAYS, wk),
    WEIGHT("attn_v.weight", EMBD, KV, ALWAYS, wv),
    WEIGHT("attn_q.bias", HEADS, ONE, MAYBE, bq),
    WEIGHT("attn_k.bias", KV, ONE, MAYBE, bk),
    WEIGHT("attn_v.bias", KV, ONE, MAYBE, bv),
    WEIGHT("attn_q_norm.weight", HEAD, ONE, WITH_QK_NORM, q_norm),
    WEIGHT("attn_k_norm.weight", HEAD, ONE, WITH_QK_NORM, k_norm),
    WEIGHT("attn_output.weight", HEADS, EMBD, ALWAYS, wo),
    WEIGHT("attn_output.bias", EMBD, ONE, MAYBE_DOWN, bo),
    WEIGHT("post_attention_norm.weight", EMBD, ONE, WITH_POST_NORMS, attn_post_norm),
    WEIGHT("ffn_norm.weight", EMBD, ONE, ALWAYS, ffn_norm),
    WEIGHT("ffn_gate.weight", EMBD, FF, ALWAYS, gate),
    WEIGHT("ffn_up.weight", EMBD, FF, ALWAYS, up),
    WEIGHT("ffn_down.weight", FF, EMBD, ALWAYS, down),
    WEIGHT("ffn_down.bias", EMBD, ONE, MAYBE_DOWN, down_bias),
    WEIGHT("post_ffw_norm.weight", EMBD, ONE, WITH_POST_NORMS, ffn_post_norm),
};
static const struct known_tensor OF_MODEL[] = {
    {"token_embd.weight", SIDE_EMBD, SIDE_VOCAB, ALWAYS, 0},
    {"output_norm.weight", SIDE_EMBD, SIDE_ONE, ALWAYS, 0},
    {"output.weight", SIDE_EMBD, SIDE_VOCAB, MAYBE, 0},
    {"rope_freqs.weight", SIDE_PAIRS, SIDE_ONE, MAYBE_FACTORS, 0},
};

enum { N_OF_LAYER = sizeof OF_LAYER / sizeof OF_LAYER[0] };
enum { N_OF_MODEL = sizeof OF_MODEL / sizeof OF_MODEL[0] };

static enum need need_of(const struct compress_arch *arch, enum when when) {
    switch (when) {
    case ALWAYS: return REQUIRED;
    case MAYBE: return OPTIONAL;
    case WITH_QK_NORM: return arch->has_qk_norm ? REQUIRED : ABSENT;
    case WITH_POST_NORMS: return arch->has_post_norms ? REQUIRED : ABSENT;
    case MAYBE_DOWN: return arch->takes_down_bias ? OPTIONAL : ABSENT;
    case MAYBE_FACTORS: return arch->takes_rope_factors ? OPTIONAL : ABSENT;
    }
    return ABSENT;
}

static uint64_t length_of(const struct compress_source *source, const struct block_shape *shape,
                          enum side side) {
    switch (side) {
    case SIDE_ONE: return 1;
    case SIDE_EMBD: return shape->n_embd;
    case SIDE_HEADS: return (uint64_t)shape->n_head * shape->head_dim;
    case SIDE_KV: return (uint64_t)shape->n_head_kv * shape->head_dim;
    case SIDE_HEAD: return shape->head_dim;
    case SIDE_FF: return shape->n_ff;
    case SIDE_VOCAB: return source->n_vocab;
    case SIDE_PAIRS: return shape->head_dim / 2;
    }
    return 0;
}

const struct gguf_tensor *compress_source_tensor(const struct compress_source *source,
                                                 int32_t layer, const char *name) {
    char full[GGUF_NAME_BYTES];
    if (layer >= 0) {
        snprintf(full, sizeof full, "blk.%" PRId32 ".%s", layer, name);
        name = full;
    }
    for (uint64_t i = 0; i < source->file.n_tensors; i++) {
        if (strcmp(source->file.tensors[i].name, name) == 0) {
            return &source->file.tensors[i];
        }
    }
    return NULL;
}

// ---- reading ----

static bool is_readable(enum ggml_type type) {
    return type == GGML_TYPE_F32 || ggml_get_type_traits(type)->to_float != NULL;
}

void compress_source_rows(const struct compress_source *source, const struct gguf_tensor *tensor,
                          uint64_t first, uint64_t n_rows, float *out) {
    const unsigned char *data = source->file.map;
    size_t row_bytes = ggml_row_size(tensor->type, (int64_t)tensor->ne[0]);
    data += source->file.data_offset + tensor->offset + first * row_bytes;
    for (uint64_t row = 0; row < n_rows; row++) {
        float *to = out + row * tensor->ne[0];
        if (tensor->type == GGML_TYPE_F32) {
            memcpy(to, data + row * row_bytes, row_bytes);
        } else {
            ggml_get_type_traits(tensor->type)
                ->to_float(data + row * row_bytes, to, (int64_t)tensor->ne[0]);
        }
    }
}

enum wl_status source_read_rows(const struct compress_source *source,
                                const struct gguf_tensor *tensor, uint64_t first, uint64_t n_rows,
                                float *out, struct wl_err *err) {
    compress_source_rows(source, tensor, first, n_rows, out);
    for (uint64_t i = 0; i < n_rows * tensor->ne[0]; i++) {
        if (!isfinite(out[i])) {
            return wl_err_set(err, WL_INPUT,
                              "tensor '%s' holds a value that is not finite in row %" PRIu64
                              "; the file is damaged or was converted wrongly",
                              tensor->name, first + i / tensor->ne[0]);
        }
    }
    return WL_OK;
}

static uint64_t block_floats_of(const struct compress_source *source, uint32_t layer) {
    uint64_t total = 0;
    for (size_t i = 0; i < N_OF_LAYER; i++) {
        const struct gguf_tensor *tensor =
            compress_source_tensor(source, (int32_t)layer, OF_LAYER[i].name);
        total += tensor ? tensor->n_elements : 0; // within the file, so far below 2^64
    }
    return total;
}

static enum wl_status load_weights(const struct compress_source *source, uint32_t layer,
                                   struct compress_block *out, struct wl_err *err) {
    float *next = out->memory;
    for (size_t i = 0; i < N_OF_LAYER; i++) {
        const struct gguf_tensor *tensor =
            compress_source_tensor(source, (int32_t)layer, OF_LAYER[i].name);
        if (!tensor) {
            continue;
        }
        enum wl_status status = source_read_rows(source, tensor, 0, tensor->ne[1], next, err);
        if (status != WL_OK) {
            return status;
        }
        const float *weight = next;
        memcpy((char *)&out->weights + OF_LAYER[i].offset, &weight, sizeof weight);
        next += tensor->n_elements;
    }
    return WL_OK;
}

enum wl_status compress_source_load(const struct compress_source *source, uint32_t layer,
                                    struct compress_block *out, struct wl_err *err) {
    *out = (struct compress_block){0};
    enum wl_status status = compress_source_shape(source, layer, &out->shape, err);
    if (status != WL_OK) {
        return status;
    }
    uint64_t n = block_floats_of(source, layer);
    out->memory = n <= SIZE_MAX / sizeof(float) ? calloc((size_t)n, sizeof(float)) : NULL;
    if (!out->memory) {
        return wl_err_set(err, WL_MEMORY, "no memory for the %" PRIu64 " weights of layer %" PRIu32,
                          n, layer);
    }
    status = load_weights(source, layer, out, err);
    if (status != WL_OK) {
        compress_block_release(out);
    }
    return status;
}

void compress_block_release(struct compress_block *block) {
    free(block->memory);
    *block = (struct compress_block){0};
}

// ---- checking ----

// `text` is "blk.<number>.<rest>": returns the rest, NULL when it is not.
static const char *split_name(const char *text, uint32_t *layer) {
    char again[GGUF_NAME_BYTES];
    uint64_t number = 0;
    if (strncmp(text, "blk.", 4) != 0) {
        return NULL;
    }
    const char *rest = text + 4;
    for (; *rest >= '0' && *rest <= '9' && number < UINT32_MAX; rest++) {
        number = 10 * number + (uint64_t)(*rest - '0');
    }
    snprintf(again, sizeof again, "blk.%" PRIu64 ".", number);
    if (number > UINT32_MAX || strncmp(again, text, strlen(again)) != 0) {
        return NULL;
    }
    *layer = (uint32_t)number;
    return text + strlen(again);
}

static bool is_among(const struct compress_arch *arch, const struct known_tensor *known, size_t n,
                     const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(known[i].name, name) == 0) {
            return need_of(arch, known[i].when) != ABSENT;
        }
    }
    return false;
}

static enum wl_status check_is_known(const struct compress_source *source,
                                     const struct gguf_tensor *tensor, struct wl_err *err) {
    uint32_t layer;
    const char *name = split_name(tensor->name, &layer);
    if (name && layer >= source->n_layer) {
        return wl_err_set(err, WL_INPUT,
                          "tensor '%s' is of layer %" PRIu32 ", but key '%s.block_count' is "
                          "%" PRIu32,
                          tensor->name, layer, source->arch->name, source->n_layer);
    }
    if (name ? is_among(source->arch, OF_LAYER, N_OF_LAYER, name)
             : is_among(source->arch, OF_MODEL, N_OF_MODEL, tensor->name)) {
        return WL_OK;
    }
    return wl_err_set(err, WL_UNSUPPORTED,
                      "tensor '%s' is not known of the architecture '%s', so what the model "
                      "computes is not known either",
                      tensor->name, source->arch->name);
}

static enum wl_status check_storage(const struct gguf_tensor *tensor, enum compress_force force,
                                    struct wl_err *err) {
    if (!is_readable(tensor->type)) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "tensor '%s' is stored as %s, which holds no weights", tensor->name,
                          ggml_type_name(tensor->type));
    }
    size_t bits = 8 * ggml_type_size(tensor->type) * (size_t)ggml_blck_size(GGML_TYPE_Q6_K);
    size_t least = 8 * ggml_type_size(GGML_TYPE_Q6_K) * (size_t)ggml_blck_size(tensor->type);
    if (force == COMPRESS_CAREFUL && bits < least) {
        return wl_err_set(
            err, WL_UNSUPPORTED,
            "tensor '%s' is stored as %s, expected %s or more: too much was rounded away to tell "
            "what can go; take the file in F16, BF16, Q8_0 or Q6_K, or force it",
            tensor->name, ggml_type_name(tensor->type), ggml_type_name(GGML_TYPE_Q6_K));
    }
    return WL_OK;
}

static enum wl_status check_shape(const struct compress_source *source,
                                  const struct block_shape *shape, const struct known_tensor *known,
                                  const struct gguf_tensor *tensor, struct wl_err *err) {
    uint64_t columns = length_of(source, shape, known->columns);
    uint64_t rows = length_of(source, shape, known->rows);
    if (tensor->ne[0] == columns && tensor->ne[1] == rows && tensor->ne[2] == 1 &&
        tensor->ne[3] == 1) {
        return WL_OK;
    }
    return wl_err_set(err, WL_INPUT,
                      "tensor '%s' is %" PRIu64 " x %" PRIu64 "%s, expected %" PRIu64 " x %" PRIu64
                      " from the keys of '%s'",
                      tensor->name, tensor->ne[0], tensor->ne[1],
                      tensor->ne[2] * tensor->ne[3] == 1 ? "" : " and deeper", columns, rows,
                      source->arch->name);
}

// One part of the file: the tensors of a layer, or (-1) of the whole model.
struct part {
    const struct compress_source *source;
    struct block_shape shape;
    int32_t layer;
    enum compress_force force;
    uint64_t n_found;
};

static enum wl_status check_part(struct part *part, const struct known_tensor *known, size_t n,
                                 struct wl_err *err) {
    for (size_t i = 0; i < n; i++) {
        const struct gguf_tensor *tensor =
            compress_source_tensor(part->source, part->layer, known[i].name);
        if (!tensor && need_of(part->source->arch, known[i].when) == REQUIRED) {
            return part->layer < 0
                       ? wl_err_set(err, WL_INPUT, "tensor '%s' is missing", known[i].name)
                       : wl_err_set(err, WL_INPUT, "tensor 'blk.%" PRId32 ".%s' is missing",
                                    part->layer, known[i].name);
        }
        if (!tensor) {
            continue;
        }
        enum wl_status status;
        if ((status = check_shape(part->source, &part->shape, &known[i], tensor, err)) ||
            (status = check_storage(tensor, part->force, err))) {
            return status;
        }
        part->n_found++;
    }
    return WL_OK;
}

enum wl_status source_check_tensors(const struct compress_source *source, enum compress_force force,
                                    struct wl_err *err) {
    struct part part = {.source = source, .force = force, .layer = -1};
    enum wl_status status = compress_source_shape(source, 0, &part.shape, err);
    for (uint64_t i = 0; status == WL_OK && i < source->file.n_tensors; i++) {
        status = check_is_known(source, &source->file.tensors[i], err);
    }
    if (status == WL_OK) {
        status = check_part(&part, OF_MODEL, N_OF_MODEL, err);
    }
    for (uint32_t layer = 0; status == WL_OK && layer < source->n_layer; layer++) {
        part.layer = (int32_t)layer;
        status = compress_source_shape(source, layer, &part.shape, err);
        if (status == WL_OK) {
            status = check_part(&part, OF_LAYER, N_OF_LAYER, err);
        }
    }
    if (status == WL_OK && part.n_found != source->file.n_tensors) {
        return wl_err_set(err, WL_INPUT,
                          "%" PRIu64 " tensors have %" PRIu64
                          " names: some have the same; the file is damaged or was joined wrongly",
                          source->file.n_tensors, part.n_found);
    }
    return status;
}
