#include "compressor/retype_types.h"

#include <inttypes.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "compressor/retype.h"

static const struct {
    const char *name;
    enum ggml_type type;
    uint32_t file_type, mixed_file_type;
} TYPES[] = {
    {"F32", GGML_TYPE_F32, LLAMA_FTYPE_ALL_F32, LLAMA_FTYPE_ALL_F32},
    {"F16", GGML_TYPE_F16, LLAMA_FTYPE_MOSTLY_F16, LLAMA_FTYPE_MOSTLY_F16},
    {"BF16", GGML_TYPE_BF16, LLAMA_FTYPE_MOSTLY_BF16, LLAMA_FTYPE_MOSTLY_BF16},
    {"Q8_0", GGML_TYPE_Q8_0, LLAMA_FTYPE_MOSTLY_Q8_0, LLAMA_FTYPE_MOSTLY_Q8_0},
    {"Q6_K", GGML_TYPE_Q6_K, LLAMA_FTYPE_MOSTLY_Q6_K, LLAMA_FTYPE_MOSTLY_Q6_K},
    {"Q5_K", GGML_TYPE_Q5_K, LLAMA_FTYPE_MOSTLY_Q5_K_S, LLAMA_FTYPE_MOSTLY_Q5_K_M},
    {"Q4_K", GGML_TYPE_Q4_K, LLAMA_FTYPE_MOSTLY_Q4_K_S, LLAMA_FTYPE_MOSTLY_Q4_K_M},
    {"Q4_0", GGML_TYPE_Q4_0, LLAMA_FTYPE_MOSTLY_Q4_0, LLAMA_FTYPE_MOSTLY_Q4_0},
    {"IQ4_NL", GGML_TYPE_IQ4_NL, LLAMA_FTYPE_MOSTLY_IQ4_NL, LLAMA_FTYPE_MOSTLY_IQ4_NL},
    {"IQ4_XS", GGML_TYPE_IQ4_XS, LLAMA_FTYPE_MOSTLY_IQ4_XS, LLAMA_FTYPE_MOSTLY_IQ4_XS},
    {"Q3_K", GGML_TYPE_Q3_K, LLAMA_FTYPE_MOSTLY_Q3_K_S, LLAMA_FTYPE_MOSTLY_Q3_K_M},
};
enum { N_TYPES = sizeof TYPES / sizeof TYPES[0] };

enum wl_status retype_parse(const char *name, enum ggml_type *out, struct wl_err *err) {
    char names[128];
    size_t len = 0;
    for (size_t i = 0; i < N_TYPES; i++) {
        if (strcasecmp(TYPES[i].name, name) == 0) {
            *out = TYPES[i].type;
            return WL_OK;
        }
        len +=
            (size_t)snprintf(names + len, sizeof names - len, "%s%s", i ? ", " : "", TYPES[i].name);
    }
    return wl_err_set(err, WL_USAGE, "type '%s': expected one of %s", name, names);
}

uint32_t retype_file_type(enum ggml_type type, bool is_mixed) {
    for (size_t i = 0; i < N_TYPES; i++) {
        if (TYPES[i].type == type) {
            return is_mixed ? TYPES[i].mixed_file_type : TYPES[i].file_type;
        }
    }
    return LLAMA_FTYPE_GUESSED;
}

// ---- what a tensor is ----

static bool ends_with(const char *text, const char *end) {
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

bool retype_is_matrix(const struct gguf_tensor *t) {
    static const char *const NONE[] = {"_norm",        "position_embd", "token_types", "class_embd",
                                       "ffn_gate_inp", "patch_embd",    "ssm_",        "rope_"};
    for (size_t i = 0; i < sizeof NONE / sizeof NONE[0]; i++) {
        if (strstr(t->name, NONE[i])) {
            return false;
        }
    }
    bool is_readable = t->type == GGML_TYPE_F32 || ggml_get_type_traits(t->type)->to_float;
    return is_readable && t->ne[0] > 1 && t->ne[1] > 1 && t->ne[2] * t->ne[3] == 1 &&
           ends_with(t->name, ".weight");
}

enum retype_part retype_part_of(const struct gguf_tensor *tensor, int32_t *layer) {
    static const char *const NAMES[RETYPE_BLOCK_PARTS] = {
        [RETYPE_Q] = "attn_q.weight",      [RETYPE_K] = "attn_k.weight",
        [RETYPE_V] = "attn_v.weight",      [RETYPE_ATTENTION_OUT] = "attn_output.weight",
        [RETYPE_GATE] = "ffn_gate.weight", [RETYPE_UP] = "ffn_up.weight",
        [RETYPE_DOWN] = "ffn_down.weight"};
    *layer = -1;
    if (strcmp(tensor->name, "token_embd.weight") == 0) {
        return RETYPE_EMBEDDING;
    }
    if (strcmp(tensor->name, "output.weight") == 0) {
        return RETYPE_OUTPUT;
    }
    char *end = NULL;
    bool is_block = strncmp(tensor->name, "blk.", 4) == 0;
    long number = is_block ? strtol(tensor->name + 4, &end, 10) : -1;
    if (number >= 0 && number < INT32_MAX && end && *end == '.') {
        *layer = (int32_t)number;
        for (int i = 0; i < RETYPE_BLOCK_PARTS; i++) {
            if (strcmp(end + 1, NAMES[i]) == 0) {
                return (enum retype_part)i;
            }
        }
    }
    return RETYPE_OTHER;
}

// ---- what it gets ----

double retype_bits(enum ggml_type type) {
    return 8.0 * (double)ggml_type_size(type) / (double)ggml_blck_size(type);
}

// As llama-quantize's, but for Q5_0 and Q5_1, whose kernels are several times slower than all
// others: four bits stay four, and five become eight.
static enum ggml_type fitting(enum ggml_type type, uint64_t n_columns) {
    if (n_columns % (uint64_t)ggml_blck_size(type) == 0) {
        return type;
    }
    enum ggml_type next = GGML_TYPE_F16;
    if (ggml_blck_size(type) > ggml_blck_size(GGML_TYPE_Q8_0)) {
        next = retype_bits(type) < 5 ? GGML_TYPE_IQ4_NL : GGML_TYPE_Q8_0;
    }
    return n_columns % (uint64_t)ggml_blck_size(next) == 0 ? next : GGML_TYPE_F16;
}

static bool is_sensitive(enum retype_part part) {
    return part == RETYPE_EMBEDDING || part == RETYPE_OUTPUT;
}

enum ggml_type retype_for(const struct gguf_tensor *tensor, enum retype_part part,
                          enum ggml_type wanted) {
    enum ggml_type least = GGML_TYPE_Q6_K;
    bool is_low = is_sensitive(part) && retype_bits(wanted) < retype_bits(least);
    enum ggml_type type = fitting(is_low ? least : wanted, tensor->ne[0]);
    return retype_bits(type) < retype_bits(tensor->type) ? type : tensor->type;
}

size_t retype_choices(const struct gguf_tensor *tensor, enum retype_part part,
                      enum ggml_type out[RETYPE_MAX_CHOICES]) {
    static const enum ggml_type FAST[] = {GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K,
                                          GGML_TYPE_Q8_0};
    size_t n = 0;
    for (size_t i = 0; i < sizeof FAST / sizeof FAST[0]; i++) {
        enum ggml_type type = retype_for(tensor, part, FAST[i]);
        if (type != tensor->type && (n == 0 || out[n - 1] != type)) {
            out[n++] = type;
        }
    }
    out[n++] = tensor->type;
    return n;
}

// ---- how large a file becomes ----

static double bytes_as(const struct gguf_tensor *t, enum ggml_type wanted) {
    int32_t layer;
    if (!retype_is_matrix(t)) {
        return (double)t->n_bytes;
    }
    enum ggml_type type = retype_for(t, retype_part_of(t, &layer), wanted);
    return (double)(ggml_row_size(type, (int64_t)t->ne[0]) * t->ne[1]);
}

double retype_share(const struct gguf_file *file, enum ggml_type type) {
    double before = 0, after = 0;
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        before += (double)file->tensors[i].n_bytes;
        after += bytes_as(&file->tensors[i], type);
    }
    return before > 0 ? after / before : 1;
}
