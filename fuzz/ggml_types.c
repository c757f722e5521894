// What the compressor's readers ask ggml: how long the rows of a type are. The real one wants the
// C library of its own folder, which cannot be sanitized. Values are no matter here: all are zero.
#include <ggml.h>
#include <string.h>

static void to_zeros(const void *from, float *to, int64_t n) {
    (void)from;
    memset(to, 0, (size_t)n * sizeof *to);
}

static const struct ggml_type_traits TRAITS[GGML_TYPE_COUNT] = {
    [GGML_TYPE_F32] = {.type_name = "f32", .blck_size = 1, .type_size = 4},
    [GGML_TYPE_F16] = {.type_name = "f16", .blck_size = 1, .type_size = 2, .to_float = to_zeros},
    [GGML_TYPE_BF16] = {.type_name = "bf16", .blck_size = 1, .type_size = 2, .to_float = to_zeros},
    [GGML_TYPE_Q4_0] = {.type_name = "q4_0",
                        .blck_size = 32,
                        .type_size = 18,
                        .to_float = to_zeros},
    [GGML_TYPE_Q8_0] = {.type_name = "q8_0",
                        .blck_size = 32,
                        .type_size = 34,
                        .to_float = to_zeros},
    [GGML_TYPE_Q4_K] = {.type_name = "q4_K",
                        .blck_size = 256,
                        .type_size = 144,
                        .to_float = to_zeros},
    [GGML_TYPE_Q6_K] = {.type_name = "q6_K",
                        .blck_size = 256,
                        .type_size = 210,
                        .to_float = to_zeros},
    [GGML_TYPE_I8] = {.type_name = "i8", .blck_size = 1, .type_size = 1},
    [GGML_TYPE_I32] = {.type_name = "i32", .blck_size = 1, .type_size = 4},
};

const struct ggml_type_traits *ggml_get_type_traits(enum ggml_type type) {
    return &TRAITS[type];
}

int64_t ggml_blck_size(enum ggml_type type) {
    return TRAITS[type].blck_size;
}

size_t ggml_type_size(enum ggml_type type) {
    return TRAITS[type].type_size;
}

size_t ggml_row_size(enum ggml_type type, int64_t n) {
    return TRAITS[type].type_size * (size_t)(n / TRAITS[type].blck_size);
}

const char *ggml_type_name(enum ggml_type type) {
    return TRAITS[type].type_name ? TRAITS[type].type_name : "none";
}
