#include "compressor/eye_source.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_ALIGNMENT = 8 };

static const struct eye_family FAMILIES[] = {
#define EYE_FAMILY(projector_, has_rope_, weight_, bias_, is_transposed_)                          \
    {projector_, has_rope_, weight_, bias_, is_transposed_},
#include "compressor/eye_family.def"
#undef EYE_FAMILY
};
enum { N_FAMILIES = sizeof FAMILIES / sizeof FAMILIES[0] };

enum side { SIDE_ONE, SIDE_EMBD, SIDE_HEADS, SIDE_FF };

struct known_tensor {
    const char *name;
    enum side columns, rows;
    bool is_needed;
    size_t offset; // of the pointer in struct tower_weights
};

#define WEIGHT(name_, columns_, rows_, is_needed_, field_)                                         \
    { name_, SIDE_##columns_, SIDE_##rows_, is_needed_, offsetof(struct tower_weights, field_) }

static const struct known_tensor OF_BLOCK[] = {
    WEIGHT("ln1.weight", EMBD, ONE, true, ln1),
    WEIGHT("ln1.bias", EMBD, ONE, false, ln1_bias),
    WEIGHT("attn_q.weight", EMBD, HEADS, true, wq),
    WEIGHT("attn_k.weight", EMBD, HEADS, true, wk),
    WEIGHT("attn_v.weight", EMBD, HEADS, true, wv),
    WEIGHT("attn_q.bias", HEADS, ONE, false, bq),
    WEIGHT("attn_k.bias", HEADS, ONE, false, bk),
    WEIGHT("attn_v.bias", HEADS, ONE, false, bv),
    WEIGHT("attn_out.weight", HEADS, EMBD, true, wo),
    WEIGHT("attn_out.bias", EMBD, ONE, false, bo),
    WEIGHT("ln2.weight", EMBD, ONE, true, ln2),
    WEIGHT("ln2.bias", EMBD, ONE, false, ln2_bias),
    WEIGHT("ffn_up.weight", EMBD, FF, true, up),
    WEIGHT("ffn_up.bias", FF, ONE, false, up_bias),
    WEIGHT("ffn_down.weight", FF, EMBD, true, down),
    WEIGHT("ffn_down.bias", EMBD, ONE, false, down_bias),
};
enum { N_OF_BLOCK = sizeof OF_BLOCK / sizeof OF_BLOCK[0] };

// ---- tensors ----

void eye_source_name(const struct eye_source *source, uint32_t layer, const char *name,
                     char out[GGUF_NAME_BYTES]) {
    bool is_up = strncmp(name, "ffn_up.", 7) == 0, is_down = strncmp(name, "ffn_down.", 9) == 0;
    const char *rest = strchr(name, '.');
    if (source->is_swapped && (is_up || is_down)) {
        snprintf(out, GGUF_NAME_BYTES, "v.blk.%" PRIu32 ".%s%s", layer,
                 is_up ? "ffn_down" : "ffn_up", rest);
        return;
    }
    snprintf(out, GGUF_NAME_BYTES, "v.blk.%" PRIu32 ".%s", layer, name);
}

const struct gguf_tensor *eye_source_named(const struct eye_source *source, const char *name) {
    for (uint64_t i = 0; i < source->file.n_tensors; i++) {
        if (strcmp(source->file.tensors[i].name, name) == 0) {
            return &source->file.tensors[i];
        }
    }
    return NULL;
}

const struct gguf_tensor *eye_source_tensor(const struct eye_source *source, uint32_t layer,
                                            const char *name) {
    char full[GGUF_NAME_BYTES];
    eye_source_name(source, layer, name, full);
    return eye_source_named(source, full);
}

enum wl_status eye_source_rows(const struct eye_source *source, const struct gguf_tensor *tensor,
                               uint64_t first, uint64_t n_rows, float *out, struct wl_err *err) {
    size_t row_bytes = ggml_row_size(tensor->type, (int64_t)tensor->ne[0]);
    const unsigned char *data = source->file.map;
    data += source->file.data_offset + tensor->offset + first * row_bytes;
    for (uint64_t row = 0; row < n_rows; row++, data += row_bytes) {
        float *to = out + row * tensor->ne[0];
        if (tensor->type == GGML_TYPE_F32) {
            memcpy(to, data, row_bytes);
        } else {
            ggml_get_type_traits(tensor->type)->to_float(data, to, (int64_t)tensor->ne[0]);
        }
    }
    for (uint64_t i = 0; i < n_rows * tensor->ne[0]; i++) {
        if (!isfinite(out[i])) {
            return wl_err_set(err, WL_INPUT,
                              "tensor '%s' holds a value that is not finite in row %" PRIu64
                              "; the file is damaged or was converted wrongly",
                              tensor->name, first + i / tensor->ne[0]);
        }
    }
    return WL_OK;
}

uint32_t eye_source_n_ff(const struct eye_source *source, uint32_t layer) {
    const struct gguf_tensor *down = eye_source_tensor(source, layer, "ffn_down.weight");
    return down ? (uint32_t)down->ne[0] : 0;
}

uint64_t eye_source_attention_weights(const struct eye_source *source) {
    return 4 * (uint64_t)source->facts.n_embd * source->facts.n_head * source->head_dim;
}

// ---- the file ----

static float read_f32(const struct gguf_file *file, const char *key) {
    const struct gguf_kv *kv = gguf_file_find(file, key);
    float value = 0;
    if (kv && kv->type == GGUF_TYPE_FLOAT32 && !kv->is_array) {
        memcpy(&value, kv->data, sizeof value);
    }
    return value;
}

// As the loader has it: by ffn_down's shape, not by a key.
static bool is_ffn_swapped(const struct eye_source *source) {
    const struct gguf_tensor *down = eye_source_named(source, "v.blk.0.ffn_down.weight");
    return source->family && down && down->ne[0] == source->facts.n_embd;
}

static void read_keys(struct eye_source *source) {
    const struct gguf_file *file = &source->file;
    const struct vision_facts *facts = &source->facts;
    for (size_t i = 0; i < N_FAMILIES; i++) {
        if (strcmp(FAMILIES[i].projector, facts->projector) == 0) {
            source->family = &FAMILIES[i];
        }
    }
    source->head_dim = (uint32_t)gguf_file_uint(file, "clip.vision.attention.head_dim", 0,
                                                facts->n_head ? facts->n_embd / facts->n_head : 0);
    source->eps = read_f32(file, "clip.vision.attention.layer_norm_epsilon");
    source->act = gguf_file_bool(file, "clip.use_gelu")   ? TOWER_GELU
                  : gguf_file_bool(file, "clip.use_silu") ? TOWER_SILU
                                                          : TOWER_QUICK_GELU;
    source->is_swapped = is_ffn_swapped(source);
}

enum wl_status eye_source_open(struct eye_source *source, const char *path, struct wl_err *err) {
    *source = (struct eye_source){0};
    enum wl_status status = vision_file_read(path, &source->facts, err);
    if (status == WL_OK) {
        status = gguf_file_open(&source->file, path, err);
    }
    if (status == WL_OK && gguf_file_uint(&source->file, "split.count", 0, 1) > 1) {
        status = wl_err_set(err, WL_UNSUPPORTED,
                            "'%s' is one of several parts; join them first: llama-gguf-split "
                            "--merge <first part> <file>",
                            path);
    }
    if (status == WL_OK && source->file.alignment % LEAST_ALIGNMENT != 0) {
        status = wl_err_set(err, WL_INPUT,
                            "'%s': key 'general.alignment' is %" PRIu64 ", expected a multiple "
                            "of %d",
                            path, source->file.alignment, LEAST_ALIGNMENT);
    }
    if (status != WL_OK) {
        eye_source_close(source);
        return status;
    }
    read_keys(source);
    return WL_OK;
}

void eye_source_close(struct eye_source *source) {
    gguf_file_close(&source->file);
    *source = (struct eye_source){0};
}

// ---- checking ----

static uint64_t length_of(const struct tower_shape *shape, enum side side) {
    switch (side) {
    case SIDE_ONE: return 1;
    case SIDE_EMBD: return shape->n_embd;
    case SIDE_HEADS: return (uint64_t)shape->n_head * shape->head_dim;
    case SIDE_FF: return shape->n_ff;
    }
    return 0;
}

static struct tower_shape shape_of(const struct eye_source *source, uint32_t layer) {
    return (struct tower_shape){.n_embd = source->facts.n_embd,
                                .n_head = source->facts.n_head,
                                .head_dim = source->head_dim,
                                .n_ff = eye_source_n_ff(source, layer),
                                .eps = source->eps,
                                .act = source->act,
                                .has_rope = source->family && source->family->has_rope};
}

static enum wl_status check_tensor(const struct eye_source *source, const struct tower_shape *shape,
                                   uint32_t layer, const struct known_tensor *known,
                                   struct wl_err *err) {
    const struct gguf_tensor *tensor = eye_source_tensor(source, layer, known->name);
    uint64_t columns = length_of(shape, known->columns), rows = length_of(shape, known->rows);
    if (!tensor) {
        return known->is_needed
                   ? wl_err_set(err, WL_INPUT, "tensor 'v.blk.%" PRIu32 ".%s' is missing", layer,
                                known->name)
                   : WL_OK;
    }
    if (tensor->ne[0] != columns || tensor->ne[1] != rows || tensor->ne[2] * tensor->ne[3] != 1) {
        return wl_err_set(err, WL_INPUT,
                          "tensor '%s' is %" PRIu64 " x %" PRIu64 "%s, expected %" PRIu64
                          " x %" PRIu64,
                          tensor->name, tensor->ne[0], tensor->ne[1],
                          tensor->ne[2] * tensor->ne[3] == 1 ? "" : " and deeper", columns, rows);
    }
    bool is_readable =
        tensor->type == GGML_TYPE_F32 || ggml_get_type_traits(tensor->type)->to_float;
    return is_readable ? WL_OK
                       : wl_err_set(err, WL_UNSUPPORTED,
                                    "tensor '%s' is stored as %s, which holds no weights",
                                    tensor->name, ggml_type_name(tensor->type));
}

// A tensor of a block that is not known changes what the block computes.
static enum wl_status check_is_known(const struct eye_source *source,
                                     const struct gguf_tensor *tensor, struct wl_err *err) {
    static const char PREFIX[] = "v.blk.";
    const char *rest = tensor->name;
    if (strncmp(rest, "v.", 2) == 0 && strncmp(rest, PREFIX, sizeof PREFIX - 1) != 0) {
        bool is_deep = strncmp(rest, "v.deepstack", 11) == 0;
        return is_deep ? wl_err_set(err, WL_UNSUPPORTED, "it has a tap between blocks ('%s')", rest)
                       : WL_OK;
    }
    if (strncmp(rest, PREFIX, sizeof PREFIX - 1) != 0) {
        return WL_OK;
    }
    char *end;
    unsigned long layer = strtoul(rest + sizeof PREFIX - 1, &end, 10);
    for (size_t i = 0; *end == '.' && layer < source->facts.n_layer && i < N_OF_BLOCK; i++) {
        if (strcmp(end + 1, OF_BLOCK[i].name) == 0) {
            return WL_OK;
        }
    }
    return wl_err_set(err, WL_UNSUPPORTED,
                      "tensor '%s' is not known of image encoders with the projector '%s' and "
                      "%" PRIu32 " blocks, so what it computes is not known either",
                      tensor->name, source->facts.projector, source->facts.n_layer);
}

static enum wl_status check_last(const struct eye_source *source, struct wl_err *err) {
    const struct gguf_tensor *last = eye_source_named(source, source->family->last_weight);
    return last && last->ne[2] * last->ne[3] == 1
               ? WL_OK
               : wl_err_set(err, WL_INPUT, "tensor '%s', the projector's last matrix, is %s",
                            source->family->last_weight, last ? "no matrix" : "missing");
}

static enum wl_status check_kind(const struct eye_source *source, struct wl_err *err) {
    static const char *const KEYS[] = {"clip.vision.n_wa_pattern", "clip.vision.feature_layer",
                                       "clip.vision.wa_layer_indexes"};
    if (!source->family) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "what an image encoder with the projector '%s' computes is not known: "
                          "only its types can be changed",
                          source->facts.projector);
    }
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        if (gguf_file_find(&source->file, KEYS[i])) {
            return wl_err_set(err, WL_UNSUPPORTED,
                              "its blocks are not all alike (key '%s'): only its types can be "
                              "changed",
                              KEYS[i]);
        }
    }
    bool is_shaped = source->head_dim > 0 && source->facts.n_layer > 0 &&
                     (!source->family->has_rope || source->head_dim % 4 == 0);
    return is_shaped ? check_last(source, err)
                     : wl_err_set(err, WL_INPUT,
                                  "%" PRIu32 " blocks with heads of %" PRIu32
                                  ", expected at least one and a multiple of 4",
                                  source->facts.n_layer, source->head_dim);
}

enum wl_status eye_source_check(const struct eye_source *source, struct wl_err *err) {
    enum wl_status status = check_kind(source, err);
    for (uint64_t i = 0; i < source->file.n_tensors && status == WL_OK; i++) {
        status = check_is_known(source, &source->file.tensors[i], err);
    }
    for (uint32_t layer = 0; layer < source->facts.n_layer && status == WL_OK; layer++) {
        struct tower_shape shape = shape_of(source, layer);
        for (size_t i = 0; i < N_OF_BLOCK && status == WL_OK; i++) {
            status = check_tensor(source, &shape, layer, &OF_BLOCK[i], err);
        }
    }
    return status;
}

// ---- blocks ----

enum wl_status eye_source_load(const struct eye_source *source, uint32_t layer,
                               struct eye_block *out, struct wl_err *err) {
    *out = (struct eye_block){.shape = shape_of(source, layer)};
    uint64_t n = 0; // within the file, so far below 2^64
    for (size_t i = 0; i < N_OF_BLOCK; i++) {
        const struct gguf_tensor *tensor = eye_source_tensor(source, layer, OF_BLOCK[i].name);
        n += tensor ? tensor->n_elements : 0;
    }
    out->memory = n <= SIZE_MAX / sizeof(float) ? calloc((size_t)n, sizeof(float)) : NULL;
    if (!out->memory) {
        return wl_err_set(err, WL_MEMORY, "no memory for the %" PRIu64 " weights of block %" PRIu32,
                          n, layer);
    }
    float *next = out->memory;
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < N_OF_BLOCK && status == WL_OK; i++) {
        const struct gguf_tensor *tensor = eye_source_tensor(source, layer, OF_BLOCK[i].name);
        if (tensor) {
            const float *weight = next;
            status = eye_source_rows(source, tensor, 0, tensor->ne[1], next, err);
            memcpy((char *)&out->weights + OF_BLOCK[i].offset, &weight, sizeof weight);
            next += tensor->n_elements;
        }
    }
    if (status != WL_OK) {
        eye_block_release(out);
    }
    return status;
}

void eye_block_release(struct eye_block *block) {
    free(block->memory);
    *block = (struct eye_block){0};
}
