// Which tensor type llama-quantize would give each matrix of a model: its file types are mixes
// (q4_0 has a q6_k output), and rows that a type's blocks do not divide fall back to another type.
#ifndef WATTLAW_WORKER_SYNTH_TYPES_H
#define WATTLAW_WORKER_SYNTH_TYPES_H

#include <ggml.h>
#include <llama.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum synth_role {
    SYNTH_ROLE_OUTPUT, // output matrix, or the embedding table that serves as one
    SYNTH_ROLE_EMBEDDING,
    SYNTH_ROLE_ATTN_V,
    SYNTH_ROLE_ATTN_OUTPUT,
    SYNTH_ROLE_FFN_DOWN,
    SYNTH_ROLE_OTHER,
};

struct synth_mix {
    const char *name;
    enum llama_ftype ftype;
    enum ggml_type base;
    bool is_pure; // every matrix has the base type
};

// "q4_k_m", "q4_0", "f16", ...; "q4_k" means q4_k_m.
enum wl_status synth_mix_by_name(const char *name, bool is_pure, struct synth_mix *mix,
                                 struct wl_err *err);

struct synth_matrix {
    enum synth_role role;
    uint32_t layer;
    uint32_t n_layer;
    uint32_t n_gqa;  // heads per KV head
    uint64_t n_cols; // row length
};

// *has_fallen_back: the row length forced another type than the mix wanted.
enum ggml_type synth_type_of(const struct synth_mix *mix, const struct synth_matrix *matrix,
                             bool *has_fallen_back);

#endif
