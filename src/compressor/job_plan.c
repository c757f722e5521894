#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "compressor/job_estimate.h"
#include "compressor/job_state.h"
#include "compressor/pack.h"
#include "compressor/retype.h"
#include "compressor/source_json.h"
#include "os/file.h"

enum { KL_TOKENS = 1024, PROMPT_TOKENS = 128, DECODE_TOKENS = 16, COST_ROUNDS = 5 };
enum { USUAL_PROMPT = 256, USUAL_ANSWER = 64 };
static const double MIX_GAIN = 0.03;
static const double ANALYSIS_HELD_OUT = 0.1; // of the calibration text

static bool is_mixed_wanted(const struct job *job) {
    return strcmp(wl_json_opt_string(job->request, "shapes", "same"), "mixed") == 0;
}

static enum wl_status budget_of(const struct job *job, enum allocate_budget *kind, double *budget,
                                struct wl_err *err) {
    return allocate_parse(wl_json_opt_string(job->request, "budget", ""), kind, budget, err);
}

bool job_needs_analysis(const struct job *job) {
    return job_is_asked(job, "budget") || job_is_asked(job, "n_drop");
}

bool job_needs_costs(const struct job *job) {
    enum allocate_budget kind;
    double budget;
    struct wl_err ignored;
    return job_is_asked(job, "budget") && budget_of(job, &kind, &budget, &ignored) == WL_OK &&
           kind != ALLOCATE_WEIGHTS && kind != ALLOCATE_BYTES;
}

// ---- what is known before the plan ----

enum wl_status job_analyse(struct job *job, struct wl_err *err) {
    const json_t *stage = work_result(&job->work, "analysis");
    struct wl_err ignored;
    bool is_there = stage && analysis_parse(stage, &job->analysis, &ignored) == WL_OK;
    if (is_there && job->analysis.n_layer != job->source.n_layer) {
        analysis_release(&job->analysis);
        is_there = false;
    }
    if (!is_there) {
        struct compress_text text = calib_part_text(&job->calib.calibration);
        struct analysis_options options = {
            .n_held_out = (size_t)ceil(ANALYSIS_HELD_OUT * (double)text.n_sequences),
            .n_tokens_kl = KL_TOKENS,
            .seed = (uint64_t)wl_json_opt_i64(job->request, "seed", 1),
            .scratch_dir = job->work.path,
            .go_on = job_go_on,
            .context = job};
        enum wl_status status = analysis_run(&job->source, &text, &options, &job->analysis, err);
        if (status == WL_OK) {
            status = work_finish(&job->work, "analysis", analysis_json(&job->analysis), err);
        }
        if (status != WL_OK) {
            return status;
        }
    }
    json_object_set(job->result, "analysis", (json_t *)work_result(&job->work, "analysis"));
    json_t *model = NULL;
    enum wl_status status = compress_source_json(&job->source, &model, err);
    json_object_set_new(job->result, "model", model);
    return status;
}

enum wl_status job_measure_costs(struct job *job, struct wl_err *err) {
    const json_t *stage = work_result(&job->work, "costs");
    struct wl_err ignored;
    if (!stage || costs_parse(stage, &job->costs, &ignored) != WL_OK) {
        struct costs_options options = {.n_prompt = PROMPT_TOKENS,
                                        .n_decode = DECODE_TOKENS,
                                        .n_rounds = COST_ROUNDS,
                                        .threads =
                                            (int32_t)wl_json_opt_i64(job->request, "threads", 0),
                                        .scratch_dir = job->work.path,
                                        .go_on = job_go_on,
                                        .context = job};
        enum wl_status status = costs_measure(&job->source, &options, &job->costs, err);
        if (status == WL_OK) {
            status = work_finish(&job->work, "costs", costs_json(&job->costs), err);
        }
        if (status != WL_OK) {
            return status;
        }
    }
    json_object_set(job->result, "costs", (json_t *)work_result(&job->work, "costs"));
    return WL_OK;
}

// ---- the same width for all ----

static enum wl_status narrow_all(struct job *job, int64_t wanted, struct wl_err *err) {
    uint32_t step = pack_step(&job->source), most = job->plan.layers[0].n_ff;
    if (wanted < step || wanted > most || wanted % step != 0) {
        return wl_err_set(err, WL_USAGE,
                          "width: expected a multiple of %u up to %u for these tensor types, found "
                          "%" PRId64,
                          step, most, wanted);
    }
    double kept = most - (most - (double)wanted) * job->eased;
    int64_t eased = (int64_t)ceil(kept / step) * step;
    for (uint32_t i = 0; i < job->plan.n_layer; i++) {
        job->plan.layers[i].n_ff = (uint32_t)(eased < most ? eased : most);
    }
    return WL_OK;
}

static enum wl_status cut_share(struct job *job, double cut, struct wl_err *err) {
    struct plan_sizes sizes;
    enum wl_status status = plan_sizes(&job->plan, &job->source, &sizes, err);
    if (status != WL_OK) {
        return status;
    }
    uint32_t step = pack_step(&job->source), most = job->plan.layers[0].n_ff;
    double ffn_share = (double)sizes.ffn_weights / (double)sizes.block_weights;
    int64_t wanted = (int64_t)floor(most * (1 - cut / ffn_share) / step) * step;
    if (!(cut > 0 && cut < 1) || wanted < step) {
        return wl_err_set(err, WL_USAGE,
                          "share to cut: expected above 0 and at most %.3g, found %g: the "
                          "feed-forward parts are %.0f %% of a block's weights; a budget "
                          "(--budget %.2g) cuts heads and whole blocks too",
                          ffn_share * (1 - (double)step / most), cut, 100 * ffn_share, 1 - cut);
    }
    return narrow_all(job, wanted, err);
}

// ---- whole blocks ----

static enum wl_status drop_blocks(struct job *job, int64_t n_drop, struct wl_err *err) {
    if (n_drop < 1 || n_drop >= job->plan.n_layer) {
        return wl_err_set(err, WL_USAGE, "blocks to drop: expected 1 to %u, found %" PRId64,
                          job->plan.n_layer - 1, n_drop);
    }
    n_drop = (int64_t)((double)n_drop * job->eased);
    for (int64_t n = 0; n < n_drop; n++) {
        uint32_t least = 0;
        for (uint32_t i = 1; i < job->plan.n_layer; i++) {
            bool is_less = least == 0 || job->analysis.layers[i].influence <
                                             job->analysis.layers[least].influence;
            least = !job->plan.layers[i].is_removed && is_less ? i : least;
        }
        job->plan.layers[least].is_removed = true;
    }
    return WL_OK;
}

// ---- as the request has it ----

// What is not said of a block stays as it is.
static enum wl_status take_size(const json_t *block, const char *key, uint32_t low, uint32_t *size,
                                struct wl_err *err) {
    int64_t value = *size;
    enum wl_status status =
        json_object_get(block, key) ? wl_json_get_i64(block, key, &value, err) : WL_OK;
    if (status == WL_OK && (value < low || value > *size)) {
        status = wl_err_set(err, WL_INPUT, "expected '%s' from %u to %u, found %" PRId64, key, low,
                            *size, value);
    }
    *size = status == WL_OK ? (uint32_t)value : *size;
    return status;
}

// A misspelt word would leave the block whole without a word about it.
static enum wl_status check_block(const json_t *block, struct wl_err *err) {
    static const char WORDS[] = "n_ff, n_head_kv or is_removed";
    const char *key;
    json_t *value;
    if (!json_is_object(block)) {
        return wl_err_set(err, WL_INPUT, "expected an object with %s", WORDS);
    }
    json_object_foreach((json_t *)block, key, value) {
        if (strcmp(key, "n_ff") != 0 && strcmp(key, "n_head_kv") != 0 &&
            strcmp(key, "is_removed") != 0) {
            return wl_err_set(err, WL_INPUT, "expected %s, found '%.40s'", WORDS, key);
        }
    }
    return WL_OK;
}

static enum wl_status take_block(const json_t *block, struct plan_layer *layer,
                                 struct wl_err *err) {
    enum wl_status status = check_block(block, err);
    if (status != WL_OK || (status = take_size(block, "n_ff", 1, &layer->n_ff, err)) ||
        (status = take_size(block, "n_head_kv", 0, &layer->n_head_kv, err))) {
        return status;
    }
    return json_object_get(block, "is_removed")
               ? wl_json_get_bool(block, "is_removed", &layer->is_removed, err)
               : WL_OK;
}

static enum wl_status take_plan(struct job *job, const json_t *list, struct wl_err *err) {
    if (!json_is_array(list) || json_array_size(list) != job->plan.n_layer) {
        return wl_err_set(err, WL_INPUT, "plan: expected a list of %u blocks, found %zu",
                          job->plan.n_layer, json_array_size(list));
    }
    job->plan.is_mixed = is_mixed_wanted(job);
    for (uint32_t i = 0; i < job->plan.n_layer; i++) {
        enum wl_status status = take_block(json_array_get(list, i), &job->plan.layers[i], err);
        if (status != WL_OK) {
            return wl_err_prefix(err, "plan: block %u", i);
        }
    }
    return WL_OK;
}

// ---- under a budget ----

// Less cut when the floor was missed; a budget in speed or joules then gives way.
static double eased_budget(const struct job *job, enum allocate_budget kind, double budget) {
    uint64_t bytes = 0;
    struct wl_err ignored;
    os_file_size(job->base.path, &bytes, &ignored);
    double whole = kind == ALLOCATE_WEIGHTS  ? 1
                   : kind == ALLOCATE_BYTES  ? (double)bytes
                   : kind == ALLOCATE_PROMPT ? 1 / costs_prompt_s(&job->costs, &job->plan)
                                             : 1 / costs_decode_s(&job->costs, &job->plan);
    return kind == ALLOCATE_JOULES ? budget / job->eased : whole + (budget - whole) * job->eased;
}

static enum wl_status allocate(struct job *job, struct wl_err *err) {
    struct allocate_options options = {
        .joules_per_s = wl_json_opt_double(job->request, "joules_per_s", 0),
        .n_prompt = (uint32_t)wl_json_opt_i64(job->request, "n_prompt", USUAL_PROMPT),
        .n_decode = (uint32_t)wl_json_opt_i64(job->request, "n_decode", USUAL_ANSWER),
        .may_mix = is_mixed_wanted(job),
        .may_remove = true,
        .may_cut_heads = true,
        .mix_gain = MIX_GAIN};
    enum wl_status status = budget_of(job, &options.kind, &options.budget, err);
    if (status != WL_OK) {
        return status;
    }
    options.budget = eased_budget(job, options.kind, options.budget);
    struct allocate_result result;
    plan_release(&job->plan);
    status = allocate_plan(&job->source, &job->analysis, &job->costs, &options, &job->plan, &result,
                           err);
    if (status == WL_OK) {
        json_object_set_new(
            job->result, "allocation",
            json_pack("{s:o, s:o, s:o, s:o}", "predicted_kl", wl_json_real(result.loss),
                      "uniform_kl", wl_json_real(result.uniform_loss), "cost",
                      wl_json_real(result.cost), "budget", wl_json_real(options.budget)));
    }
    return status;
}

// Before the analysis there is only the request: the least uniform cut that fits in bytes.
static enum wl_status guess(struct job *job, struct wl_err *err) {
    enum allocate_budget kind;
    double budget;
    enum wl_status status = budget_of(job, &kind, &budget, err);
    bool is_known = kind == ALLOCATE_WEIGHTS || kind == ALLOCATE_BYTES;
    struct plan_sizes whole, sizes;
    uint32_t step = pack_step(&job->source);
    if (status == WL_OK) {
        status = plan_sizes(&job->plan, &job->source, &whole, err);
    }
    while (status == WL_OK && is_known) {
        status = plan_sizes(&job->plan, &job->source, &sizes, err);
        double cost = kind == ALLOCATE_BYTES
                          ? (double)sizes.file_bytes
                          : (double)sizes.block_weights / (double)whole.block_weights;
        if (status != WL_OK || cost <= budget || job->plan.layers[0].n_ff <= step) {
            break;
        }
        for (uint32_t i = 0; i < job->plan.n_layer; i++) {
            job->plan.layers[i].n_ff -= step;
        }
    }
    return status;
}

enum wl_status job_check_request(struct job *job, struct wl_err *err) {
    static const char *const WAYS[] = {"cut", "n_ff", "n_drop", "budget", "plan"};
    size_t n_asked = 0;
    for (size_t i = 0; i < sizeof WAYS / sizeof WAYS[0]; i++) {
        n_asked += job_is_asked(job, WAYS[i]);
    }
    if (n_asked > 1) {
        return wl_err_set(err, WL_USAGE, "cut, width, blocks to drop, budget, plan: expected one");
    }
    if (n_asked == 0 && !job_is_asked(job, "vocabulary") && !job_is_asked(job, "type") &&
        !job_is_asked(job, "mmproj_out")) {
        return wl_err_set(err, WL_USAGE,
                          "there is nothing to do: no cut, budget, vocabulary, type "
                          "or image encoder is asked for");
    }
    if (is_mixed_wanted(job) && wl_json_opt_double(job->request, "lora_seconds", 0) > 0) {
        return wl_err_set(
            err, WL_USAGE,
            "shapes mixed: blocks of their own sizes get another architecture, whose "
            "way back is not known: heal block by block (local), or take shapes same");
    }
    enum allocate_budget kind;
    double budget;
    enum wl_status status =
        job_is_asked(job, "budget") ? budget_of(job, &kind, &budget, err) : WL_OK;
    if (status == WL_OK && job_is_asked(job, "budget") && kind == ALLOCATE_JOULES &&
        !(wl_json_opt_double(job->request, "joules_per_s", 0) > 0)) {
        return wl_err_set(err, WL_USAGE,
                          "a budget in joules needs the power of this machine over idle");
    }
    return status;
}

enum wl_status job_make_plan(struct job *job, struct wl_err *err) {
    const json_t *list = json_object_get(job->request, "plan");
    plan_release(&job->plan);
    enum wl_status status = plan_init(&job->plan, &job->source, err);
    if (status != WL_OK) {
        return status;
    }
    if (job_is_asked(job, "plan")) {
        status = take_plan(job, list, err);
    } else if (job_is_asked(job, "n_ff")) {
        status = narrow_all(job, wl_json_opt_i64(job->request, "n_ff", 0), err);
    } else if (job_is_asked(job, "cut")) {
        status = cut_share(job, wl_json_opt_double(job->request, "cut", 0), err);
    } else if (job_is_asked(job, "n_drop") && job->analysis.layers) {
        status = drop_blocks(job, wl_json_opt_i64(job->request, "n_drop", 0), err);
    } else if (job_is_asked(job, "budget")) {
        status = job->analysis.layers ? allocate(job, err) : guess(job, err);
    }
    return status == WL_OK ? plan_check(&job->plan, &job->source, err) : status;
}

// ---- as it is told ----

static json_t *layers_json(const struct plan *plan) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < plan->n_layer; i++) {
        const struct plan_layer *layer = &plan->layers[i];
        json_array_append_new(list, json_pack("{s:I, s:I, s:b}", "n_ff", (json_int_t)layer->n_ff,
                                              "n_head_kv", (json_int_t)layer->n_head_kv,
                                              "is_removed", layer->is_removed));
    }
    return list;
}

static double count_weights(const struct job *job) {
    double n = 0;
    for (uint64_t i = 0; i < job->source.file.n_tensors; i++) {
        n += (double)job->source.file.tensors[i].n_elements;
    }
    return n;
}

// Of the file when its blocks have the planned sizes: other types make it smaller.
static uint64_t bytes_with_types(const struct job *job, uint64_t file_bytes) {
    const char *wanted = wl_json_opt_string(job->request, "type", "");
    enum ggml_type type;
    enum allocate_budget kind;
    double budget;
    struct wl_err ignored;
    if (retype_parse(wanted, &type, &ignored) == WL_OK) {
        return (uint64_t)((double)file_bytes * retype_share(&job->source.file, type));
    }
    bool is_auto = strcmp(wanted, "auto") == 0 &&
                   allocate_parse(wl_json_opt_string(job->request, "budget", ""), &kind, &budget,
                                  &ignored) == WL_OK &&
                   kind == ALLOCATE_BYTES;
    return is_auto && budget < (double)file_bytes ? (uint64_t)budget : file_bytes;
}

json_t *job_plan_json(const struct job *job) {
    struct plan whole = {0};
    struct plan_sizes before = {0}, after = {0};
    struct calib_options defaults;
    struct wl_err ignored;
    uint64_t in_bytes = 0;
    compress_calib_defaults(&defaults);
    os_file_size(job->path, &in_bytes, &ignored);
    if (plan_init(&whole, &job->source, &ignored) == WL_OK) {
        plan_sizes(&whole, &job->source, &before, &ignored);
        plan_sizes(&job->plan, &job->source, &after, &ignored);
        after.file_bytes = bytes_with_types(job, after.file_bytes);
    }
    struct plan_layer first = whole.layers ? whole.layers[0] : (struct plan_layer){0};
    plan_release(&whole);
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:b, s:o, s:o}", "arch",
        job->source.arch->name, "n_layer", (json_int_t)job->source.n_layer, "n_ff_before",
        (json_int_t)first.n_ff, "n_head_kv_before", (json_int_t)first.n_head_kv, "step",
        (json_int_t)pack_step(&job->source), "in_bytes", (json_int_t)in_bytes, "out_bytes",
        (json_int_t)after.file_bytes, "block_weights_before", (json_int_t)before.block_weights,
        "block_weights_after", (json_int_t)after.block_weights, "n_tokens",
        (json_int_t)wl_json_opt_i64(job->request, "n_tokens", (json_int_t)defaults.n_tokens),
        "n_ctx_train", (json_int_t)job->source.n_ctx_train, "bits_per_weight",
        wl_json_real(8.0 * (double)in_bytes / count_weights(job)), "is_mixed", job->plan.is_mixed,
        "layers", layers_json(&job->plan), "estimate",
        wl_json_opt_bool(job->request, "dry_run", false) ? job_estimate_json(job, &before, &after)
                                                         : json_null());
}
