#include "compressor/retype.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "compressor/certificate.h"
#include "compressor/retype_order.h"
#include "compressor/retype_plan.h"
#include "compressor/retype_walk.h"
#include "compressor/target.h"
#include "os/file.h"

// Where the time goes, in shares.
static const double WALK_END = 0.5, PLAN_END = 0.6;

struct neuron_order {
    struct retype_order order;
    float *importance; // of down's columns in that order
    struct retype_matrix *gate, *up, *down;
};

struct run {
    const struct retype_options *options;
    struct compress_source source;
    struct compress_target *target;
    struct retype_inputs inputs;
    struct retype_matrix *matrices;
    size_t n_matrices;
    struct neuron_order *orders; // [n_orders], by layer
    size_t n_orders;
    double done_before, share; // of the stage that runs
};

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the list of matrices");
}

static bool go_on(void *context, double share_done) {
    const struct run *run = context;
    return !run->options->go_on ||
           run->options->go_on(run->options->context, run->done_before + run->share * share_done);
}

static enum wl_status tell(struct run *run, double share_done, struct wl_err *err) {
    return go_on(run, share_done) ? WL_OK : wl_err_set(err, WL_INTERRUPTED, "interrupted");
}

static void enter(struct run *run, double begin, double end) {
    run->done_before = begin;
    run->share = end - begin;
}

// ---- the file ----

// What a model computes is needed for its moments and for another order of its neurons; without
// these any file will do.
static enum wl_status open_source(struct run *run, const char *path, struct wl_err *err) {
    struct compress_source *source = &run->source;
    char arch[64] = "", names[256];
    enum wl_status status = gguf_file_open(&source->file, path, err);
    if (status != WL_OK) {
        return status;
    }
    gguf_file_string(&source->file, "general.architecture", arch, sizeof arch);
    if (compress_arch_find(arch)) {
        gguf_file_close(&source->file);
        return compress_source_open(source, path, COMPRESS_FORCE, err);
    }
    if (run->options->text) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "cannot take the moments of '%s': key 'general.architecture' is '%s', "
                          "expected one of %s; without a text its types can be changed",
                          path, arch, compress_arch_names(names, sizeof names));
    }
    return gguf_file_uint(&source->file, "split.count", 0, 1) > 1
               ? wl_err_set(err, WL_UNSUPPORTED,
                            "'%s' is one of several parts; join them first: llama-gguf-split "
                            "--merge <first part> <file>",
                            path)
               : WL_OK;
}

static const float *importance_of(const struct run *run, enum retype_part part, int32_t layer) {
    if (part == RETYPE_OUTPUT || (part == RETYPE_EMBEDDING && run->source.is_tied)) {
        return run->inputs.output;
    }
    if (part >= RETYPE_BLOCK_PARTS || layer < 0 || (size_t)layer >= run->inputs.n_layer) {
        return NULL;
    }
    const struct retype_layer *inputs = &run->inputs.layers[layer];
    return part == RETYPE_DOWN            ? inputs->inner
           : part == RETYPE_ATTENTION_OUT ? inputs->heads
           : part >= RETYPE_GATE          ? inputs->mid
                                          : inputs->normed;
}

static enum wl_status list_matrices(struct run *run, struct wl_err *err) {
    const struct gguf_file *file = &run->source.file;
    run->matrices = calloc((size_t)file->n_tensors + 1, sizeof *run->matrices);
    run->n_matrices = 0;
    if (!run->matrices) {
        return no_memory(err);
    }
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        const struct gguf_tensor *tensor = &file->tensors[i];
        if (retype_is_matrix(tensor)) {
            struct retype_matrix *m = &run->matrices[run->n_matrices++];
            *m = (struct retype_matrix){.tensor = tensor, .type = tensor->type, .sensitivity = 1};
            m->part = retype_part_of(tensor, &m->layer);
            m->importance = importance_of(run, m->part, m->layer);
            if (m->importance && m->part < RETYPE_BLOCK_PARTS) {
                m->sensitivity = run->inputs.layers[m->layer].sensitivity[m->part];
            }
        }
    }
    return run->n_matrices ? WL_OK
                           : wl_err_set(err, WL_INPUT, "the file holds no matrix of weights");
}

static enum wl_status walk(struct run *run, struct wl_err *err) {
    const struct retype_options *o = run->options;
    struct retype_walk_options options = {.wants_sensitivity = o->type == GGML_TYPE_COUNT,
                                          .scratch_dir = o->scratch_dir,
                                          .go_on = go_on,
                                          .context = run};
    enter(run, 0, WALK_END);
    return o->text ? retype_walk(&run->source, o->text, &options, &run->inputs, err) : WL_OK;
}

// ---- the order of the neurons ----

static struct retype_matrix *find_part(const struct run *run, int32_t layer,
                                       enum retype_part part) {
    for (size_t i = 0; i < run->n_matrices; i++) {
        if (run->matrices[i].layer == layer && run->matrices[i].part == part) {
            return &run->matrices[i];
        }
    }
    return NULL;
}

// In the type of `wanted` bits; matrices that keep their rounding keep their order too.
static enum wl_status find_order(struct run *run, struct neuron_order *n, enum ggml_type wanted,
                                 struct wl_err *err) {
    struct retype_matrix down = *n->down;
    uint64_t n_ff = down.tensor->ne[0];
    down.type = retype_for(down.tensor, down.part, wanted);
    if (down.type == down.tensor->type || ggml_blck_size(down.type) == 1) {
        return WL_OK;
    }
    enum wl_status status = retype_order_find(&run->source, &down, &n->order, err);
    if (status != WL_OK || !n->order.neurons || !down.importance) {
        return status;
    }
    n->importance = calloc((size_t)n_ff, sizeof *n->importance);
    if (!n->importance) {
        return no_memory(err);
    }
    for (uint64_t i = 0; i < n_ff; i++) {
        n->importance[i] = down.importance[n->order.neurons[i]];
    }
    return WL_OK;
}

static void apply_order(struct run *run, struct neuron_order *n, bool is_sorted) {
    bool is_new = is_sorted && n->order.neurons;
    n->gate->rows = n->up->rows = n->down->columns = is_new ? n->order.neurons : NULL;
    n->down->importance =
        is_new && n->importance ? n->importance : importance_of(run, RETYPE_DOWN, n->down->layer);
}

// Only where every tensor that a neuron is in is known: so it is in models that we can read.
static enum wl_status find_orders(struct run *run, struct wl_err *err) {
    const struct retype_options *o = run->options;
    size_t n_layer = o->keeps_order || !run->source.arch ? 0 : run->source.n_layer;
    run->orders = calloc(n_layer + 1, sizeof *run->orders);
    run->n_orders = 0;
    if (!run->orders) {
        return no_memory(err);
    }
    enum wl_status status = WL_OK;
    for (size_t layer = 0; layer < n_layer && status == WL_OK; layer++) {
        struct neuron_order n = {.gate = find_part(run, (int32_t)layer, RETYPE_GATE),
                                 .up = find_part(run, (int32_t)layer, RETYPE_UP),
                                 .down = find_part(run, (int32_t)layer, RETYPE_DOWN)};
        if (n.gate && n.up && n.down && n.gate->tensor->ne[1] == n.down->tensor->ne[0] &&
            n.up->tensor->ne[1] == n.down->tensor->ne[0]) {
            enum ggml_type wanted = o->type == GGML_TYPE_COUNT ? GGML_TYPE_Q4_K : o->type;
            struct neuron_order *kept = &run->orders[run->n_orders++];
            *kept = n;
            status = tell(run, 0.5 * (double)layer / (double)n_layer, err);
            status = status ? status : find_order(run, kept, wanted, err);
            apply_order(run, kept, true);
        }
    }
    return status;
}

// Where bits were left to spare and a matrix kept its own, its order need not change.
static void drop_idle_orders(struct run *run) {
    for (size_t i = 0; i < run->n_orders; i++) {
        struct neuron_order *n = &run->orders[i];
        apply_order(run, n, n->down->type != n->down->tensor->type);
    }
}

// ---- types ----

// What an earlier quantisation says of itself is not true of this one.
static enum wl_status forget_imatrix(struct run *run, struct wl_err *err) {
    static const char *const KEYS[] = {"quantize.imatrix.file", "quantize.imatrix.dataset",
                                       "quantize.imatrix.entries_count",
                                       "quantize.imatrix.chunks_count"};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0] && status == WL_OK; i++) {
        if (gguf_file_find(&run->source.file, KEYS[i])) {
            status = compress_target_remove(run->target, KEYS[i], err);
        }
    }
    return status;
}

static enum wl_status set_keys(struct run *run, struct wl_err *err) {
    bool is_mixed = run->options->type == GGML_TYPE_COUNT;
    enum ggml_type type =
        is_mixed ? retype_plan_commonest(run->matrices, run->n_matrices) : run->options->type;
    bool is_quantised = false;
    for (size_t i = 0; i < run->n_matrices; i++) {
        is_quantised = is_quantised || ggml_is_quantized(run->matrices[i].type);
    }
    enum wl_status status = forget_imatrix(run, err);
    if (status == WL_OK) {
        status = compress_target_set_u32(run->target, "general.file_type",
                                         retype_file_type(type, is_mixed), err);
    }
    return status == WL_OK && is_quantised
               ? compress_target_set_u32(run->target, "general.quantization_version",
                                         GGML_QNT_VERSION, err)
               : status;
}

struct made {
    struct run *run;
    struct retype_matrix *matrix;
};

static enum wl_status make_rows(void *context, uint64_t first_row, uint64_t n_rows, void *out,
                                struct wl_err *err) {
    struct made *made = context;
    struct retype_matrix *m = made->matrix;
    struct retype_error error = {0};
    enum wl_status status = retype_rows(&made->run->source, m, first_row, n_rows, out, &error, err);
    m->off += error.off;
    m->size += error.size;
    if (first_row + n_rows == m->tensor->ne[1]) {
        retype_forget(&made->run->source, m->tensor);
    }
    return status;
}

static enum wl_status put_matrix(struct run *run, struct retype_matrix *m, struct made *made,
                                 struct wl_err *err) {
    const struct gguf_tensor *t = m->tensor;
    *made = (struct made){run, m};
    if (m->type == t->type && !m->columns) {
        return m->rows ? compress_target_rows(run->target, t->name, m->rows, (size_t)t->ne[1], err)
                       : WL_OK;
    }
    return compress_target_put_lazy(run->target, t->name, m->type, t->ne[0], t->ne[1], make_rows,
                                    made, err);
}

static enum wl_status plan(struct run *run, struct wl_err *err) {
    const struct retype_options *o = run->options;
    if (o->type != GGML_TYPE_COUNT) {
        for (size_t i = 0; i < run->n_matrices; i++) {
            struct retype_matrix *m = &run->matrices[i];
            m->type = retype_for(m->tensor, m->part, o->type);
        }
        return WL_OK;
    }
    // Keys first: they are of the same size whatever the types.
    enum wl_status status = set_keys(run, err);
    if (status != WL_OK) {
        return status;
    }
    enter(run, (WALK_END + PLAN_END) / 2, PLAN_END);
    const struct retype_budget budget = {.file_bytes = compress_target_bytes(run->target),
                                         .budget_bytes = o->budget_bytes,
                                         .alignment = run->source.file.alignment,
                                         .go_on = go_on,
                                         .context = run};
    return retype_plan(&run->source, run->matrices, run->n_matrices, &budget, err);
}

// ---- writing ----

static bool on_written(void *context, uint64_t written_bytes, uint64_t total_bytes) {
    return go_on(context, total_bytes ? (double)written_bytes / (double)total_bytes : 1);
}

static enum wl_status write_file(struct run *run, const char *out, struct wl_err *err) {
    struct made *made = calloc(run->n_matrices + 1, sizeof *made);
    if (!made) {
        return no_memory(err);
    }
    enum wl_status status = set_keys(run, err);
    bool is_done = false;
    for (size_t i = 0; i < run->n_matrices && status == WL_OK; i++) {
        status = put_matrix(run, &run->matrices[i], &made[i], err);
    }
    enter(run, PLAN_END, 1);
    if (status == WL_OK) {
        status = compress_target_write(run->target, out, on_written, run, &is_done, err);
    }
    free(made);
    return status == WL_OK && !is_done
               ? wl_err_set(err, WL_INTERRUPTED, "interrupted: '%s' was not written", out)
               : status;
}

// ---- the result ----

static double error_of(const struct retype_matrix *m) {
    return m->size > 0 ? m->off / m->size : 0;
}

// In the old order, the error of down grows as it did on the rows that were tried.
static double error_gained(const struct run *run) {
    double gained = 0;
    for (size_t i = 0; i < run->n_orders; i++) {
        const struct neuron_order *n = &run->orders[i];
        if (n->down->columns && n->order.error > 0) {
            gained += error_of(n->down) * (n->order.error_in_order / n->order.error - 1);
        }
    }
    return gained;
}

static enum wl_status fill_result(const struct run *run, struct retype_result *result,
                                  struct wl_err *err) {
    double sum = 0, n = (double)run->n_matrices;
    result->tensors = calloc(run->n_matrices + 1, sizeof *result->tensors);
    if (!result->tensors) {
        return no_memory(err);
    }
    for (size_t i = 0; i < run->n_matrices; i++) {
        const struct retype_matrix *m = &run->matrices[i];
        sum += error_of(m);
        if (m->type != m->tensor->type) {
            struct retype_tensor *t = &result->tensors[result->n_tensors++];
            str_copy(t->name, sizeof t->name, m->tensor->name);
            t->type = m->type;
            t->error = error_of(m);
        }
    }
    result->in_bytes = run->source.file.file_bytes;
    result->out_bytes = compress_target_bytes(run->target);
    result->error = sum / n;
    result->error_in_order = run->n_orders ? (sum + error_gained(run)) / n : (double)NAN;
    return WL_OK;
}

void retype_result_release(struct retype_result *result) {
    free(result->tensors);
    *result = (struct retype_result){0};
}

// ---- all of it ----

static enum wl_status run_stages(struct run *run, const char *in, const char *out,
                                 struct retype_result *result, struct wl_err *err) {
    enum wl_status status = open_source(run, in, err);
    status = status ? status : compress_target_new(&run->source.file, &run->target, err);
    status = status ? status : certificate_reserve(run->target, err); // counts in the budget
    status = status ? status : walk(run, err);
    enter(run, WALK_END, PLAN_END);
    status = status ? status : list_matrices(run, err);
    status = status ? status : find_orders(run, err);
    status = status ? status : plan(run, err);
    if (status == WL_OK) {
        drop_idle_orders(run);
        status = write_file(run, out, err);
    }
    return status ? status : fill_result(run, result, err);
}

enum wl_status retype_run(const char *in, const char *out, const struct retype_options *options,
                          struct retype_result *result, struct wl_err *err) {
    struct run run = {.options = options};
    *result = (struct retype_result){.error_in_order = NAN};
    enum wl_status status = run_stages(&run, in, out, result, err);
    for (size_t i = 0; i < run.n_orders; i++) {
        retype_order_release(&run.orders[i].order);
        free(run.orders[i].importance);
    }
    free(run.orders);
    free(run.matrices);
    retype_inputs_release(&run.inputs);
    compress_target_free(run.target);
    compress_source_close(&run.source);
    return status;
}
