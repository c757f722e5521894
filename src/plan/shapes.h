// The shapes of well-known small models (shapes.def) and what follows from a shape: parameter
// count, file size, weights read per token. PURE.
#ifndef WATTLAW_PLAN_SHAPES_H
#define WATTLAW_PLAN_SHAPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan_shape {
    const char *name;
    const char *arch; // GGUF architecture that llama.cpp runs it as
    uint32_t n_layer;
    uint32_t n_embd;
    uint32_t n_head;
    uint32_t n_head_kv;
    uint32_t head_dim;
    uint32_t n_ff;
    uint32_t n_vocab;
    bool is_tied; // the output matrix is the embedding matrix
    double rope_freq_base;
    uint32_t n_ctx_train;
    uint64_t published_params; // 0 for a shape that is not from the table
};

size_t plan_shape_count(void);
const struct plan_shape *plan_shape_at(size_t i); // NULL past the end
// Exact name, ASCII case ignored; NULL when unknown.
const struct plan_shape *plan_shape_by_name(const char *name);

// Parameters of the text model, tied output counted once.
uint64_t plan_shape_params(const struct plan_shape *shape);
// Of these, the ones that are matrices (quantised in a GGUF; norms and biases stay F32).
uint64_t plan_shape_matrix_params(const struct plan_shape *shape);
// Tensor bytes of a GGUF whose matrices take `bits_per_weight` (q8_0 8.5, q4_0 4.5, q4_k 4.5,
// q6_k 6.5625, f16 16). Tables and the tokenizer add a few MB.
double plan_shape_bytes(const struct plan_shape *shape, double bits_per_weight);
// Bytes of weights that one decoded token reads: everything but an untied embedding table.
double plan_shape_bytes_per_token(const struct plan_shape *shape, double bits_per_weight);
// Bytes the KV cache grows by per token with `bits_per_element` elements (f16 16, q8_0 8.5).
double plan_shape_kv_bytes_per_token(const struct plan_shape *shape, double bits_per_element);

#endif
