#include "compressor/eye_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/retype_types.h"
#include "compressor/target.h"

// How a tensor's rows are made: from the store, from memory, or from the source's rows.
struct making {
    const struct eye_source *source;
    const struct gguf_tensor *was;
    enum ggml_type type; // that is written
    uint64_t n_columns, n_rows;
    const struct states *store; // with `at`; else
    int64_t at;
    const float *memory;  // this; else `was`,
    const uint32_t *kept; // of which these rows; NULL: all
};

struct writing {
    const struct eye_source *source;
    const struct eye_made *made;
    const struct eye_last *last;
    enum ggml_type type;
    struct compress_target *target;
    struct making *makings; // [n_tensors of the source]
    uint64_t n_makings;
    struct text_watch *watch;
};

// ---- rows ----

static enum wl_status float_row(const struct making *m, uint64_t row, float *out,
                                struct wl_err *err) {
    if (m->store) {
        return states_read(m->store, (size_t)m->at + row * m->n_columns, m->n_columns, out, err);
    }
    if (m->memory) {
        memcpy(out, m->memory + row * m->n_columns, m->n_columns * sizeof *out);
        return WL_OK;
    }
    return eye_source_rows(m->source, m->was, m->kept ? m->kept[row] : row, 1, out, err);
}

static enum wl_status make_rows(void *context, uint64_t first, uint64_t n_rows, void *out,
                                struct wl_err *err) {
    const struct making *m = context;
    size_t row_bytes = ggml_row_size(m->type, (int64_t)m->n_columns);
    float *row = calloc(m->n_columns, sizeof *row);
    if (!row) {
        return wl_err_set(err, WL_MEMORY, "no memory for a row of '%s'", m->was->name);
    }
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < n_rows && status == WL_OK; i++) {
        status = float_row(m, first + i, row, err);
        if (status == WL_OK) {
            ggml_quantize_chunk(m->type, row, (char *)out + i * row_bytes, 0, 1,
                                (int64_t)m->n_columns, NULL);
        }
    }
    free(row);
    return status;
}

// ---- types ----

static double bits_of(enum ggml_type type) {
    return 8 * (double)ggml_type_size(type) / (double)ggml_blck_size(type);
}

// Matrices that are multiplied with: not embeddings of patches and places, and not gemma3's
// projector, which libmtmd turns round first.
static bool is_matrix(const struct eye_source *source, const struct gguf_tensor *tensor) {
    static const char *const PREFIXES[] = {"v.blk.", "v.deepstack.", "mm.", "resampler."};
    bool is_known = false;
    for (size_t i = 0; i < sizeof PREFIXES / sizeof PREFIXES[0]; i++) {
        is_known = is_known || strncmp(tensor->name, PREFIXES[i], strlen(PREFIXES[i])) == 0;
    }
    size_t length = strlen(tensor->name);
    bool is_weight = length > 7 && strcmp(tensor->name + length - 7, ".weight") == 0;
    bool is_turned = strcmp(tensor->name, "mm.input_projection.weight") == 0 &&
                     strcmp(source->facts.projector, "gemma3") == 0;
    return is_known && is_weight && !is_turned && tensor->n_dims == 2 && tensor->ne[1] > 1 &&
           strncmp(tensor->name, "mm.a.", 5) != 0 && !strstr(tensor->name, "embd") &&
           !strstr(tensor->name, "pos_embed") &&
           (tensor->type == GGML_TYPE_F32 || ggml_get_type_traits(tensor->type)->to_float);
}

// A row that does not divide falls back to Q8_0, then to what it was.
static enum ggml_type type_of(const struct writing *w, const struct gguf_tensor *tensor,
                              uint64_t n_columns) {
    const enum ggml_type choices[] = {w->type, GGML_TYPE_Q8_0};
    for (size_t i = 0; w->type != GGML_TYPE_COUNT && is_matrix(w->source, tensor) && i < 2; i++) {
        bool is_smaller = bits_of(choices[i]) < bits_of(tensor->type);
        if (is_smaller && n_columns % (uint64_t)ggml_blck_size(choices[i]) == 0) {
            return choices[i];
        }
    }
    bool is_whole = n_columns % (uint64_t)ggml_blck_size(tensor->type) == 0;
    return is_whole ? tensor->type : GGML_TYPE_F16;
}

// ---- tensors ----

static enum wl_status put(struct writing *w, const struct gguf_tensor *was, struct making making,
                          struct wl_err *err) {
    struct making *m = &w->makings[w->n_makings++];
    *m = making;
    m->source = w->source;
    m->was = was;
    m->type = type_of(w, was, m->n_columns);
    return compress_target_put_lazy(w->target, was->name, m->type, m->n_columns, m->n_rows,
                                    make_rows, m, err);
}

// Bytes where nothing else is asked for.
static enum wl_status put_kept(struct writing *w, const struct gguf_tensor *was,
                               const uint32_t *kept, uint32_t n_kept, struct wl_err *err) {
    bool has_new_type = type_of(w, was, was->ne[0]) != was->type;
    if (!has_new_type && was->n_dims >= 2 && kept) {
        return compress_target_rows(w->target, was->name, kept, n_kept, err);
    }
    return has_new_type ? put(w, was,
                              (struct making){.n_columns = was->ne[0],
                                              .n_rows = kept ? n_kept : was->ne[1],
                                              .kept = kept},
                              err)
                        : WL_OK;
}

static enum wl_status put_vector(struct writing *w, uint32_t layer, const char *name,
                                 const float *values, uint64_t n, struct wl_err *err) {
    char full[GGUF_NAME_BYTES];
    eye_source_name(w->source, layer, name, full);
    return values ? compress_target_put_vector(w->target, full, values, n, err) : WL_OK;
}

static enum wl_status put_up(struct writing *w, uint32_t layer, struct wl_err *err) {
    const struct eye_made_layer *made = &w->made->layers[layer];
    const struct gguf_tensor *up = eye_source_tensor(w->source, layer, "ffn_up.weight");
    const struct gguf_tensor *bias = eye_source_tensor(w->source, layer, "ffn_up.bias");
    enum wl_status status;
    if (made->up == EYE_NOT_STORED) {
        status = put_kept(w, up, made->kept, made->n_ff, err);
    } else {
        status = put(w, up,
                     (struct making){.n_columns = up->ne[0],
                                     .n_rows = made->n_ff,
                                     .store = &w->made->store,
                                     .at = made->up},
                     err);
    }
    if (status == WL_OK && made->up_bias) {
        return put_vector(w, layer, "ffn_up.bias", made->up_bias, made->n_ff, err);
    }
    return status == WL_OK && bias
               ? compress_target_rows(w->target, bias->name, made->kept, made->n_ff, err)
               : status;
}

static enum wl_status put_block(struct writing *w, uint32_t layer, struct wl_err *err) {
    const struct eye_made_layer *made = &w->made->layers[layer];
    const struct gguf_tensor *down = eye_source_tensor(w->source, layer, "ffn_down.weight");
    uint64_t n_embd = w->source->facts.n_embd;
    if (!made->is_changed) {
        return WL_OK;
    }
    enum wl_status status = put_up(w, layer, err);
    if (status == WL_OK) {
        status = put(w, down,
                     (struct making){.n_columns = made->n_ff,
                                     .n_rows = n_embd,
                                     .store = &w->made->store,
                                     .at = made->down},
                     err);
    }
    return status == WL_OK ? put_vector(w, layer, "ffn_down.bias", made->down_bias, n_embd, err)
                           : status;
}

// "v.blk.<layer>." in front: the rest; else NULL.
static const char *rest_of(const char *name, uint32_t layer) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "v.blk.%" PRIu32 ".", layer);
    size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 ? name + length : NULL;
}

static enum wl_status drop_or_rename(struct writing *w, uint32_t layer, bool is_removed,
                                     uint32_t number, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < w->source->file.n_tensors && status == WL_OK; i++) {
        const char *name = w->source->file.tensors[i].name, *rest = rest_of(name, layer);
        char new_name[GGUF_NAME_BYTES + 32];
        if (rest && is_removed) {
            status = compress_target_drop(w->target, name, err);
        } else if (rest && number != layer) {
            snprintf(new_name, sizeof new_name, "v.blk.%" PRIu32 ".%s", number, rest);
            status = compress_target_rename(w->target, name, new_name, err);
        }
    }
    return status;
}

static enum wl_status put_blocks(struct writing *w, struct wl_err *err) {
    uint32_t number = 0, widest = 0;
    enum wl_status status = WL_OK;
    for (uint32_t i = 0; i < w->made->n_layer && status == WL_OK; i++) {
        const struct eye_made_layer *made = &w->made->layers[i];
        status = made->is_removed ? WL_OK : put_block(w, i, err);
        if (status == WL_OK) {
            status = drop_or_rename(w, i, made->is_removed, number, err);
        }
        number += !made->is_removed;
        widest = !made->is_removed && made->n_ff > widest ? made->n_ff : widest;
    }
    if (status == WL_OK) {
        status = compress_target_set_u32(w->target, "clip.vision.block_count", number, err);
    }
    return status == WL_OK
               ? compress_target_set_u32(w->target, "clip.vision.feed_forward_length", widest, err)
               : status;
}

static bool is_put(const struct writing *w, const struct gguf_tensor *tensor) {
    for (uint64_t i = 0; i < w->n_makings; i++) {
        if (w->makings[i].was == tensor) {
            return true;
        }
    }
    return false;
}

static bool is_gone(const struct writing *w, const struct gguf_tensor *tensor) {
    for (uint32_t i = 0; w->made && i < w->made->n_layer; i++) {
        if (w->made->layers[i].is_removed && rest_of(tensor->name, i)) {
            return true;
        }
    }
    return false;
}

static enum wl_status put_last(struct writing *w, struct wl_err *err) {
    const struct eye_last *last = w->last;
    const struct eye_family *family = w->source->family;
    if (!last || !last->matrix) {
        return WL_OK;
    }
    const struct gguf_tensor *was = eye_source_named(w->source, family->last_weight);
    enum wl_status status =
        put(w, was,
            (struct making){.n_columns = was->ne[0], .n_rows = was->ne[1], .memory = last->matrix},
            err);
    return status == WL_OK && last->bias ? compress_target_put_vector(w->target, family->last_bias,
                                                                      last->bias, last->n_out, err)
                                         : status;
}

static enum wl_status put_rest(struct writing *w, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < w->source->file.n_tensors && status == WL_OK; i++) {
        const struct gguf_tensor *tensor = &w->source->file.tensors[i];
        const struct eye_made_layer *made = NULL;
        for (uint32_t layer = 0; w->made && layer < w->made->n_layer; layer++) {
            const char *rest = rest_of(tensor->name, layer);
            made = rest && strncmp(rest, "ffn_", 4) == 0 ? &w->made->layers[layer] : made;
        }
        bool is_done = is_put(w, tensor) || is_gone(w, tensor) || (made && made->is_changed);
        status = is_done ? WL_OK : put_kept(w, tensor, NULL, 0, err);
    }
    return status;
}

// ---- the file ----

static bool on_progress(void *context, uint64_t written_bytes, uint64_t total_bytes) {
    (void)written_bytes;
    (void)total_bytes;
    return !text_watch_stops(context);
}

static enum wl_status put_all(struct writing *w, struct wl_err *err) {
    enum wl_status status = w->made ? put_blocks(w, err) : WL_OK;
    if (status == WL_OK) {
        status = put_last(w, err);
    }
    if (status == WL_OK) {
        status = put_rest(w, err);
    }
    return status == WL_OK && w->type != GGML_TYPE_COUNT
               ? compress_target_set_u32(w->target, "general.file_type",
                                         retype_file_type(w->type, true), err)
               : status;
}

enum wl_status eye_write(const struct eye_source *source, const struct eye_made *made,
                         const struct eye_last *last, enum ggml_type type, const char *out,
                         struct text_watch *watch, struct wl_err *err) {
    struct writing w = {.source = source,
                        .made = made,
                        .last = last,
                        .type = type,
                        .makings = calloc(source->file.n_tensors + 1, sizeof *w.makings),
                        .watch = watch};
    bool is_done = false;
    if (!w.makings) {
        return wl_err_set(err, WL_MEMORY, "no memory for the list of tensors");
    }
    enum wl_status status = compress_target_new(&source->file, &w.target, err);
    if (status == WL_OK) {
        status = put_all(&w, err);
    }
    if (status == WL_OK) {
        status = compress_target_write(w.target, out, on_progress, watch, &is_done, err);
    }
    if (status == WL_OK && !is_done) {
        status = wl_err_set(err, WL_INTERRUPTED, "cancelled while '%s' was written", out);
    }
    compress_target_free(w.target);
    free(w.makings);
    return status;
}
