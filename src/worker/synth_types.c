#include "worker/synth_types.h"

#include <string.h>

static const struct synth_mix MIXES[] = {
    {"f32", LLAMA_FTYPE_ALL_F32, GGML_TYPE_F32, false},
    {"f16", LLAMA_FTYPE_MOSTLY_F16, GGML_TYPE_F16, false},
    {"bf16", LLAMA_FTYPE_MOSTLY_BF16, GGML_TYPE_BF16, false},
    {"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0, GGML_TYPE_Q8_0, false},
    {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0, GGML_TYPE_Q4_0, false},
    {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1, GGML_TYPE_Q4_1, false},
    {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0, GGML_TYPE_Q5_0, false},
    {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1, GGML_TYPE_Q5_1, false},
    {"q2_k", LLAMA_FTYPE_MOSTLY_Q2_K, GGML_TYPE_Q2_K, false},
    {"q3_k_s", LLAMA_FTYPE_MOSTLY_Q3_K_S, GGML_TYPE_Q3_K, false},
    {"q3_k_m", LLAMA_FTYPE_MOSTLY_Q3_K_M, GGML_TYPE_Q3_K, false},
    {"q3_k_l", LLAMA_FTYPE_MOSTLY_Q3_K_L, GGML_TYPE_Q3_K, false},
    {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S, GGML_TYPE_Q4_K, false},
    {"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M, GGML_TYPE_Q4_K, false},
    {"q5_k_s", LLAMA_FTYPE_MOSTLY_Q5_K_S, GGML_TYPE_Q5_K, false},
    {"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M, GGML_TYPE_Q5_K, false},
    {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K, GGML_TYPE_Q6_K, false},
    {"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL, GGML_TYPE_IQ4_NL, false},
    {"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS, GGML_TYPE_IQ4_XS, false},
};

static const char *const ALIASES[][2] = {
    {"q3_k", "q3_k_m"}, {"q4_k", "q4_k_m"}, {"q5_k", "q5_k_m"}};

enum wl_status synth_mix_by_name(const char *name, bool is_pure, struct synth_mix *mix,
                                 struct wl_err *err) {
    const char *wanted = name;
    for (size_t i = 0; i < sizeof ALIASES / sizeof ALIASES[0]; i++) {
        wanted = strcmp(name, ALIASES[i][0]) == 0 ? ALIASES[i][1] : wanted;
    }
    for (size_t i = 0; i < sizeof MIXES / sizeof MIXES[0]; i++) {
        if (strcmp(MIXES[i].name, wanted) == 0) {
            *mix = MIXES[i];
            mix->is_pure = is_pure;
            return WL_OK;
        }
    }
    return wl_err_set(
        err, WL_INPUT,
        "synth: type is '%.64s', expected f32, f16, bf16, q8_0, q6_k, q5_k_m, q5_k_s, "
        "q5_1, q5_0, q4_k_m, q4_k_s, q4_1, q4_0, iq4_nl, iq4_xs, q3_k_l, q3_k_m, "
        "q3_k_s or q2_k",
        name);
}

static bool is_quantised(const struct synth_mix *mix) {
    return ggml_is_quantized(mix->base);
}

// The layers that llama-quantize keeps finer: the first and last eighth, and every third between.
static bool uses_more_bits(const struct synth_matrix *m) {
    uint32_t eighth = m->n_layer / 8;
    return m->layer < eighth || m->layer >= 7 * m->n_layer / 8 || (m->layer - eighth) % 3 == 2;
}

static enum ggml_type type_of_attn_v(const struct synth_mix *mix, const struct synth_matrix *m) {
    switch ((int)mix->ftype) {
    case LLAMA_FTYPE_MOSTLY_Q2_K: return m->n_gqa >= 4 ? GGML_TYPE_Q4_K : GGML_TYPE_Q3_K;
    case LLAMA_FTYPE_MOSTLY_Q3_K_M: return m->layer < 2 ? GGML_TYPE_Q5_K : GGML_TYPE_Q4_K;
    case LLAMA_FTYPE_MOSTLY_Q3_K_L: return GGML_TYPE_Q5_K;
    case LLAMA_FTYPE_MOSTLY_IQ4_NL:
    case LLAMA_FTYPE_MOSTLY_IQ4_XS: return m->n_gqa >= 4 ? GGML_TYPE_Q5_K : mix->base;
    case LLAMA_FTYPE_MOSTLY_Q4_K_S: return m->layer < 4 ? GGML_TYPE_Q5_K : mix->base;
    case LLAMA_FTYPE_MOSTLY_Q4_K_M:
    case LLAMA_FTYPE_MOSTLY_Q5_K_M: return uses_more_bits(m) ? GGML_TYPE_Q6_K : mix->base;
    default: return mix->base;
    }
}

static enum ggml_type type_of_ffn_down(const struct synth_mix *mix, const struct synth_matrix *m) {
    switch ((int)mix->ftype) {
    case LLAMA_FTYPE_MOSTLY_Q2_K: return GGML_TYPE_Q3_K;
    case LLAMA_FTYPE_MOSTLY_Q3_K_M:
        return m->layer < m->n_layer / 16 ? GGML_TYPE_Q5_K : GGML_TYPE_Q4_K;
    case LLAMA_FTYPE_MOSTLY_Q3_K_L: return GGML_TYPE_Q5_K;
    case LLAMA_FTYPE_MOSTLY_IQ4_NL:
    case LLAMA_FTYPE_MOSTLY_IQ4_XS:
    case LLAMA_FTYPE_MOSTLY_Q4_K_S: return m->layer < m->n_layer / 8 ? GGML_TYPE_Q5_K : mix->base;
    case LLAMA_FTYPE_MOSTLY_Q4_K_M:
    case LLAMA_FTYPE_MOSTLY_Q5_K_M: return uses_more_bits(m) ? GGML_TYPE_Q6_K : mix->base;
    default: return mix->base;
    }
}

static enum ggml_type type_of_attn_output(const struct synth_mix *mix) {
    switch ((int)mix->ftype) {
    case LLAMA_FTYPE_MOSTLY_Q2_K: return GGML_TYPE_Q3_K;
    case LLAMA_FTYPE_MOSTLY_Q3_K_M: return GGML_TYPE_Q4_K;
    case LLAMA_FTYPE_MOSTLY_Q3_K_L: return GGML_TYPE_Q5_K;
    default: return mix->base;
    }
}

static enum ggml_type type_of_output(const struct synth_mix *mix, uint64_t n_cols) {
    if (n_cols % (uint64_t)ggml_blck_size(mix->base) != 0) {
        return GGML_TYPE_Q8_0;
    }
    return mix->base == GGML_TYPE_Q8_0 ? mix->base : GGML_TYPE_Q6_K;
}

static enum ggml_type wanted_type(const struct synth_mix *mix, const struct synth_matrix *m) {
    if (mix->is_pure || !is_quantised(mix)) {
        return mix->base;
    }
    switch (m->role) {
    case SYNTH_ROLE_OUTPUT: return type_of_output(mix, m->n_cols);
    case SYNTH_ROLE_ATTN_V: return type_of_attn_v(mix, m);
    case SYNTH_ROLE_ATTN_OUTPUT: return type_of_attn_output(mix);
    case SYNTH_ROLE_FFN_DOWN: return type_of_ffn_down(mix, m);
    case SYNTH_ROLE_EMBEDDING:
    case SYNTH_ROLE_OTHER: break;
    }
    return mix->base;
}

static enum ggml_type fallback_type(enum ggml_type type) {
    switch ((int)type) {
    case GGML_TYPE_Q2_K:
    case GGML_TYPE_Q3_K: return GGML_TYPE_Q4_0;
    case GGML_TYPE_IQ4_XS: return GGML_TYPE_IQ4_NL;
    case GGML_TYPE_Q4_K: return GGML_TYPE_Q5_0;
    case GGML_TYPE_Q5_K: return GGML_TYPE_Q5_1;
    case GGML_TYPE_Q6_K: return GGML_TYPE_Q8_0;
    default: return GGML_TYPE_F16;
    }
}

enum ggml_type synth_type_of(const struct synth_mix *mix, const struct synth_matrix *matrix,
                             bool *has_fallen_back) {
    enum ggml_type type = wanted_type(mix, matrix);
    *has_fallen_back = false;
    for (int i = 0; i < 2 && matrix->n_cols % (uint64_t)ggml_blck_size(type) != 0; i++) {
        type = fallback_type(type);
        *has_fallen_back = true;
    }
    return type;
}
