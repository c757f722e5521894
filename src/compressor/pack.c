#include "compressor/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/file.h"

enum { SLICE_BYTES = 4 << 20 }; // of float32 that is quantised at once

// ---- what the target reads ----

enum wl_status pack_open(struct pack *pack, const char *scratch_dir, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    *pack = (struct pack){0};
    enum wl_status status = os_path_join(path, scratch_dir, "wattlaw-pack-XXXXXX", err);
    if (status != WL_OK) {
        return status;
    }
    pack->fd = mkostemp(path, O_CLOEXEC);
    if (pack->fd < 0) {
        return wl_err_errno(err, errno, "cannot make a scratch file in '%s'", scratch_dir);
    }
    unlink(path);
    pack->has_file = true;
    return WL_OK;
}

void pack_release(struct pack *pack) {
    for (size_t i = 0; i < pack->n; i++) {
        free(pack->parts[i]);
    }
    free(pack->parts);
    free(pack->has_new_bias);
    if (pack->has_file) {
        close(pack->fd);
    }
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
    void *memory = malloc(bytes ? bytes : 1);
    if (memory) {
        pack->parts[pack->n++] = memory;
    }
    return memory;
}

static enum wl_status no_memory(const char *name, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for tensor '%s'", name);
}

// ---- matrices ----

static enum wl_status append(struct pack *pack, const void *data, size_t n, struct wl_err *err) {
    const char *from = data;
    while (n > 0) {
        ssize_t step = pwrite(pack->fd, from, n, (off_t)pack->file_bytes);
        if (step <= 0 && (step == 0 || errno != EINTR)) {
            return wl_err_errno(err, step == 0 ? EIO : errno, "cannot write the scratch file");
        }
        size_t written = step > 0 ? (size_t)step : 0;
        from += written;
        n -= written;
        pack->file_bytes += written;
    }
    return WL_OK;
}

// Where a matrix lies in the scratch file: what target.h calls read_rows with.
struct stored {
    int fd;
    uint64_t offset;
    size_t row_bytes;
};

static enum wl_status read_rows(void *context, uint64_t first_row, uint64_t n_rows, void *out,
                                struct wl_err *err) {
    const struct stored *stored = context;
    char *to = out;
    size_t left = (size_t)n_rows * stored->row_bytes;
    off_t at = (off_t)(stored->offset + first_row * stored->row_bytes);
    while (left > 0) {
        ssize_t n = pread(stored->fd, to, left, at);
        if (n <= 0 && (n == 0 || errno != EINTR)) {
            return wl_err_errno(err, n == 0 ? EIO : errno, "cannot read the scratch file");
        }
        size_t step = n > 0 ? (size_t)n : 0;
        to += step;
        left -= step;
        at += (off_t)step;
    }
    return WL_OK;
}

struct matrix {
    const float *values;
    size_t n_columns, n_rows;
    const float *importance; // of the columns when bits are few; NULL: all the same
};

static enum wl_status put_in_file(struct pack *pack, struct compress_target *target,
                                  const struct gguf_tensor *was, const struct matrix *matrix,
                                  struct wl_err *err) {
    size_t row_bytes = ggml_row_size(was->type, (int64_t)matrix->n_columns);
    size_t n_slice = SLICE_BYTES / sizeof(float) / matrix->n_columns;
    n_slice = n_slice ? n_slice : 1;
    void *data = malloc(n_slice * row_bytes);
    struct stored *stored = keep(pack, sizeof *stored);
    if (!data || !stored) {
        free(data);
        return no_memory(was->name, err);
    }
    *stored = (struct stored){pack->fd, pack->file_bytes, row_bytes};
    enum wl_status status = WL_OK;
    for (size_t row = 0, n; row < matrix->n_rows && status == WL_OK; row += n) {
        n = matrix->n_rows - row < n_slice ? matrix->n_rows - row : n_slice;
        ggml_quantize_chunk(was->type, matrix->values + row * matrix->n_columns, data, 0,
                            (int64_t)n, (int64_t)matrix->n_columns, matrix->importance);
        status = append(pack, data, n * row_bytes, err);
    }
    free(data);
    return status == WL_OK
               ? compress_target_put_lazy(target, was->name, was->type, matrix->n_columns,
                                          matrix->n_rows, read_rows, stored, err)
               : status;
}

static enum wl_status put_matrix(struct pack *pack, struct compress_target *target,
                                 const struct gguf_tensor *was, const struct matrix *matrix,
                                 struct wl_err *err) {
    if (pack->has_file) {
        return put_in_file(pack, target, was, matrix, err);
    }
    void *data = keep(pack, ggml_row_size(was->type, (int64_t)matrix->n_columns) * matrix->n_rows);
    if (!data) {
        return no_memory(was->name, err);
    }
    ggml_quantize_chunk(was->type, matrix->values, data, 0, (int64_t)matrix->n_rows,
                        (int64_t)matrix->n_columns, matrix->importance);
    return compress_target_put(target, was->name, was->type, matrix->n_columns, matrix->n_rows,
                               data, err);
}

static enum wl_status put_vector(struct pack *pack, struct compress_target *target,
                                 const char *name, const float *values, size_t n,
                                 struct wl_err *err) {
    float *kept = keep(pack, n * sizeof *kept);
    if (!kept) {
        return no_memory(name, err);
    }
    memcpy(kept, values, n * sizeof *kept);
    return compress_target_put_vector(target, name, kept, n, err);
}

// ---- one block ----

struct packing {
    struct pack *pack;
    struct compress_target *target;
    const struct compress_source *source;
    const struct narrow_layer *layer;
    struct block_shape was;
};

static const struct gguf_tensor *tensor_of(const struct packing *p, const char *name) {
    return compress_source_tensor(p->source, (int32_t)p->layer->layer, name);
}

// Rows of these groups of `size` rows each; a tensor that the model does not have has none.
static enum wl_status put_groups(struct packing *p, const char *name, const uint32_t *groups,
                                 uint32_t n_groups, uint32_t size, struct wl_err *err) {
    const struct gguf_tensor *was = tensor_of(p, name);
    size_t n = (size_t)n_groups * size;
    uint32_t *rows = was ? keep(p->pack, n * sizeof *rows) : NULL;
    if (!was || !rows) {
        return was ? no_memory(was->name, err) : WL_OK;
    }
    for (size_t i = 0; i < n; i++) {
        rows[i] = groups[i / size] * size + (uint32_t)(i % size);
    }
    return compress_target_rows(p->target, was->name, rows, n, err);
}

static enum wl_status pack_attention(struct packing *p, struct wl_err *err) {
    static const char *const KV[] = {"attn_k.weight", "attn_k.bias", "attn_v.weight",
                                     "attn_v.bias"};
    static const char *const Q[] = {"attn_q.weight", "attn_q.bias"};
    const struct narrow_layer *layer = p->layer;
    uint32_t q = p->was.head_dim * (p->was.n_head / p->was.n_head_kv);
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof Q / sizeof *Q && layer->kept_groups && status == WL_OK; i++) {
        status = put_groups(p, Q[i], layer->kept_groups, layer->n_head_kv, q, err);
    }
    for (size_t i = 0; i < sizeof KV / sizeof *KV && layer->kept_groups && status == WL_OK; i++) {
        status = put_groups(p, KV[i], layer->kept_groups, layer->n_head_kv, p->was.head_dim, err);
    }
    if (status == WL_OK && layer->attn_output) {
        const struct matrix matrix = {.values = layer->attn_output,
                                      .n_columns = (size_t)layer->n_head_kv * q,
                                      .n_rows = p->was.n_embd,
                                      .importance = layer->attention_moments};
        status = put_matrix(p->pack, p->target, tensor_of(p, "attn_output.weight"), &matrix, err);
    }
    return status == WL_OK && layer->attn_norm
               ? put_vector(p->pack, p->target, tensor_of(p, "attn_norm.weight")->name,
                            layer->attn_norm, p->was.n_embd, err)
               : status;
}

static enum wl_status pack_inner(struct packing *p, const char *name, const float *healed,
                                 struct wl_err *err) {
    if (!healed) {
        return p->layer->kept ? put_groups(p, name, p->layer->kept, p->layer->n_ff, 1, err) : WL_OK;
    }
    const struct matrix matrix = {
        .values = healed, .n_columns = p->was.n_embd, .n_rows = p->layer->n_ff};
    return put_matrix(p->pack, p->target, tensor_of(p, name), &matrix, err);
}

static enum wl_status pack_bias(struct packing *p, struct wl_err *err) {
    const struct gguf_tensor *was = tensor_of(p, "ffn_down.bias");
    struct pack *pack = p->pack;
    char name[GGUF_NAME_BYTES];
    if (!was && !pack->has_new_bias) {
        pack->has_new_bias = calloc(p->source->n_layer, sizeof *pack->has_new_bias);
    }
    snprintf(name, sizeof name, "blk.%u.ffn_down.bias", p->layer->layer);
    if (!was && !pack->has_new_bias) {
        return no_memory(name, err);
    }
    if (!was) {
        pack->has_new_bias[p->layer->layer] = true;
    }
    return put_vector(pack, p->target, name, p->layer->down_bias, p->was.n_embd, err);
}

static enum wl_status pack_ffn(struct packing *p, struct wl_err *err) {
    const struct narrow_layer *layer = p->layer;
    enum wl_status status = pack_inner(p, "ffn_gate.weight", layer->gate, err);
    if (status == WL_OK) {
        status = pack_inner(p, "ffn_up.weight", layer->up, err);
    }
    if (status == WL_OK && layer->down) {
        const struct matrix matrix = {.values = layer->down,
                                      .n_columns = layer->n_ff,
                                      .n_rows = p->was.n_embd,
                                      .importance = layer->second_moments};
        status = put_matrix(p->pack, p->target, tensor_of(p, "ffn_down.weight"), &matrix, err);
    }
    if (status == WL_OK && layer->down_bias) {
        status = pack_bias(p, err);
    }
    return status == WL_OK && layer->norm
               ? put_vector(p->pack, p->target, tensor_of(p, "ffn_norm.weight")->name, layer->norm,
                            p->was.n_embd, err)
               : status;
}

enum wl_status pack_layer(struct pack *pack, struct compress_target *target,
                          const struct compress_source *source, const struct narrow_layer *layer,
                          struct wl_err *err) {
    struct packing p = {.pack = pack, .target = target, .source = source, .layer = layer};
    if (layer->is_removed) {
        return WL_OK;
    }
    enum wl_status status = compress_source_shape(source, layer->layer, &p.was, err);
    if (status == WL_OK) {
        status = pack_attention(&p, err);
    }
    return status == WL_OK ? pack_ffn(&p, err) : status;
}

enum wl_status pack_output_norm(struct pack *pack, struct compress_target *target,
                                const struct compress_source *source, const float *norm,
                                struct wl_err *err) {
    return put_vector(pack, target, "output_norm.weight", norm, source->n_embd, err);
}
