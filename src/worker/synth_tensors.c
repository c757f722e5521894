#include "worker/synth_tensors.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"

struct maker {
    const struct synth_shape *shape;
    const struct synth_mix *mix;
    struct synth_tensors *out;
    uint32_t layer;
};

static struct synth_tensor *append(struct synth_tensors *out) {
    if (out->n == out->capacity) {
        size_t capacity = out->capacity ? 2 * out->capacity : 256;
        struct synth_tensor *items = realloc(out->items, capacity * sizeof *items);
        if (!items) {
            out->has_failed = true;
            return NULL;
        }
        out->items = items;
        out->capacity = capacity;
    }
    return &out->items[out->n++];
}

struct synth_tensor *synth_tensors_add(struct synth_tensors *tensors, enum ggml_type type,
                                       const int64_t ne[4]) {
    struct synth_tensor *t = append(tensors);
    if (t) {
        *t = (struct synth_tensor){.type = type,
                                   .ne = {ne[0], ne[1], ne[2], ne[3]},
                                   .n_cols = (uint64_t)ne[0],
                                   .n_rows = (uint64_t)(ne[1] * ne[2] * ne[3])};
        tensors->n_params += t->n_cols * t->n_rows;
        tensors->n_bytes += ggml_row_size(type, ne[0]) * t->n_rows;
    }
    return t;
}

static void name_it(const struct maker *maker, struct synth_tensor *t, const char *name,
                    bool is_in_layer) {
    if (is_in_layer) {
        snprintf(t->name, sizeof t->name, "blk.%u.%s", maker->layer, name);
    } else {
        str_copy(t->name, sizeof t->name, name);
    }
}

static void matrix(const struct maker *maker, const char *name, enum synth_role role,
                   uint64_t n_cols, uint64_t n_rows) {
    struct synth_matrix m = {
        .role = role,
        .layer = maker->layer,
        .n_layer = maker->shape->n_layer,
        .n_gqa = maker->shape->n_head / maker->shape->n_head_kv,
        .n_cols = n_cols,
    };
    bool has_fallen_back;
    enum ggml_type type = synth_type_of(maker->mix, &m, &has_fallen_back);
    const int64_t ne[4] = {(int64_t)n_cols, (int64_t)n_rows, 1, 1};
    struct synth_tensor *t = synth_tensors_add(maker->out, type, ne);
    if (t) {
        t->has_fallen_back = has_fallen_back;
        name_it(maker, t, name, role != SYNTH_ROLE_OUTPUT && role != SYNTH_ROLE_EMBEDDING);
    }
}

// A norm (ones) or a bias (random); always F32.
static void vector_at(const struct maker *maker, const char *name, uint64_t n, bool is_norm,
                      bool is_in_layer) {
    const int64_t ne[4] = {(int64_t)n, 1, 1, 1};
    struct synth_tensor *t = synth_tensors_add(maker->out, GGML_TYPE_F32, ne);
    if (t) {
        t->is_norm = is_norm;
        name_it(maker, t, name, is_in_layer);
    }
}

static void vector(const struct maker *maker, const char *name, uint64_t n, bool is_norm) {
    vector_at(maker, name, n, is_norm, true);
}

static void make_attention(const struct maker *maker) {
    const struct synth_shape *s = maker->shape;
    uint64_t q = (uint64_t)s->n_head * s->head_dim;
    uint64_t kv = (uint64_t)s->n_head_kv * s->head_dim;
    vector(maker, "attn_norm.weight", s->n_embd, true);
    matrix(maker, "attn_q.weight", SYNTH_ROLE_OTHER, s->n_embd, q);
    matrix(maker, "attn_k.weight", SYNTH_ROLE_OTHER, s->n_embd, kv);
    matrix(maker, "attn_v.weight", SYNTH_ROLE_ATTN_V, s->n_embd, kv);
    matrix(maker, "attn_output.weight", SYNTH_ROLE_ATTN_OUTPUT, q, s->n_embd);
    if (s->arch == SYNTH_QWEN2 || s->arch == SYNTH_QWEN2VL) {
        vector(maker, "attn_q.bias", q, false);
        vector(maker, "attn_k.bias", kv, false);
        vector(maker, "attn_v.bias", kv, false);
    }
    if (s->arch == SYNTH_QWEN3 || s->arch == SYNTH_QWEN3VL || s->arch == SYNTH_GEMMA3) {
        vector(maker, "attn_q_norm.weight", s->head_dim, true);
        vector(maker, "attn_k_norm.weight", s->head_dim, true);
    }
    if (s->arch == SYNTH_GEMMA3) {
        vector(maker, "post_attention_norm.weight", s->n_embd, true);
    }
}

static void make_feed_forward(const struct maker *maker) {
    const struct synth_shape *s = maker->shape;
    vector(maker, "ffn_norm.weight", s->n_embd, true);
    matrix(maker, "ffn_gate.weight", SYNTH_ROLE_OTHER, s->n_embd, s->n_ff);
    matrix(maker, "ffn_up.weight", SYNTH_ROLE_OTHER, s->n_embd, s->n_ff);
    matrix(maker, "ffn_down.weight", SYNTH_ROLE_FFN_DOWN, s->n_ff, s->n_embd);
    if (s->arch == SYNTH_GEMMA3) {
        vector(maker, "post_ffw_norm.weight", s->n_embd, true);
    }
}

static void make_tables(const struct maker *maker) {
    const struct synth_shape *s = maker->shape;
    matrix(maker, "token_embd.weight", s->is_tied ? SYNTH_ROLE_OUTPUT : SYNTH_ROLE_EMBEDDING,
           s->n_embd, s->n_vocab);
    vector_at(maker, "output_norm.weight", s->n_embd, true, false);
    if (!s->is_tied) {
        matrix(maker, "output.weight", SYNTH_ROLE_OUTPUT, s->n_embd, s->n_vocab);
    }
}

enum wl_status synth_tensors_make(const struct synth_shape *shape, const struct synth_mix *mix,
                                  struct synth_tensors *out, struct wl_err *err) {
    *out = (struct synth_tensors){0};
    struct maker maker = {.shape = shape, .mix = mix, .out = out};
    make_tables(&maker);
    for (maker.layer = 0; maker.layer < shape->n_layer && !out->has_failed; maker.layer++) {
        make_attention(&maker);
        make_feed_forward(&maker);
    }
    if (out->has_failed) {
        synth_tensors_release(out);
        return wl_err_set(err, WL_MEMORY, "no memory for the list of tensors");
    }
    return WL_OK;
}

void synth_tensors_release(struct synth_tensors *tensors) {
    free(tensors->items);
    *tensors = (struct synth_tensors){0};
}
