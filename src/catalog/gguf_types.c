#include "catalog/gguf_types.h"

#include <stddef.h>
#include <strings.h>

static const struct gguf_type TYPES[GGUF_MAX_TYPES] = {
#define X(number, name_, weights, bytes) [number] = {name_, weights, bytes},
#include "catalog/gguf_types.def"
#undef X
};

const struct gguf_type *gguf_type_at(uint32_t number) {
    return number < GGUF_MAX_TYPES && TYPES[number].name ? &TYPES[number] : NULL;
}

const struct gguf_type *gguf_type_by_name(const char *name) {
    for (size_t i = 0; name && i < GGUF_MAX_TYPES; i++) {
        if (TYPES[i].name && strcasecmp(TYPES[i].name, name) == 0) {
            return &TYPES[i];
        }
    }
    return NULL;
}

double gguf_type_bits_per_weight(const struct gguf_type *type) {
    return 8.0 * type->block_bytes / type->block_weights;
}

// enum llama_ftype of llama.h without its prefix.
static const char *const FILE_TYPES[] = {
    [0] = "f32",      [1] = "f16",      [2] = "q4_0",    [3] = "q4_1",    [7] = "q8_0",
    [8] = "q5_0",     [9] = "q5_1",     [10] = "q2_k",   [11] = "q3_k_s", [12] = "q3_k_m",
    [13] = "q3_k_l",  [14] = "q4_k_s",  [15] = "q4_k_m", [16] = "q5_k_s", [17] = "q5_k_m",
    [18] = "q6_k",    [19] = "iq2_xxs", [20] = "iq2_xs", [21] = "q2_k_s", [22] = "iq3_xs",
    [23] = "iq3_xxs", [24] = "iq1_s",   [25] = "iq4_nl", [26] = "iq3_s",  [27] = "iq3_m",
    [28] = "iq2_s",   [29] = "iq2_m",   [30] = "iq4_xs", [31] = "iq1_m",  [32] = "bf16",
    [36] = "tq1_0",   [37] = "tq2_0",   [38] = "mxfp4",  [39] = "nvfp4",  [40] = "q1_0",
    [41] = "q2_0",
};

const char *gguf_file_type_name(int64_t file_type) {
    int64_t n = (int64_t)(sizeof FILE_TYPES / sizeof FILE_TYPES[0]);
    return file_type >= 0 && file_type < n ? FILE_TYPES[file_type] : NULL;
}
