#include "compressor/pack.h"

#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE_N_FF = 2048, LARGE_STEP = 256, SMALL_STEP = 32 };

void pack_release(struct pack *pack) {
    for (size_t i = 0; i < pack->n; i++) {
        free(pack->parts[i]);
    }
    free(pack->parts);
    *pack = (struct pack){0};
}

static void *keep(struct pack *pack, size_t bytes) {
    if (pack->n == pack->capacity) {
        size_t capacity = pack->capacity ? 2 * pack->capacity : 64;
        void **parts = realloc(pack->parts, capacity * sizeof *parts);
        if (!parts) {
            return NULL;
        }
        pack->parts = parts;
        pack->capacity = capacity;
    }
    void *memory = malloc(bytes);
    if (memory) {
        pack->parts[pack->n++] = memory;
    }
    return memory;
}

static enum wl_status no_memory(const char *name, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for tensor '%s'", name);
}

// `importance` weighs the columns when bits are few; NULL: all the same.
static enum wl_status put_matrix(struct pack *pack, struct compress_target *target,
                                 const struct gguf_tensor *was, const float *values,
                                 size_t n_columns, size_t n_rows, const float *importance,
                                 struct wl_err *err) {
    size_t bytes = ggml_row_size(was->type, (int64_t)n_columns) * n_rows;
    void *data = keep(pack, bytes);
    if (!data) {
        return no_memory(was->name, err);
    }
    ggml_quantize_chunk(was->type, values, data, 0, (int64_t)n_rows, (int64_t)n_columns,
                        importance);
    return compress_target_put(target, was->name, was->type, n_columns, n_rows, data, err);
}

static enum wl_status pack_inner(struct pack *pack, struct compress_target *target,
                                 const struct compress_source *source,
                                 const struct narrow_layer *layer, const char *name,
                                 const float *healed, struct wl_err *err) {
    const struct gguf_tensor *was = compress_source_tensor(source, (int32_t)layer->layer, name);
    if (healed) {
        return put_matrix(pack, target, was, healed, source->n_embd, layer->n_ff, NULL, err);
    }
    uint32_t *rows = keep(pack, layer->n_ff * sizeof *rows);
    if (!rows) {
        return no_memory(was->name, err);
    }
    memcpy(rows, layer->kept, layer->n_ff * sizeof *rows);
    return compress_target_rows(target, was->name, rows, layer->n_ff, err);
}

enum wl_status pack_layer(struct pack *pack, struct compress_target *target,
                          const struct compress_source *source, const struct narrow_layer *layer,
                          struct wl_err *err) {
    int32_t number = (int32_t)layer->layer;
    enum wl_status status =
        pack_inner(pack, target, source, layer, "ffn_gate.weight", layer->gate, err);
    if (status == WL_OK) {
        status = pack_inner(pack, target, source, layer, "ffn_up.weight", layer->up, err);
    }
    if (status == WL_OK) {
        status = put_matrix(pack, target, compress_source_tensor(source, number, "ffn_down.weight"),
                            layer->down, layer->n_ff, source->n_embd, layer->second_moments, err);
    }
    if (status == WL_OK && layer->norm) {
        const struct gguf_tensor *was = compress_source_tensor(source, number, "ffn_norm.weight");
        float *norm = keep(pack, source->n_embd * sizeof *norm);
        if (!norm) {
            return no_memory(was->name, err);
        }
        memcpy(norm, layer->norm, source->n_embd * sizeof *norm);
        status = compress_target_put_vector(target, was->name, norm, source->n_embd, err);
    }
    return status;
}

uint32_t pack_step(const struct compress_source *source) {
    uint32_t step = SMALL_STEP;
    for (uint32_t layer = 0; layer < source->n_layer; layer++) {
        const struct gguf_tensor *down =
            compress_source_tensor(source, (int32_t)layer, "ffn_down.weight");
        uint32_t block = (uint32_t)ggml_blck_size(down->type);
        step = block > step ? block : step;
        step = down->ne[0] >= LARGE_N_FF && step < LARGE_STEP ? LARGE_STEP : step;
    }
    return step;
}
