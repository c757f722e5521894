#include "compressor/eye_plan.h"

#include <cblas.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "compress/knapsack.h"
#include "compress/obs.h"

enum { OBS_BLOCK = 64, LARGE_N_FF = 2048, LARGE_STEP = 256, SMALL_STEP = 32 };
static const double RIDGE = 1e-2, MAX_PARITY = 0.2;

// ---- sizes ----

static uint64_t ffn_weights(const struct eye_source *source, uint32_t n_ff) {
    return 2 * (uint64_t)source->facts.n_embd * n_ff;
}

uint64_t eye_plan_weights_before(const struct eye_source *source) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < source->facts.n_layer; i++) {
        total +=
            eye_source_attention_weights(source) + ffn_weights(source, eye_source_n_ff(source, i));
    }
    return total;
}

uint64_t eye_plan_weights(const struct eye_plan *plan, const struct eye_source *source) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < plan->n_layer; i++) {
        if (!plan->layers[i].is_removed) {
            total +=
                eye_source_attention_weights(source) + ffn_weights(source, plan->layers[i].n_ff);
        }
    }
    return total;
}

// ---- what a width costs ----

static void centre(const struct gram *gram, float *square) {
    size_t n = gram->n;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            double mean = gram->sum[i] / gram->count * (gram->sum[j] / gram->count);
            square[i * n + j] = (float)((double)square[i * n + j] - mean);
        }
    }
}

// E|W h|^2 around its mean: the sum of W_i C W_i^T.
static enum wl_status output_power(const struct eye_block *block, const float *square, double *out,
                                   struct wl_err *err) {
    size_t n_embd = block->shape.n_embd, n_ff = block->shape.n_ff;
    float *product = calloc(n_embd, n_ff * sizeof *product);
    if (!product) {
        return wl_err_set(err, WL_MEMORY, "no memory for the moments of %zu neurons", n_ff);
    }
    cblas_ssymm(CblasRowMajor, CblasRight, CblasUpper, (int)n_embd, (int)n_ff, 1, square, (int)n_ff,
                block->weights.down, (int)n_ff, 0, product, (int)n_ff);
    *out = 0;
    for (size_t i = 0; i < n_embd; i++) {
        *out += cblas_dsdot((int)n_ff, product + i * n_ff, 1, block->weights.down + i * n_ff, 1);
    }
    free(product);
    return WL_OK;
}

static enum wl_status take_losses(const struct eye_walk *walk, const struct eye_block *block,
                                  double *loss, struct wl_err *err) {
    size_t n_ff = block->shape.n_ff;
    struct obs_options options = {.ridge = RIDGE, .block = OBS_BLOCK, .group = 1, .n_min = 1};
    float *square = calloc(n_ff, n_ff * sizeof *square);
    uint32_t *order = calloc(n_ff, sizeof *order);
    double power = 0;
    if (!square || !order) {
        free(square);
        free(order);
        return wl_err_set(err, WL_MEMORY, "no memory for %zu neurons", n_ff);
    }
    gram_square(&walk->gram, square);
    centre(&walk->gram, square);
    enum wl_status status = output_power(block, square, &power, err);
    if (status == WL_OK) {
        status = obs_order(&options, block->weights.down, block->shape.n_embd, n_ff, square, order,
                           loss, err);
    }
    for (size_t i = 0; i <= n_ff && status == WL_OK; i++) {
        loss[i] *= power;
    }
    free(square);
    free(order);
    return status;
}

static enum wl_status look_at_block(struct eye_plan *plan, struct eye_walk *walk, uint32_t layer,
                                    struct wl_err *err) {
    struct eye_plan_layer *out = &plan->layers[layer];
    struct eye_block block;
    enum wl_status status = eye_source_load(walk->source, layer, &block, err);
    if (status != WL_OK) {
        return status;
    }
    bool is_narrowed = walk->options->cut > 0;
    out->n_ff = block.shape.n_ff;
    out->loss = is_narrowed ? calloc((size_t)out->n_ff + 1, sizeof *out->loss) : NULL;
    if (is_narrowed && !out->loss) {
        status = wl_err_set(err, WL_MEMORY, "no memory for %" PRIu32 " neurons", out->n_ff);
    }
    if (status == WL_OK) {
        status = eye_walk_original(walk, &block, is_narrowed, &out->influence, err);
    }
    if (status == WL_OK && is_narrowed) {
        status = take_losses(walk, &block, out->loss, err);
    }
    eye_block_release(&block);
    return status;
}

static enum wl_status look_at_blocks(struct eye_plan *plan, struct eye_walk *walk,
                                     struct wl_err *err) {
    double parity, begin = walk->watch->share_done;
    enum wl_status status = eye_walk_begin(walk, err);
    for (uint32_t i = 0; i < plan->n_layer && status == WL_OK; i++) {
        status = look_at_block(plan, walk, i, err);
        walk->watch->share_done = begin + 0.25 * (double)(i + 1) / plan->n_layer;
    }
    if (status == WL_OK) {
        status = eye_walk_parity(walk, &parity, err);
    }
    if (status == WL_OK && !(parity < MAX_PARITY)) {
        status = wl_err_set(err, WL_UNSUPPORTED,
                            "what libmtmd computes with this encoder differs from what is known "
                            "of the projector '%s' by %.2g: only its types can be changed",
                            walk->source->facts.projector, parity);
    }
    return status;
}

// ---- which blocks go ----

// Never block 0: somebody before them has to take over.
static void choose_removed(struct eye_plan *plan, uint32_t n_drop) {
    for (uint32_t n = 0; n < n_drop; n++) {
        uint32_t least = 0;
        for (uint32_t i = 1; i < plan->n_layer; i++) {
            if (!plan->layers[i].is_removed &&
                (least == 0 || plan->layers[i].influence < plan->layers[least].influence)) {
                least = i;
            }
        }
        plan->layers[least].is_removed = true;
    }
}

// ---- how many neurons stay ----

// The loader takes a part whose inner width is the embedding's for one with swapped names.
static bool is_allowed(const struct eye_source *source, uint32_t n_ff) {
    return source->is_swapped || n_ff != source->facts.n_embd;
}

static uint32_t step_of(const struct eye_walk *walk, uint32_t layer, uint32_t n_ff) {
    enum ggml_type wanted = walk->options->type;
    enum ggml_type has = eye_source_tensor(walk->source, layer, "ffn_down.weight")->type;
    uint32_t step = n_ff >= LARGE_N_FF ? LARGE_STEP : SMALL_STEP;
    uint32_t block = (uint32_t)ggml_blck_size(wanted == GGML_TYPE_COUNT ? has : wanted);
    return block > step ? block : step;
}

// What each block that stays can have.
struct choices {
    struct knapsack_choice *of;
    uint32_t *n_ff;
    size_t n;
    struct knapsack_part *parts; // [blocks]
    size_t *firsts, *chosen;     // [blocks] in `of`; in the part
};

static bool open_choices(struct choices *choices, size_t n, size_t n_layer) {
    *choices = (struct choices){.of = calloc(n + 1, sizeof *choices->of),
                                .n_ff = calloc(n + 1, sizeof *choices->n_ff),
                                .parts = calloc(n_layer + 1, sizeof *choices->parts),
                                .firsts = calloc(n_layer + 1, sizeof *choices->firsts),
                                .chosen = calloc(n_layer + 1, sizeof *choices->chosen)};
    return choices->of && choices->n_ff && choices->parts && choices->firsts && choices->chosen;
}

static void close_choices(struct choices *choices) {
    free(choices->of);
    free(choices->n_ff);
    free(choices->parts);
    free(choices->firsts);
    free(choices->chosen);
}

static void add_choices(struct choices *choices, const struct eye_walk *walk,
                        const struct eye_plan_layer *layer, uint32_t number) {
    uint32_t full = layer->n_ff, step = step_of(walk, number, full);
    for (uint32_t n = step; n < full + step; n += step) {
        uint32_t n_ff = n < full ? n : full;
        double loss = n_ff == full ? 0 : layer->loss[full - n_ff];
        if ((n_ff == full || is_allowed(walk->source, n_ff)) && isfinite(loss)) {
            choices->n_ff[choices->n] = n_ff;
            choices->of[choices->n++] = (struct knapsack_choice){
                .cost = (double)ffn_weights(walk->source, n_ff), .loss = loss > 0 ? loss : 0};
        }
    }
}

static enum wl_status solve(struct eye_plan *plan, const struct eye_walk *walk, double budget,
                            struct choices *choices, struct wl_err *err) {
    size_t n_parts = 0;
    for (uint32_t i = 0; i < plan->n_layer; i++) {
        if (!plan->layers[i].is_removed) {
            size_t first = choices->firsts[n_parts] = choices->n;
            add_choices(choices, walk, &plan->layers[i], i);
            choices->parts[n_parts++] =
                (struct knapsack_part){choices->of + first, choices->n - first};
        }
    }
    enum wl_status status = knapsack_solve(choices->parts, n_parts, budget, choices->chosen, err);
    for (uint32_t i = 0, part = 0; i < plan->n_layer && status == WL_OK; i++) {
        if (!plan->layers[i].is_removed) {
            plan->layers[i].n_ff = choices->n_ff[choices->firsts[part] + choices->chosen[part]];
            part++;
        }
    }
    return status;
}

static enum wl_status choose_widths(struct eye_plan *plan, const struct eye_walk *walk,
                                    struct wl_err *err) {
    const struct eye_source *source = walk->source;
    uint64_t before = eye_plan_weights_before(source), n_choices = 0, attention = 0;
    for (uint32_t i = 0; i < plan->n_layer; i++) {
        n_choices += plan->layers[i].n_ff / SMALL_STEP + 2;
        attention += plan->layers[i].is_removed ? 0 : eye_source_attention_weights(source);
    }
    double budget = (1 - walk->options->cut) * (double)before - (double)attention;
    struct choices choices;
    if (!open_choices(&choices, n_choices, plan->n_layer)) {
        close_choices(&choices);
        return wl_err_set(err, WL_MEMORY, "no memory for the choice of widths");
    }
    enum wl_status status = solve(plan, walk, budget, &choices, err);
    if (status == WL_LIMIT) {
        double least = (double)attention / (double)before;
        wl_err_set(err, WL_LIMIT,
                   "a cut of %.0f %% of the blocks' weights is out of reach: their attention alone "
                   "is %.0f %%; cut less, or take whole blocks out",
                   100 * walk->options->cut, 100 * least);
    }
    close_choices(&choices);
    return status;
}

enum wl_status eye_plan_make(struct eye_plan *plan, struct eye_walk *walk, struct wl_err *err) {
    uint32_t n_layer = walk->source->facts.n_layer, n_drop = walk->options->n_drop;
    *plan = (struct eye_plan){.layers = calloc(n_layer, sizeof *plan->layers), .n_layer = n_layer};
    if (!plan->layers) {
        return wl_err_set(err, WL_MEMORY, "no memory for the plan");
    }
    if (n_drop >= n_layer) {
        return wl_err_set(err, WL_LIMIT,
                          "%" PRIu32 " of %" PRIu32 " blocks cannot be taken out, expected at most "
                          "%" PRIu32,
                          n_drop, n_layer, n_layer - 1);
    }
    enum wl_status status = look_at_blocks(plan, walk, err);
    if (status == WL_OK) {
        choose_removed(plan, n_drop);
    }
    return status == WL_OK && walk->options->cut > 0 ? choose_widths(plan, walk, err) : status;
}

void eye_plan_release(struct eye_plan *plan) {
    for (uint32_t i = 0; plan->layers && i < plan->n_layer; i++) {
        free(plan->layers[i].loss);
    }
    free(plan->layers);
    *plan = (struct eye_plan){0};
}
