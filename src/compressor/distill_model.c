#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/distill_parts.h"
#include "compressor/source_keys.h"

// What learning everything may take.
static const uint64_t MOST_BYTES_WHOLE = (uint64_t)2 << 30;
enum { ROUNDED_FLOATS = 1 << 20 };

struct part {
    const char *name;
    size_t offset;    // of the pointer in struct block_weights
    bool is_low_rank; // changed by low-rank changes too
};

#define PART(name_, field_, is_low_rank_)                                                          \
    { .name = name_, .offset = offsetof(struct block_weights, field_), .is_low_rank = is_low_rank_ }

static const struct part MATRICES[BACK_MATRICES] = {
    [BACK_Q] = PART("attn_q.weight", wq, true),
    [BACK_K] = PART("attn_k.weight", wk, false),
    [BACK_V] = PART("attn_v.weight", wv, true),
    [BACK_O] = PART("attn_output.weight", wo, true),
    [BACK_GATE] = PART("ffn_gate.weight", gate, true),
    [BACK_UP] = PART("ffn_up.weight", up, true),
    [BACK_DOWN] = PART("ffn_down.weight", down, true),
};

// All that there are learn, whatever the rank: they are few.
static const struct part VECTORS[BACK_VECTORS] = {
    [BACK_ATTN_NORM] = PART("attn_norm.weight", attn_norm, true),
    [BACK_Q_BIAS] = PART("attn_q.bias", bq, true),
    [BACK_K_BIAS] = PART("attn_k.bias", bk, true),
    [BACK_V_BIAS] = PART("attn_v.bias", bv, true),
    [BACK_Q_NORM] = PART("attn_q_norm.weight", q_norm, true),
    [BACK_K_NORM] = PART("attn_k_norm.weight", k_norm, true),
    [BACK_O_BIAS] = PART("attn_output.bias", bo, true),
    [BACK_ATTN_POST_NORM] = PART("post_attention_norm.weight", attn_post_norm, true),
    [BACK_FFN_NORM] = PART("ffn_norm.weight", ffn_norm, true),
    [BACK_DOWN_BIAS] = PART("ffn_down.bias", down_bias, true),
    [BACK_FFN_POST_NORM] = PART("post_ffw_norm.weight", ffn_post_norm, true),
};

const char *distill_matrix_name(enum back_matrix matrix) {
    return MATRICES[matrix].name;
}

const char *distill_vector_name(enum back_vector vector) {
    return VECTORS[vector].name;
}

// The weights of a part in the block that is loaded; NULL: it has none.
static float *weights_at(const struct distill_model *m, const struct part *part) {
    const float *at;
    memcpy(&at, (const char *)&m->block.weights + part->offset, sizeof at);
    return at ? m->block.memory + (at - m->block.memory) : NULL;
}

// ---- what it takes ----

static const struct gguf_tensor *tensor_of(const struct distill_model *m, uint32_t layer,
                                           const struct part *part) {
    return compress_source_tensor(&m->source, (int32_t)layer, part->name);
}

static bool is_learnt(const struct part *part, uint32_t rank) {
    return rank == 0 || part->is_low_rank;
}

static enum wl_status check_bytes(const struct distill_model *m, uint32_t rank,
                                  struct wl_err *err) {
    uint64_t total = 0;
    for (uint32_t layer = 0; layer < m->source.n_layer && rank == 0; layer++) {
        for (size_t i = 0; i < BACK_MATRICES; i++) {
            const struct gguf_tensor *tensor = tensor_of(m, layer, &MATRICES[i]);
            uint64_t bytes =
                tensor ? lora_bytes((size_t)tensor->ne[1], (size_t)tensor->ne[0], 0) : 0;
            total = bytes < UINT64_MAX - total ? total + bytes : UINT64_MAX;
        }
    }
    return total <= MOST_BYTES_WHOLE
               ? WL_OK
               : wl_err_set(err, WL_LIMIT,
                            "learning all weights of the blocks takes %" PRIu64
                            " MiB, at most %" PRIu64 " are allowed; learn changes of a low rank",
                            total >> 20, MOST_BYTES_WHOLE >> 20);
}

static enum wl_status check_types(const struct distill_model *m, uint32_t rank,
                                  struct wl_err *err) {
    for (uint32_t layer = 0; layer < m->source.n_layer; layer++) {
        for (size_t i = 0; i < BACK_MATRICES; i++) {
            const struct gguf_tensor *tensor = tensor_of(m, layer, &MATRICES[i]);
            if (tensor && is_learnt(&MATRICES[i], rank) &&
                (ggml_quantize_requires_imatrix(tensor->type) ||
                 (ggml_is_quantized(tensor->type) &&
                  !ggml_get_type_traits(tensor->type)->from_float_ref))) {
                return wl_err_set(err, WL_UNSUPPORTED,
                                  "tensor '%s' is stored as %s, which what was learnt cannot be "
                                  "written as; learn before the types are changed",
                                  tensor->name, ggml_type_name(tensor->type));
            }
        }
    }
    return WL_OK;
}

// ---- the changes ----

static enum wl_status init_matrix(struct distill_model *m, uint32_t layer, size_t i, uint32_t rank,
                                  struct rng *rng, struct wl_err *err) {
    const float *w = weights_at(m, &MATRICES[i]);
    if (!w || !is_learnt(&MATRICES[i], rank)) {
        return WL_OK;
    }
    const struct gguf_tensor *tensor = tensor_of(m, layer, &MATRICES[i]);
    size_t n_out = (size_t)tensor->ne[1], n_in = (size_t)tensor->ne[0];
    uint32_t own = lora_rank(n_out, n_in, rank);
    m->max_rank = own > m->max_rank ? own : m->max_rank;
    struct heal_tensor *tensors = m->tensors + m->n_tensors;
    m->n_tensors += lora_n_tensors(own);
    return lora_init(&m->layers[layer].matrices[i], w, n_out, n_in, own, rng, tensors, err);
}

static enum wl_status init_vector(struct distill_model *m, struct lora_change *change,
                                  const float *w, size_t n, struct wl_err *err) {
    return lora_init(change, w, 1, n, 0, NULL, m->tensors + m->n_tensors++, err);
}

static enum wl_status init_layer(struct distill_model *m, uint32_t layer, uint32_t rank,
                                 struct rng *rng, struct wl_err *err) {
    enum wl_status status = distill_model_load(m, layer, DISTILL_AS_MADE, err);
    for (size_t i = 0; i < BACK_MATRICES && status == WL_OK; i++) {
        status = init_matrix(m, layer, i, rank, rng, err);
    }
    for (size_t i = 0; i < BACK_VECTORS && status == WL_OK; i++) {
        const float *w = weights_at(m, &VECTORS[i]);
        if (w) {
            size_t n = (size_t)tensor_of(m, layer, &VECTORS[i])->ne[0];
            status = init_vector(m, &m->layers[layer].vectors[i], w, n, err);
        }
    }
    return status;
}

static enum wl_status init_changes(struct distill_model *m, uint32_t rank, uint64_t seed,
                                   struct wl_err *err) {
    struct rng rng;
    size_t n = m->source.n_layer;
    rng_seed(&rng, seed);
    m->layers = calloc(n, sizeof *m->layers);
    m->tensors = calloc(n * (2 * BACK_MATRICES + BACK_VECTORS) + 1, sizeof *m->tensors);
    m->norm = calloc(m->source.n_embd, sizeof *m->norm);
    m->rounded = malloc(ROUNDED_FLOATS * sizeof(float));
    if (!m->layers || !m->tensors || !m->norm || !m->rounded) {
        return wl_err_set(err, WL_MEMORY, "no memory for changes of %zu blocks", n);
    }
    enum wl_status status = distill_model_load_norm(m, DISTILL_AS_MADE, err);
    if (status == WL_OK) {
        status = init_vector(m, &m->output_norm, m->norm, m->source.n_embd, err);
    }
    for (uint32_t layer = 0; layer < n && status == WL_OK; layer++) {
        status = init_layer(m, layer, rank, &rng, err);
    }
    return status;
}

enum wl_status distill_model_open(struct distill_model *m, const char *path, uint32_t rank,
                                  uint64_t seed, struct wl_err *err) {
    *m = (struct distill_model){0};
    enum wl_status status = compress_source_open(&m->source, path, COMPRESS_FORCE, err);
    if (status != WL_OK) {
        return status;
    }
    if ((status = check_bytes(m, rank, err)) || (status = check_types(m, rank, err)) ||
        (status = init_changes(m, rank, seed, err))) {
        distill_model_close(m);
        wl_err_prefix(err, "cannot distil '%s'", path);
    }
    return status;
}

void distill_model_close(struct distill_model *m) {
    for (uint32_t layer = 0; m->layers && layer < m->source.n_layer; layer++) {
        for (size_t i = 0; i < BACK_MATRICES; i++) {
            lora_release(&m->layers[layer].matrices[i]);
        }
        for (size_t i = 0; i < BACK_VECTORS; i++) {
            lora_release(&m->layers[layer].vectors[i]);
        }
    }
    lora_release(&m->output_norm);
    compress_block_release(&m->block);
    free(m->layers);
    free(m->tensors);
    free(m->norm);
    free(m->rounded);
    compress_source_close(&m->source);
    *m = (struct distill_model){0};
}

// ---- weights ----

void distill_round(enum ggml_type type, size_t n_rows, size_t n_columns, float *w, void *bytes) {
    if (type == GGML_TYPE_F32) {
        memcpy(bytes, w, n_rows * n_columns * sizeof *w);
    } else {
        ggml_quantize_chunk(type, w, bytes, 0, (int64_t)n_rows, (int64_t)n_columns, NULL);
    }
}

static void round_matrix(struct distill_model *m, const struct gguf_tensor *tensor, float *w) {
    size_t n_columns = (size_t)tensor->ne[0], n_rows = (size_t)tensor->ne[1];
    if (tensor->type == GGML_TYPE_F32) {
        return;
    }
    for (size_t row = 0; row < n_rows; row++, w += n_columns) {
        distill_round(tensor->type, 1, n_columns, w, m->rounded);
        ggml_get_type_traits(tensor->type)->to_float(m->rounded, w, (int64_t)n_columns);
    }
}

enum wl_status distill_model_load(struct distill_model *m, uint32_t layer, enum distill_face face,
                                  struct wl_err *err) {
    compress_block_release(&m->block);
    enum wl_status status = compress_source_load(&m->source, layer, &m->block, err);
    if (status != WL_OK || face == DISTILL_AS_MADE) {
        return status;
    }
    for (size_t i = 0; i < BACK_MATRICES; i++) {
        const struct lora_change *change = &m->layers[layer].matrices[i];
        if (change->n_out) {
            float *w = weights_at(m, &MATRICES[i]);
            lora_apply(change, 0, change->n_out, w);
            if (face == DISTILL_ROUNDED) {
                round_matrix(m, tensor_of(m, layer, &MATRICES[i]), w);
            }
        }
    }
    for (size_t i = 0; i < BACK_VECTORS; i++) {
        const struct lora_change *change = &m->layers[layer].vectors[i];
        if (change->n_out) {
            lora_apply(change, 0, 1, weights_at(m, &VECTORS[i]));
        }
    }
    return WL_OK;
}

enum wl_status distill_model_load_norm(struct distill_model *m, enum distill_face face,
                                       struct wl_err *err) {
    struct block_shape shape;
    enum wl_status status = compress_source_shape(&m->source, 0, &shape, err);
    m->rms_eps = shape.rms_eps;
    if (status == WL_OK && face == DISTILL_AS_MADE) {
        const struct gguf_tensor *norm =
            compress_source_tensor(&m->source, -1, "output_norm.weight");
        compress_source_rows(&m->source, norm, 0, 1, m->norm);
    } else if (status == WL_OK) {
        lora_apply(&m->output_norm, 0, 1, m->norm);
    }
    return status;
}
