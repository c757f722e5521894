#include "compressor/allocate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "compress/allocation.h"
#include "compressor/allocate_costs.h"
#include "compressor/allocate_losses.h"
#include "compressor/pack.h"
#include "compressor/relabel.h"

// More than half of the blocks do not go: what that loses is not what they lose one by one.
enum { REMOVED_SHARE = 2 };

struct sizes {
    uint32_t n_head_kv, n_ff;
};

struct job {
    const struct compress_source *source;
    const struct analysis *analysis;
    const struct allocate_options *options;
    struct block_shape shape;
    struct plan *plan;
    bool may_mix;
    struct allocate_costs costs;
    struct allocate_losses *losses; // [n_layer]
    struct sizes *sizes;            // [n_choices]
    bool *is_uniform;
    double *removed_loss;
    struct knapsack_choice *choices; // [n_layer][n_choices]
    struct allocation_problem problem;
    size_t *chosen, *mixed; // [n_layer]
};

// ---- choices ----

static void set_sizes(const struct job *j, struct sizes sizes, bool is_mixed) {
    j->plan->is_mixed = is_mixed;
    for (uint32_t i = 0; i < j->plan->n_layer; i++) {
        bool is_first = i == 0 && sizes.n_head_kv == 0; // never without attention
        j->plan->layers[i] = (struct plan_layer){
            .n_head_kv = is_first ? j->shape.n_head_kv : sizes.n_head_kv, .n_ff = sizes.n_ff};
    }
}

static bool may_be(const struct job *j, struct sizes sizes, bool is_mixed) {
    set_sizes(j, sizes, is_mixed);
    return plan_check(j->plan, j->source, NULL) == WL_OK;
}

// All sizes that llama.cpp loads and computes fast: plan_check is asked.
static void list_sizes(struct job *j) {
    uint32_t step = pack_step(j->source), most = j->shape.n_ff, n_heads[ANALYSIS_MAX_GROUPS + 1];
    size_t n = 0, n_head_counts = 0;
    bool is_uniform[ANALYSIS_MAX_GROUPS + 1];
    for (uint32_t kv = 0; kv <= j->shape.n_head_kv; kv++) {
        struct sizes sizes = {.n_head_kv = kv, .n_ff = most};
        bool is_all = kv == j->shape.n_head_kv;
        is_uniform[n_head_counts] = kv > 0 && (is_all || may_be(j, sizes, false));
        bool is_open =
            is_all || is_uniform[n_head_counts] || (j->may_mix && may_be(j, sizes, true));
        if (is_open && (is_all || j->options->may_cut_heads)) {
            n_heads[n_head_counts++] = kv;
        }
    }
    for (uint32_t n_ff = step; n_ff < most + step; n_ff += step) {
        uint32_t width = n_ff < most ? n_ff : most;
        if (width < most && !may_be(j, (struct sizes){j->shape.n_head_kv, width}, false)) {
            continue;
        }
        for (size_t i = 0; i < n_head_counts; i++) {
            j->sizes[n] = (struct sizes){.n_head_kv = n_heads[i], .n_ff = width};
            j->is_uniform[n++] = is_uniform[i];
        }
    }
    j->problem.n_choices = n;
}

static void list_choices(struct job *j) {
    size_t n = j->problem.n_choices;
    for (uint32_t i = 0; i < j->source->n_layer; i++) {
        allocate_losses_init(&j->losses[i], &j->analysis->layers[i], j->shape.n_ff);
        j->removed_loss[i] = i > 0 ? j->losses[i].removed : INFINITY;
        for (size_t c = 0; c < n; c++) {
            struct sizes s = j->sizes[c];
            bool is_open = s.n_head_kv > 0 || i > 0;
            j->choices[i * n + c] = (struct knapsack_choice){
                .cost = allocate_costs_of(&j->costs, i, s.n_head_kv, s.n_ff),
                .loss =
                    is_open ? allocate_losses_of(&j->losses[i], s.n_head_kv, s.n_ff) : INFINITY};
        }
    }
}

// ---- memory ----

static enum wl_status no_memory(const struct job *j, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory to allocate %u blocks", j->source->n_layer);
}

static enum wl_status begin(struct job *j, struct wl_err *err) {
    size_t n_layer = j->source->n_layer;
    size_t most = (j->shape.n_ff / pack_step(j->source) + 1) * ((size_t)j->shape.n_head_kv + 1);
    j->losses = calloc(n_layer, sizeof *j->losses);
    j->sizes = calloc(most, sizeof *j->sizes);
    j->is_uniform = calloc(most, sizeof *j->is_uniform);
    j->removed_loss = calloc(n_layer, sizeof *j->removed_loss);
    j->chosen = calloc(n_layer, sizeof *j->chosen);
    j->mixed = calloc(n_layer, sizeof *j->mixed);
    if (!j->losses || !j->sizes || !j->is_uniform || !j->removed_loss || !j->chosen || !j->mixed) {
        return no_memory(j, err);
    }
    list_sizes(j);
    size_t n = n_layer * j->problem.n_choices; // all of the neurons and heads are one at least
    j->choices = n ? calloc(n, sizeof *j->choices) : NULL;
    if (!j->choices) {
        return no_memory(j, err);
    }
    list_choices(j);
    j->problem.n_layers = n_layer;
    j->problem.choices = j->choices;
    j->problem.is_uniform = j->is_uniform;
    j->problem.removed_loss = j->removed_loss;
    j->problem.max_removed = j->options->may_remove ? n_layer / REMOVED_SHARE : 0;
    j->problem.budget = j->costs.budget - j->costs.fixed;
    return WL_OK;
}

static void end(struct job *j) {
    allocate_costs_release(&j->costs);
    free(j->losses);
    free(j->sizes);
    free(j->is_uniform);
    free(j->removed_loss);
    free(j->choices);
    free(j->chosen);
    free(j->mixed);
}

// ---- the plan ----

static enum wl_status out_of_reach(const struct job *j, struct wl_err *err) {
    const struct allocate_options *o = j->options;
    char wanted[BUDGET_TEXT_BYTES], most[BUDGET_TEXT_BYTES];
    double cost = j->costs.fixed + allocation_least_cost(&j->problem, j->may_mix);
    budget_text(most, o->kind, allocate_costs_said(&j->costs, cost));
    const char *hint = o->may_remove && o->may_cut_heads ? ""
                       : o->may_remove                   ? "; cutting heads was not allowed"
                       : o->may_cut_heads                ? "; removing blocks was not allowed"
                                          : "; removing blocks and cutting heads was not allowed";
    return wl_err_set(err, WL_LIMIT, "the budget of %s is out of reach: %s is as far as it goes%s",
                      budget_text(wanted, o->kind, o->budget), most, hint);
}

static void write_plan(const struct job *j, const size_t *chosen, bool is_mixed) {
    set_sizes(j, (struct sizes){j->shape.n_head_kv, j->shape.n_ff}, is_mixed);
    for (uint32_t i = 0; i < j->plan->n_layer; i++) {
        struct plan_layer *layer = &j->plan->layers[i];
        layer->is_removed = chosen[i] == ALLOCATION_REMOVED;
        if (!layer->is_removed) {
            layer->n_head_kv = j->sizes[chosen[i]].n_head_kv;
            layer->n_ff = j->sizes[chosen[i]].n_ff;
        }
    }
}

static enum wl_status choose(struct job *j, struct allocate_result *result, struct wl_err *err) {
    bool is_mixed = false;
    enum wl_status status = allocation_uniform(&j->problem, j->chosen, err);
    if (status != WL_OK && status != WL_LIMIT) {
        return status;
    }
    struct allocation_value best = {.loss = INFINITY};
    best = status == WL_OK ? allocation_value(&j->problem, j->chosen) : best;
    result->uniform_loss = status == WL_OK ? best.loss : NAN;
    if (j->may_mix) {
        enum wl_status mixed_status = allocation_mixed(&j->problem, j->mixed, err);
        if (mixed_status != WL_OK && mixed_status != WL_LIMIT) {
            return mixed_status;
        }
        struct allocation_value mixed = {.loss = INFINITY};
        mixed = mixed_status == WL_OK ? allocation_value(&j->problem, j->mixed) : mixed;
        is_mixed = mixed_status == WL_OK && mixed.loss < best.loss * (1 - j->options->mix_gain);
        best = is_mixed ? mixed : best;
    }
    if (!isfinite(best.loss)) {
        return out_of_reach(j, err);
    }
    write_plan(j, is_mixed ? j->mixed : j->chosen, is_mixed);
    result->loss = best.loss;
    result->cost = allocate_costs_said(&j->costs, j->costs.fixed + best.cost);
    return WL_OK;
}

static enum wl_status run(struct job *j, const struct costs *costs, struct allocate_result *result,
                          struct wl_err *err) {
    const char *twin;
    enum wl_status status;
    if ((status = allocate_losses_check(j->source, j->analysis, err)) ||
        (status = compress_source_shape(j->source, 0, &j->shape, err)) ||
        (status = allocate_costs_init(&j->costs, j->source, costs, j->options, err))) {
        return status;
    }
    j->may_mix = j->options->may_mix && relabel_find(&j->source->file, &twin, NULL) == WL_OK;
    if ((status = begin(j, err)) || (status = choose(j, result, err))) {
        return status;
    }
    return plan_check(j->plan, j->source, err);
}

enum wl_status allocate_plan(const struct compress_source *source, const struct analysis *analysis,
                             const struct costs *costs, const struct allocate_options *options,
                             struct plan *plan, struct allocate_result *result,
                             struct wl_err *err) {
    struct job j = {.source = source, .analysis = analysis, .options = options, .plan = plan};
    *result = (struct allocate_result){.loss = NAN, .uniform_loss = NAN, .cost = NAN};
    enum wl_status status = plan_init(plan, source, err);
    if (status == WL_OK) {
        status = run(&j, costs, result, err);
    }
    if (status != WL_OK) {
        plan_release(plan);
    }
    end(&j);
    return status;
}

enum wl_status allocate_parse(const char *text, enum allocate_budget *kind, double *budget,
                              struct wl_err *err) {
    return budget_parse(text, kind, budget, err);
}
