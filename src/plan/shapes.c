#include "plan/shapes.h"

#include <string.h>

static const struct plan_shape SHAPES[] = {
#define X(name_, arch_, layers, embd, heads, kv_heads, dim, ff, vocab, tied, rope, ctx, params)    \
    {.name = name_,                                                                                \
     .arch = arch_,                                                                                \
     .n_layer = layers,                                                                            \
     .n_embd = embd,                                                                               \
     .n_head = heads,                                                                              \
     .n_head_kv = kv_heads,                                                                        \
     .head_dim = dim,                                                                              \
     .n_ff = ff,                                                                                   \
     .n_vocab = vocab,                                                                             \
     .is_tied = tied,                                                                              \
     .rope_freq_base = rope,                                                                       \
     .n_ctx_train = ctx,                                                                           \
     .published_params = params},
#include "plan/shapes.def"
#undef X
};

size_t plan_shape_count(void) {
    return sizeof SHAPES / sizeof SHAPES[0];
}

const struct plan_shape *plan_shape_at(size_t i) {
    return i < plan_shape_count() ? &SHAPES[i] : NULL;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_same_name(const char *a, const char *b) {
    while (*a && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return *a == '\0' && *b == '\0';
}

const struct plan_shape *plan_shape_by_name(const char *name) {
    for (size_t i = 0; name && i < plan_shape_count(); i++) {
        if (is_same_name(SHAPES[i].name, name)) {
            return &SHAPES[i];
        }
    }
    return NULL;
}

// Query, key, value, output projections and the gated feed-forward of one block.
static uint64_t layer_matrix_params(const struct plan_shape *s) {
    uint64_t embd = s->n_embd;
    uint64_t q = (uint64_t)s->n_head * s->head_dim;
    uint64_t kv = (uint64_t)s->n_head_kv * s->head_dim;
    return embd * (2 * q + 2 * kv) + 3 * embd * s->n_ff;
}

// Norms and biases of one block: what each architecture adds.
static uint64_t layer_vector_params(const struct plan_shape *s) {
    uint64_t n = 2 * (uint64_t)s->n_embd;
    if (strcmp(s->arch, "qwen2") == 0 || strcmp(s->arch, "qwen2vl") == 0) {
        n += ((uint64_t)s->n_head + 2 * (uint64_t)s->n_head_kv) * s->head_dim;
    } else if (strcmp(s->arch, "qwen3") == 0 || strcmp(s->arch, "qwen3vl") == 0) {
        n += 2 * (uint64_t)s->head_dim;
    } else if (strcmp(s->arch, "gemma3") == 0) {
        n += 2 * (uint64_t)s->n_embd + 2 * (uint64_t)s->head_dim;
    }
    return n;
}

static uint64_t embedding_params(const struct plan_shape *s) {
    return (uint64_t)s->n_vocab * s->n_embd;
}

static uint64_t vector_params(const struct plan_shape *s) {
    return s->n_layer * layer_vector_params(s) + s->n_embd;
}

uint64_t plan_shape_matrix_params(const struct plan_shape *shape) {
    uint64_t tables = shape->is_tied ? 1 : 2;
    return shape->n_layer * layer_matrix_params(shape) + tables * embedding_params(shape);
}

uint64_t plan_shape_params(const struct plan_shape *shape) {
    return plan_shape_matrix_params(shape) + vector_params(shape);
}

double plan_shape_bytes(const struct plan_shape *shape, double bits_per_weight) {
    return (double)plan_shape_matrix_params(shape) * bits_per_weight / 8.0 +
           4.0 * (double)vector_params(shape);
}

double plan_shape_bytes_per_token(const struct plan_shape *shape, double bits_per_weight) {
    uint64_t matrices = shape->n_layer * layer_matrix_params(shape) + embedding_params(shape);
    return (double)matrices * bits_per_weight / 8.0 + 4.0 * (double)vector_params(shape);
}

double plan_shape_kv_bytes_per_token(const struct plan_shape *shape, double bits_per_element) {
    uint64_t elements = 2 * (uint64_t)shape->n_layer * shape->n_head_kv * shape->head_dim;
    return (double)elements * bits_per_element / 8.0;
}
