#include "compressor/allocate_costs.h"

#include <stdlib.h>

enum { EVEN_WIDTH = 256 };

static const struct {
    const char *name;
    bool is_ffn, is_row;
} SIZED[] = {
    // what loses rows or columns
    {"attn_q.weight", false, true},       {"attn_k.weight", false, true},
    {"attn_v.weight", false, true},       {"attn_q.bias", false, true},
    {"attn_k.bias", false, true},         {"attn_v.bias", false, true},
    {"attn_output.weight", false, false}, {"ffn_gate.weight", true, true},
    {"ffn_up.weight", true, true},        {"ffn_down.weight", true, false},
};
static const char *const OF_ATTENTION[] = {"attn_norm.weight", "attn_q_norm.weight",
                                           "attn_k_norm.weight", "attn_output.bias",
                                           "post_attention_norm.weight"};
static const char *const OF_BLOCK[] = {"ffn_norm.weight", "ffn_down.bias", "post_ffw_norm.weight"};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// ---- weights and bytes ----

// A matrix counts whatever its type, a vector only where bytes are asked for. Rows of blocks of
// quantised values are cut at whole blocks (plan_check), so bytes are linear too.
static double size_of(const struct compress_source *source, uint32_t layer, const char *name,
                      enum allocate_budget kind) {
    const struct gguf_tensor *tensor = compress_source_tensor(source, (int32_t)layer, name);
    if (!tensor || (kind == ALLOCATE_WEIGHTS && tensor->n_dims < 2)) {
        return 0;
    }
    return (double)(kind == ALLOCATE_BYTES ? tensor->n_bytes : tensor->n_elements);
}

static void size_line(const struct compress_source *source, const struct block_shape *shape,
                      uint32_t layer, enum allocate_budget kind, struct allocate_line *out) {
    *out = (struct allocate_line){0};
    for (size_t i = 0; i < COUNT(SIZED); i++) {
        double size = size_of(source, layer, SIZED[i].name, kind);
        out->per_neuron += SIZED[i].is_ffn ? size / shape->n_ff : 0;
        out->per_head_kv += SIZED[i].is_ffn ? 0 : size / shape->n_head_kv;
    }
    for (size_t i = 0; i < COUNT(OF_ATTENTION); i++) {
        out->attention += size_of(source, layer, OF_ATTENTION[i], kind);
    }
    for (size_t i = 0; i < COUNT(OF_BLOCK); i++) {
        out->block += size_of(source, layer, OF_BLOCK[i], kind);
    }
}

// ---- time and energy ----

static struct allocate_line time_line(const struct cost_terms *t, double times) {
    return (struct allocate_line){.block = times * t->block,
                                  .per_head_kv = times * t->per_head_kv,
                                  .per_neuron = times * t->per_neuron,
                                  .slow_share = t->slow_share};
}

static struct allocate_line add_lines(struct allocate_line a, struct allocate_line b) {
    double neurons = a.per_neuron + b.per_neuron;
    double slow = a.per_neuron * a.slow_share + b.per_neuron * b.slow_share;
    return (struct allocate_line){.block = a.block + b.block,
                                  .per_head_kv = a.per_head_kv + b.per_head_kv,
                                  .per_neuron = neurons,
                                  .slow_share = neurons > 0 ? slow / neurons : 0};
}

static struct allocate_line measured_line(const struct costs *costs,
                                          const struct allocate_options *o, double *fixed) {
    double prompt = o->kind == ALLOCATE_PROMPT ? 1 : 0, decode = o->kind == ALLOCATE_DECODE ? 1 : 0;
    if (o->kind == ALLOCATE_JOULES) {
        prompt = o->joules_per_s * o->n_prompt;
        decode = o->joules_per_s * o->n_decode;
    }
    *fixed = prompt * costs->prompt.base + decode * costs->decode.base;
    return add_lines(time_line(&costs->prompt, prompt), time_line(&costs->decode, decode));
}

// ---- the whole ----

static enum wl_status check(const struct costs *costs, const struct allocate_options *o,
                            struct wl_err *err) {
    bool needs_costs = o->kind != ALLOCATE_WEIGHTS && o->kind != ALLOCATE_BYTES;
    if (!(o->budget > 0)) {
        return wl_err_set(err, WL_USAGE, "budget: expected above 0, found %g", o->budget);
    }
    if (needs_costs && !costs) {
        return wl_err_set(err, WL_USAGE,
                          "a budget of speed or energy needs the costs of the model's parts, which "
                          "were not measured");
    }
    bool needs_power = o->kind == ALLOCATE_JOULES;
    if (needs_power && (!(o->joules_per_s > 0) || o->n_prompt + o->n_decode == 0)) {
        return wl_err_set(err, WL_USAGE,
                          "a budget of energy needs the power of this machine and the tokens of an "
                          "answer, found %g W and %u tokens",
                          o->joules_per_s, o->n_prompt + o->n_decode);
    }
    return WL_OK;
}

static double budget_of(const struct allocate_costs *costs, double said) {
    switch (costs->kind) {
    case ALLOCATE_WEIGHTS: return said * costs->total;
    case ALLOCATE_DECODE:
    case ALLOCATE_PROMPT: return 1 / said;
    default: return said;
    }
}

double allocate_costs_said(const struct allocate_costs *costs, double cost) {
    switch (costs->kind) {
    case ALLOCATE_WEIGHTS: return cost / costs->total;
    case ALLOCATE_DECODE:
    case ALLOCATE_PROMPT: return 1 / cost;
    default: return cost;
    }
}

double allocate_costs_of(const struct allocate_costs *costs, uint32_t layer, uint32_t n_head_kv,
                         uint32_t n_ff) {
    const struct allocate_line *line = &costs->lines[layer];
    double slow = n_ff % EVEN_WIDTH ? 1 + line->slow_share : 1;
    return line->block + (n_head_kv ? line->attention + line->per_head_kv * n_head_kv : 0) +
           line->per_neuron * slow * n_ff;
}

enum wl_status allocate_costs_init(struct allocate_costs *out, const struct compress_source *source,
                                   const struct costs *costs,
                                   const struct allocate_options *options, struct wl_err *err) {
    struct block_shape shape;
    *out = (struct allocate_costs){.kind = options->kind, .n_layer = source->n_layer};
    enum wl_status status = check(costs, options, err);
    if (status == WL_OK) {
        status = compress_source_shape(source, 0, &shape, err);
    }
    if (status != WL_OK) {
        return status;
    }
    out->lines = calloc(source->n_layer, sizeof *out->lines);
    if (!out->lines) {
        return wl_err_set(err, WL_MEMORY, "no memory for the costs of %u blocks", source->n_layer);
    }
    bool is_size = options->kind == ALLOCATE_WEIGHTS || options->kind == ALLOCATE_BYTES;
    double blocks = 0;
    for (uint32_t i = 0; i < source->n_layer; i++) {
        if (is_size) {
            size_line(source, &shape, i, options->kind, &out->lines[i]);
        } else {
            out->lines[i] = measured_line(costs, options, &out->fixed);
        }
        blocks += allocate_costs_of(out, i, shape.n_head_kv, shape.n_ff);
    }
    if (options->kind == ALLOCATE_BYTES) {
        out->fixed = (double)source->file.file_bytes - blocks;
    }
    out->total = out->fixed + blocks;
    out->budget = budget_of(out, options->budget);
    return WL_OK;
}

void allocate_costs_release(struct allocate_costs *costs) {
    free(costs->lines);
    *costs = (struct allocate_costs){0};
}
