// What the tests of re-labelling do with a small model: its making, and cutting it.
#ifndef RELABEL_TEST_H
#define RELABEL_TEST_H

#include "compressor/relabel.h"
#include "target_test.h"

enum { LAYERS = 3, EMBD = 256, HEADS = 4, KV_HEADS = 2, HEAD = 64, FF = 512, MAX_KEPT = 64 };

static char folder[OS_PATH_BYTES], base[OS_PATH_BYTES], made[OS_PATH_BYTES];
static const char SHAPE[] = "--layers 3 --embd 256 --heads 4 --kv-heads 2 --ff 512 --vocab 512 ";

static inline void synth(const char *rest) {
    char arguments[256];
    snprintf(arguments, sizeof arguments, "%s%s", SHAPE, rest);
    CHECK(made_synth(arguments, base));
}

// The same with norms that are not all ones, as float32 or in its types.
static inline bool synth_varied(struct made *m, const char *rest, enum made_type type) {
    synth(rest);
    bool is_open = made_open(m, base, type);
    CHECK(is_open);
    return is_open;
}

struct edit {
    struct change change;
    struct relabel_layer layers[RELABEL_MAX_LAYERS];
    size_t n_layers;
    struct relabel_notes notes;
    void *kept[MAX_KEPT]; // memory that the target points to
    size_t n_kept;
};

static inline bool edit_begin(struct edit *edit, const char *path) {
    struct wl_err err = {0};
    *edit = (struct edit){0};
    if (!change_begin(&edit->change, path)) {
        return false;
    }
    CHECK_OK(relabel_sizes(&edit->change.source, edit->layers, &edit->n_layers, &err), err);
    return true;
}

static inline void edit_end(struct edit *edit) {
    change_end(&edit->change);
    for (size_t i = 0; i < edit->n_kept; i++) {
        free(edit->kept[i]);
    }
}

static inline void *keep(struct edit *edit, size_t n, size_t size) {
    void *memory = calloc(n, size);
    if (!memory || edit->n_kept == MAX_KEPT) {
        abort();
    }
    return edit->kept[edit->n_kept++] = memory;
}

static inline void edit_write(struct edit *edit) {
    struct wl_err err = {0};
    CHECK_OK(relabel_apply(edit->change.target, edit->layers, edit->n_layers, &edit->notes, &err),
             err);
    change_write(&edit->change, made);
}

static inline const char *name_of(char out[64], size_t layer, const char *name) {
    snprintf(out, 64, "blk.%zu.%s", layer, name);
    return out;
}

// Indices of the `size` elements of each of these groups.
static inline uint32_t *members(struct edit *edit, const uint32_t *groups, size_t n,
                                uint32_t size) {
    uint32_t *out = keep(edit, n * size, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < size; j++) {
            out[i * size + j] = groups[i] * size + j;
        }
    }
    return out;
}

static inline void cut_rows(struct edit *edit, size_t layer, const char *name, const uint32_t *rows,
                            size_t n) {
    char full[64];
    struct wl_err err = {0};
    CHECK_OK(compress_target_rows(edit->change.target, name_of(full, layer, name), rows, n, &err),
             err);
}

// Of a float32 tensor.
static inline void cut_columns(struct edit *edit, size_t layer, const char *name,
                               const uint32_t *columns, size_t n) {
    char full[64];
    struct wl_err err = {0};
    const struct gguf_file *file = &edit->change.source;
    const struct gguf_tensor *t = tensor_of(file, name_of(full, layer, name));
    const char *data = (const char *)file->map + file->data_offset + t->offset;
    float *out = keep(edit, n * t->ne[1], sizeof *out);
    for (uint64_t row = 0; row < t->ne[1]; row++) {
        for (size_t i = 0; i < n; i++) {
            memcpy(&out[row * n + i], data + 4 * (row * t->ne[0] + columns[i]), 4);
        }
    }
    CHECK_OK(compress_target_put(edit->change.target, full, GGML_TYPE_F32, n, t->ne[1], out, &err),
             err);
}

static inline void cut_ff(struct edit *edit, size_t layer, const uint32_t *kept, uint32_t n) {
    cut_rows(edit, layer, "ffn_gate.weight", kept, n);
    cut_rows(edit, layer, "ffn_up.weight", kept, n);
    cut_columns(edit, layer, "ffn_down.weight", kept, n);
    edit->layers[layer].n_ff = n;
}

// Keeps one KV head and its query heads.
static inline void cut_heads(struct edit *edit, size_t layer, uint32_t kv_head, bool has_bias) {
    const uint32_t per_kv = HEADS / KV_HEADS;
    uint32_t *q = members(edit, &kv_head, 1, per_kv * HEAD);
    uint32_t *kv = members(edit, &kv_head, 1, HEAD);
    cut_rows(edit, layer, "attn_q.weight", q, per_kv * HEAD);
    cut_rows(edit, layer, "attn_k.weight", kv, HEAD);
    cut_rows(edit, layer, "attn_v.weight", kv, HEAD);
    if (has_bias) {
        cut_rows(edit, layer, "attn_q.bias", q, per_kv * HEAD);
        cut_rows(edit, layer, "attn_k.bias", kv, HEAD);
        cut_rows(edit, layer, "attn_v.bias", kv, HEAD);
    }
    cut_columns(edit, layer, "attn_output.weight", q, per_kv * HEAD);
    edit->layers[layer].n_head = per_kv;
    edit->layers[layer].n_head_kv = 1;
}

// Zeroes columns of a float32 matrix.
static inline void zero_columns(struct made *m, size_t layer, const char *name, int64_t first,
                                int64_t step, int64_t end) {
    char full[64];
    struct ggml_tensor *t = ggml_get_tensor(m->tensors, name_of(full, layer, name));
    for (int64_t row = 0; row < t->ne[1]; row++) {
        for (int64_t i = first; i < end; i += step) {
            ((float *)t->data)[row * t->ne[0] + i] = 0;
        }
    }
}

#endif
