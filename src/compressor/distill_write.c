#include <stdlib.h>

#include "compressor/distill_parts.h"
#include "compressor/target.h"

// A matrix that is made while the file is written.
struct made {
    const struct compress_source *source;
    const struct gguf_tensor *tensor;
    const struct lora_change *change;
};

struct writing {
    struct compress_target *target;
    struct made *made;
    size_t n_made;
    struct text_watch *watch;
};

static enum wl_status make_rows(void *context, uint64_t first, uint64_t n_rows, void *out,
                                struct wl_err *err) {
    const struct made *made = context;
    size_t n_columns = (size_t)made->tensor->ne[0];
    float *rows = calloc((size_t)n_rows, n_columns * sizeof *rows);
    if (!rows) {
        return wl_err_set(err, WL_MEMORY, "no memory for rows of '%s'", made->tensor->name);
    }
    compress_source_rows(made->source, made->tensor, first, n_rows, rows);
    lora_apply(made->change, (size_t)first, (size_t)n_rows, rows);
    distill_round(made->tensor->type, (size_t)n_rows, n_columns, rows, out);
    free(rows);
    return WL_OK;
}

static enum wl_status put_layer(struct writing *w, const struct distill_model *m, uint32_t layer,
                                struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (int i = 0; i < BACK_MATRICES && status == WL_OK; i++) {
        const struct lora_change *change = &m->layers[layer].matrices[i];
        if (change->n_out) {
            struct made *made = &w->made[w->n_made++];
            *made = (struct made){
                &m->source,
                compress_source_tensor(&m->source, (int32_t)layer, distill_matrix_name(i)), change};
            status = compress_target_put_lazy(w->target, made->tensor->name, made->tensor->type,
                                              change->n_in, change->n_out, make_rows, made, err);
        }
    }
    for (int i = 0; i < BACK_VECTORS && status == WL_OK; i++) {
        const struct lora_change *change = &m->layers[layer].vectors[i];
        if (change->n_out) {
            const struct gguf_tensor *was =
                compress_source_tensor(&m->source, (int32_t)layer, distill_vector_name(i));
            status =
                compress_target_put_vector(w->target, was->name, change->values, change->n_in, err);
        }
    }
    return status;
}

static bool on_written(void *context, uint64_t written_bytes, uint64_t total_bytes) {
    (void)written_bytes;
    (void)total_bytes;
    return !text_watch_stops(context);
}

static enum wl_status write_target(struct writing *w, const struct distill_model *m,
                                   const char *out, struct wl_err *err) {
    bool is_done = false;
    enum wl_status status = compress_target_put_vector(
        w->target, "output_norm.weight", m->output_norm.values, m->output_norm.n_in, err);
    for (uint32_t layer = 0; layer < m->source.n_layer && status == WL_OK; layer++) {
        status = put_layer(w, m, layer, err);
    }
    if (status == WL_OK) {
        status = compress_target_write(w->target, out, on_written, w->watch, &is_done, err);
    }
    return status == WL_OK && !is_done ? distill_stopped(err) : status;
}

enum wl_status distill_write(struct distill_model *m, const char *out, struct text_watch *watch,
                             struct wl_err *err) {
    struct writing w = {.watch = watch,
                        .made = calloc(m->source.n_layer, BACK_MATRICES * sizeof *w.made)};
    if (!w.made) {
        return wl_err_set(err, WL_MEMORY, "no memory for %u blocks", m->source.n_layer);
    }
    enum wl_status status = compress_target_new(&m->source.file, &w.target, err);
    if (status == WL_OK) {
        status = write_target(&w, m, out, err);
    }
    compress_target_free(w.target);
    free(w.made);
    return status;
}
