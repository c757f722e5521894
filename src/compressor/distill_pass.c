#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/distill_parts.h"

// What goes with a batch through the model: what the blocks left behind is kept if it is no more
// than so much, else it is computed again; so is the stream between blocks, or it goes into a file.
static const uint64_t MOST_KEPT_BYTES = (uint64_t)384 << 20;
static const uint64_t MOST_STASH_BYTES = (uint64_t)256 << 20;
enum { MOST_LOGITS = 4 << 20 };

static enum wl_status no_memory(const struct distill_pass *p, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for batches of %zu tokens", p->most_tokens);
}

static float *floats(uint64_t n_rows, uint64_t width) {
    return n_rows * width > SIZE_MAX / sizeof(float)
               ? NULL
               : malloc((size_t)(n_rows * width + 1) * sizeof(float));
}

static void give_rows(void *context, size_t first, size_t n, float *out) {
    const struct compress_source *source = context;
    const char *name = source->is_tied ? "token_embd.weight" : "output.weight";
    compress_source_rows(source, compress_source_tensor(source, -1, name), first, n, out);
}

static enum wl_status open_stash(struct distill_pass *p, struct wl_err *err) {
    const struct compress_source *source = &p->model->source;
    uint64_t rows = (uint64_t)source->n_layer * p->most_tokens;
    if (rows * source->n_embd * sizeof(float) > MOST_STASH_BYTES) {
        return states_open(&p->file, p->scratch_dir, (size_t)rows, source->n_embd, err);
    }
    p->stash = floats(rows, source->n_embd);
    return p->stash ? WL_OK : no_memory(p, err);
}

enum wl_status distill_pass_open(struct distill_pass *p, struct distill_model *model,
                                 size_t most_tokens, struct wl_err *err) {
    const struct compress_source *source = &model->source;
    p->model = model;
    p->most_tokens = most_tokens;
    p->file.fd = -1;
    p->x = floats(most_tokens, source->n_embd);
    p->in = floats(most_tokens, source->n_embd);
    p->rows = floats(most_tokens, source->n_embd);
    p->drows = floats(most_tokens, source->n_embd);
    if (!p->x || !p->in || !p->rows || !p->drows) {
        return no_memory(p, err);
    }
    p->output = (struct back_output){.n_embd = source->n_embd,
                                     .n_vocab = source->n_vocab,
                                     .rows = give_rows,
                                     .context = &model->source,
                                     .most_logits = MOST_LOGITS};
    return open_stash(p, err);
}

static void release_kept(struct distill_pass *p) {
    for (size_t i = 0; i < p->n_kept; i++) {
        back_states_release(&p->kept[i]);
    }
    free(p->kept);
    p->kept = NULL;
    p->n_kept = 0;
}

void distill_pass_close(struct distill_pass *p) {
    release_kept(p);
    back_work_release(&p->work);
    back_output_release(&p->output);
    if (p->model) {
        states_close(&p->file);
    }
    free(p->x);
    free(p->in);
    free(p->rows);
    free(p->drows);
    free(p->stash);
    free(p->inner);
    *p = (struct distill_pass){0};
}

// ---- between blocks ----

static enum wl_status put_stash(struct distill_pass *p, uint32_t layer, size_t n,
                                struct wl_err *err) {
    size_t n_embd = p->model->source.n_embd, at = (size_t)layer * p->most_tokens;
    if (!p->stash) {
        return states_write(&p->file, at, n, p->x, err);
    }
    memcpy(p->stash + at * n_embd, p->x, n * n_embd * sizeof *p->x);
    return WL_OK;
}

// What entered a block.
static enum wl_status get_stash(struct distill_pass *p, uint32_t layer, size_t n, const float **out,
                                struct wl_err *err) {
    size_t at = (size_t)layer * p->most_tokens;
    *out = p->stash ? p->stash + at * p->model->source.n_embd : p->in;
    return p->stash ? WL_OK : states_read(&p->file, at, n, p->in, err);
}

// ---- which states are kept ----

enum keeping { KEEP_NOTHING, KEEP_ONE, KEEP_ALL };

static enum wl_status choose_keeping(struct distill_pass *p, const struct distill_batch *batch,
                                     bool is_learning, enum keeping *out, struct wl_err *err) {
    const struct compress_source *source = &p->model->source;
    uint64_t n_floats = 0;
    for (uint32_t layer = 0; layer < source->n_layer && is_learning; layer++) {
        struct block_shape shape;
        enum wl_status status = compress_source_shape(source, layer, &shape, err);
        if (status != WL_OK) {
            return status;
        }
        uint64_t n = back_states_floats(&shape, batch->n_tokens);
        n_floats = n < UINT64_MAX - n_floats ? n_floats + n : UINT64_MAX;
    }
    bool is_small = n_floats <= MOST_KEPT_BYTES / sizeof(float);
    size_t n = is_learning && is_small ? source->n_layer * batch->n_spans : 1;
    *out = !is_learning ? KEEP_NOTHING : is_small ? KEEP_ALL : KEEP_ONE;
    if (n > p->n_kept) {
        struct back_states *kept = realloc(p->kept, n * sizeof *kept);
        if (!kept) {
            return no_memory(p, err);
        }
        memset(kept + p->n_kept, 0, (n - p->n_kept) * sizeof *kept);
        p->kept = kept;
        p->n_kept = n;
    }
    return WL_OK;
}

static struct back_states *states_at(struct distill_pass *p, const struct distill_batch *batch,
                                     enum keeping keeping, uint32_t layer, size_t span) {
    return &p->kept[keeping == KEEP_ALL ? layer * batch->n_spans + span : 0];
}

// ---- forth ----

// p->x goes through the blocks.
static enum wl_status go_forth(struct distill_pass *p, struct distill_batch *batch,
                               enum distill_face face, enum keeping keeping, struct wl_err *err) {
    const struct compress_source *source = &p->model->source;
    enum wl_status status = WL_OK;
    for (uint32_t layer = 0; layer < source->n_layer && status == WL_OK; layer++) {
        const struct compress_block *block = &p->model->block;
        if (keeping != KEEP_NOTHING) {
            status = put_stash(p, layer, batch->n_tokens, err);
        }
        if (status == WL_OK) {
            status = distill_model_load(p->model, layer, face, err);
        }
        for (size_t s = 0; s < batch->n_spans && status == WL_OK; s++) {
            float *x = p->x + batch->spans[s].first * source->n_embd;
            status = back_forth(&block->shape, &block->weights, &batch->spans[s].batch, x,
                                states_at(p, batch, keeping, layer, s), &p->work, x, err);
            if (status == WL_OK && text_watch_stops(p->watch)) {
                status = distill_stopped(err);
            }
        }
    }
    return status;
}

// The judged rows of the stream, into p->in; normed, into p->rows.
static enum wl_status go_out(struct distill_pass *p, const struct distill_batch *batch,
                             enum distill_face face, struct wl_err *err) {
    size_t n_embd = p->model->source.n_embd;
    enum wl_status status = distill_model_load_norm(p->model, face, err);
    for (size_t i = 0; i < batch->n_records; i++) {
        memcpy(p->in + i * n_embd, p->x + batch->judged[i] * n_embd, n_embd * sizeof *p->x);
    }
    if (status == WL_OK) {
        back_norm_forth(p->in, batch->n_records, n_embd, p->model->rms_eps, p->model->norm,
                        p->rows);
    }
    return status;
}

enum wl_status distill_pass_judge(struct distill_pass *p, const struct distill_text *t,
                                  struct distill_batch *batch, enum distill_face face,
                                  const struct back_target *targets, double *kl,
                                  struct wl_err *err) {
    enum keeping keeping;
    enum wl_status status;
    if ((status = choose_keeping(p, batch, false, &keeping, err)) ||
        (status = distill_batch_embed(batch, t, &p->model->source, p->x, err)) ||
        (status = go_forth(p, batch, face, keeping, err)) ||
        (status = go_out(p, batch, face, err))) {
        return status;
    }
    return back_output_kl(&p->output, p->rows, targets, batch->n_records, 1, kl, NULL, err);
}

// ---- back ----

struct learner {
    struct distill_pass *pass;
    const struct distill_layer *layer;
};

static void on_matrix(void *context, enum back_matrix matrix, size_t n, const float *x,
                      const float *dy) {
    const struct learner *learner = context;
    const struct lora_change *change = &learner->layer->matrices[matrix];
    if (change->n_out) {
        lora_add_gradient(change, n, x, dy, learner->pass->inner);
    }
}

static enum wl_status make_inner(struct distill_pass *p, const struct distill_batch *batch,
                                 struct wl_err *err) {
    size_t longest = 0;
    for (size_t s = 0; s < batch->n_spans; s++) {
        size_t n = batch->spans[s].batch.batch.n_tokens;
        longest = n > longest ? n : longest;
    }
    size_t n = 2 * longest * p->model->max_rank;
    if (n > p->n_inner) {
        free(p->inner);
        p->inner = floats(1, n);
        p->n_inner = p->inner ? n : 0;
    }
    return p->inner || n == 0 ? WL_OK : no_memory(p, err);
}

static enum wl_status back_layer(struct distill_pass *p, struct distill_batch *batch,
                                 uint32_t layer, enum keeping keeping, struct wl_err *err) {
    struct learner learner = {p, &p->model->layers[layer]};
    struct back_gradients gradients = {.on_matrix = on_matrix, .context = &learner};
    size_t n_embd = p->model->source.n_embd;
    const struct compress_block *block = &p->model->block;
    const float *in;
    enum wl_status status = get_stash(p, layer, batch->n_tokens, &in, err);
    for (size_t i = 0; i < BACK_VECTORS; i++) {
        const struct lora_change *change = &learner.layer->vectors[i];
        gradients.vectors[i] = change->n_out ? change->tensors[0].gradient : NULL;
    }
    for (size_t s = 0; s < batch->n_spans && status == WL_OK; s++) {
        struct distill_span *span = &batch->spans[s];
        struct back_states *states = states_at(p, batch, keeping, layer, s);
        const float *x = in + span->first * n_embd;
        if (keeping == KEEP_ONE) {
            status = back_forth(&block->shape, &block->weights, &span->batch, x, states, &p->work,
                                p->rows, err);
        }
        float *dx = p->x + span->first * n_embd;
        if (status == WL_OK) {
            status = back_block(&block->shape, &block->weights, &span->batch, x, states, dx,
                                &gradients, &p->work, dx, err);
        }
        if (status == WL_OK && text_watch_stops(p->watch)) {
            status = distill_stopped(err);
        }
    }
    return status;
}

// p->drows are the gradients of the normed rows; p->x becomes that of the stream.
static void back_out(struct distill_pass *p, const struct distill_batch *batch) {
    size_t n_embd = p->model->source.n_embd, n = batch->n_records;
    float *dnorm = p->model->output_norm.tensors[0].gradient;
    memset(p->rows, 0, n * n_embd * sizeof *p->rows);
    back_norm(p->in, n, n_embd, p->model->rms_eps, p->model->norm, p->drows, dnorm, p->rows);
    memset(p->x, 0, batch->n_tokens * n_embd * sizeof *p->x);
    for (size_t i = 0; i < n; i++) {
        memcpy(p->x + batch->judged[i] * n_embd, p->rows + i * n_embd, n_embd * sizeof *p->x);
    }
}

static void clear_gradients(struct distill_model *m) {
    for (size_t i = 0; i < m->n_tensors; i++) {
        memset(m->tensors[i].gradient, 0, m->tensors[i].n * sizeof(float));
    }
}

enum wl_status distill_pass_learn(struct distill_pass *p, const struct distill_text *t,
                                  struct distill_batch *batch, const struct back_target *targets,
                                  double *kl, struct wl_err *err) {
    const struct compress_source *source = &p->model->source;
    enum keeping keeping;
    enum wl_status status;
    clear_gradients(p->model);
    if ((status = choose_keeping(p, batch, true, &keeping, err)) ||
        (status = make_inner(p, batch, err)) ||
        (status = distill_batch_embed(batch, t, source, p->x, err)) ||
        (status = go_forth(p, batch, DISTILL_LEARNT, keeping, err)) ||
        (status = go_out(p, batch, DISTILL_LEARNT, err)) ||
        (status = back_output_kl(&p->output, p->rows, targets, batch->n_records,
                                 1 / (double)batch->n_records, kl, p->drows, err))) {
        return status;
    }
    back_out(p, batch);
    for (uint32_t layer = source->n_layer; layer-- > 0 && status == WL_OK;) {
        if (layer + 1 < source->n_layer) { // the last one is still there
            status = distill_model_load(p->model, layer, DISTILL_LEARNT, err);
        }
        if (status == WL_OK) {
            status = back_layer(p, batch, layer, keeping, err);
        }
    }
    return status;
}
