#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "compressor/certificate.h"
#include "compressor/distill.h"
#include "compressor/job_state.h"
#include "compressor/narrow.h"
#include "compressor/pack.h"
#include "compressor/retype.h"
#include "compressor/target.h"

enum {
    VERIFY_FIRST = 8,
    ANSWERS = 32,
    DISTILL_BATCH = 1024,
    DISTILL_RANK = 16,
    DISTILL_MAX_STEPS = 1000000
};
static const double HELD_OUT =
    0.1; // of the calibration text: what repair and healing are judged on
static const double DISTILL_RATE = 1e-3, DISTILL_FULL_RATE = 2e-3, DAMPING = 0.5, RIDGE = 1e-2,
                    IMAGE_SHARE = 0.5;
// Where the walk ends in its own stage: the file is written after it.
static const double WRITING_BEGINS = 0.95;

static size_t held_out_of(const struct compress_text *text) {
    return (size_t)ceil(HELD_OUT * (double)text->n_sequences);
}

// A file of this round that an earlier run has finished; `path` is its name in any case.
static enum wl_status find_made(struct job *job, const char *stem, struct job_file *file,
                                const json_t **stage, struct wl_err *err) {
    char name[64];
    enum wl_status status =
        work_file(&job->work, job_name(job, stem, ".gguf", name), file->path, err);
    *stage = work_result(&job->work, job_name(job, stem, "", name));
    if (!os_exists(file->path)) {
        *stage = NULL;
    }
    return status;
}

// ---- walk ----

struct walking {
    struct job *job;
    struct compress_target *target;
    struct pack pack;
    json_t *layers;
    double stream_error;
    bool is_writing;
};

static bool walk_goes_on(void *context, double share_done) {
    const struct walking *w = context;
    return job_go_on(w->job, w->is_writing ? WRITING_BEGINS + (1 - WRITING_BEGINS) * share_done
                                           : WRITING_BEGINS * share_done);
}

static enum wl_status on_layer(void *context, const struct narrow_layer *layer,
                               struct wl_err *err) {
    struct walking *w = context;
    json_array_append_new(
        w->layers,
        json_pack("{s:I, s:b, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f}", "layer",
                  (json_int_t)layer->layer, "is_removed", layer->is_removed, "n_ff",
                  (json_int_t)layer->n_ff, "n_head_kv", (json_int_t)layer->n_head_kv, "error_cut",
                  wl_json_real(layer->error_cut), "error_repaired",
                  wl_json_real(layer->error_repaired), "error_bias",
                  wl_json_real(layer->error_bias), "error_healed",
                  wl_json_real(layer->error_healed), "error_image",
                  wl_json_real(layer->error_image), "attention_error_cut",
                  wl_json_real(layer->attention_error_cut), "attention_error_repaired",
                  wl_json_real(layer->attention_error_repaired), "seconds", layer->seconds));
    return pack_layer(&w->pack, w->target, &w->job->source, layer, err);
}

static enum wl_status on_output_norm(void *context, const float *norm, struct wl_err *err) {
    struct walking *w = context;
    return pack_output_norm(&w->pack, w->target, &w->job->source, norm, err);
}

static enum narrow_method method_of(const char *name) {
    static const char *const NAMES[] = {[NARROW_REPAIR] = "repair",
                                        [NARROW_CUT] = "cut",
                                        [NARROW_MAGNITUDE] = "magnitude",
                                        [NARROW_WANDA] = "wanda"};
    size_t i = sizeof NAMES / sizeof NAMES[0];
    while (i-- > 1 && strcmp(NAMES[i], name) != 0) {
    }
    return (enum narrow_method)i;
}

static bool takes_bias(const struct job *job) {
    const struct compress_arch *arch = job->source.arch;
    return arch->takes_down_bias || (job->plan.is_mixed && strcmp(arch->flexible, "deci") == 0);
}

static uint32_t blocks_that_stay(const struct plan *plan) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_layer; i++) {
        n += !plan->layers[i].is_removed;
    }
    return n;
}

static enum wl_status narrow(struct walking *w, struct wl_err *err) {
    struct job *job = w->job;
    struct compress_text text = calib_part_text(&job->calib.calibration);
    char blocks[OS_PATH_BYTES], name[64];
    enum wl_status status = work_folder(&job->work, job_name(job, "blocks", "", name), blocks, err);
    struct narrow_options options = {
        .n_held_out = held_out_of(&text),
        .plan = &job->plan,
        .method = method_of(wl_json_opt_string(job->request, "method", "repair")),
        .damping = DAMPING,
        .ridge = RIDGE,
        .image_share = IMAGE_SHARE,
        .heal_seconds =
            wl_json_opt_double(job->request, "local_seconds", 0) / blocks_that_stay(&job->plan),
        .may_add_bias = takes_bias(job),
        .seed = (uint64_t)wl_json_opt_i64(job->request, "seed", 1),
        .scratch_dir = job->work.path,
        .checkpoint_dir = blocks,
        .on_layer = on_layer,
        .on_output_norm = on_output_norm,
        .go_on = walk_goes_on,
        .context = w};
    return status == WL_OK ? narrow_run(&job->source, &text, &options, &w->stream_error, err)
                           : status;
}

static bool on_written(void *context, uint64_t written_bytes, uint64_t total_bytes) {
    return walk_goes_on(context, total_bytes ? (double)written_bytes / (double)total_bytes : 1);
}

static enum wl_status set_note(struct walking *w, struct wl_err *err) {
    struct plan_sizes sizes;
    char note[160];
    enum wl_status status = plan_sizes(&w->job->plan, &w->job->source, &sizes, err);
    snprintf(note, sizeof note, "compressed by wattlaw %s: %.4g M block weights", WATTLAW_VERSION,
             (double)sizes.block_weights * 1e-6);
    if (status == WL_OK) {
        status = compress_target_set_string(w->target, "general.description", note, err);
    }
    return status == WL_OK ? certificate_reserve(w->target, err) : status;
}

static enum wl_status write_walk(struct walking *w, const char *path, struct wl_err *err) {
    bool is_done = false;
    w->is_writing = true;
    enum wl_status status = pack_finish(&w->pack, w->target, &w->job->source, &w->job->plan, err);
    if (status == WL_OK) {
        status = set_note(w, err);
    }
    if (status == WL_OK) {
        status = compress_target_write(w->target, path, on_written, w, &is_done, err);
    }
    return status == WL_OK && !is_done ? job_interrupted(w->job, err) : status;
}

static enum wl_status walk_anew(struct job *job, const char *path, struct wl_err *err) {
    char name[64];
    struct walking w = {.job = job, .stream_error = NAN, .layers = json_array()};
    enum wl_status status = compress_target_new(&job->source.file, &w.target, err);
    if (status == WL_OK) {
        status = pack_open(&w.pack, job->work.path, err);
    }
    if (status == WL_OK) {
        status = narrow(&w, err);
    }
    if (status == WL_OK) {
        status = write_walk(&w, path, err);
    }
    if (status == WL_OK) {
        status = work_finish(&job->work, job_name(job, "walk", "", name),
                             json_pack("{s:O, s:o}", "layers", w.layers, "stream_error",
                                       wl_json_real(w.stream_error)),
                             err);
    }
    compress_target_free(w.target);
    pack_release(&w.pack);
    json_decref(w.layers);
    return status;
}

static bool is_anything_cut(const struct job *job) {
    struct plan whole = {0};
    struct wl_err ignored;
    bool is_cut = job->plan.is_mixed;
    if (plan_init(&whole, &job->source, &ignored) == WL_OK) {
        for (uint32_t i = 0; i < whole.n_layer; i++) {
            const struct plan_layer *a = &whole.layers[i], *b = &job->plan.layers[i];
            is_cut = is_cut || b->is_removed || a->n_ff != b->n_ff || a->n_head_kv != b->n_head_kv;
        }
    }
    plan_release(&whole);
    return is_cut;
}

enum wl_status job_walk(struct job *job, struct wl_err *err) {
    const json_t *stage;
    struct job_file file;
    if (!is_anything_cut(job)) {
        return WL_OK;
    }
    enum wl_status status = find_made(job, "walk", &file, &stage, err);
    if (status == WL_OK && !stage) {
        status = walk_anew(job, file.path, err);
    }
    if (status == WL_OK) {
        char name[64];
        stage = work_result(&job->work, job_name(job, "walk", "", name));
        json_object_update(job->result, (json_t *)stage);
        job->made = file;
    }
    return status;
}

// ---- distill ----

static enum wl_status distill_anew(struct job *job, const char *path, struct wl_err *err) {
    char name[64], folder[OS_PATH_BYTES];
    struct compress_text text = calib_part_text(&job->calib.calibration);
    enum wl_status status =
        work_folder(&job->work, job_name(job, "distilling", "", name), folder, err);
    if (status != WL_OK) {
        return status;
    }
    uint32_t rank = (uint32_t)wl_json_opt_i64(job->request, "lora_rank", DISTILL_RANK);
    struct distill_options options = {
        .n_held_out = held_out_of(&text),
        .rank = rank,
        .rate = rank > 0 ? DISTILL_RATE : DISTILL_FULL_RATE,
        .seconds = wl_json_opt_double(job->request, "lora_seconds", 0),
        .max_steps = DISTILL_MAX_STEPS,
        .batch_tokens = DISTILL_BATCH,
        .seed = (uint64_t)wl_json_opt_i64(job->request, "seed", 1),
        .threads = (int32_t)wl_json_opt_i64(job->request, "threads", 0),
        .scratch_dir = job->work.path,
        .checkpoint_dir = folder,
        .go_on = job_go_on,
        .context = job};
    struct distill_result result;
    status = distill_run(job->base.path, job->made.path, path, &text, &options, &result, err);
    return status == WL_OK ? work_finish(&job->work, job_name(job, "distilled", "", name),
                                         json_pack("{s:o, s:o, s:I, s:I, s:f, s:b}", "kl_before",
                                                   wl_json_real(result.kl_before), "kl_after",
                                                   wl_json_real(result.kl_after), "n_steps",
                                                   (json_int_t)result.n_steps, "n_tokens",
                                                   (json_int_t)result.n_tokens, "seconds",
                                                   result.seconds, "is_kept", result.is_kept),
                                         err)
                           : status;
}

enum wl_status job_distill(struct job *job, struct wl_err *err) {
    const json_t *stage;
    struct job_file file;
    char name[64];
    enum wl_status status = find_made(job, "distilled", &file, &stage, err);
    if (status == WL_OK && !stage) {
        status = distill_anew(job, file.path, err);
    }
    if (status == WL_OK) {
        stage = work_result(&job->work, job_name(job, "distilled", "", name));
        json_object_set(job->result, "distilled", (json_t *)stage);
        job->made = wl_json_opt_bool(stage, "is_kept", false) ? file : job->made;
    }
    return status;
}

// ---- types ----

static json_t *retyped_json(const struct retype_result *r) {
    json_t *tensors = json_array();
    for (size_t i = 0; i < r->n_tensors; i++) {
        json_array_append_new(tensors, json_pack("{s:s, s:s, s:o}", "name", r->tensors[i].name,
                                                 "type", ggml_type_name(r->tensors[i].type),
                                                 "error", wl_json_real(r->tensors[i].error)));
    }
    return json_pack("{s:I, s:I, s:o, s:o, s:o}", "in_bytes", (json_int_t)r->in_bytes, "out_bytes",
                     (json_int_t)r->out_bytes, "error", wl_json_real(r->error), "error_in_order",
                     wl_json_real(r->error_in_order), "tensors", tensors);
}

static enum wl_status choose_type(const struct job *job, struct retype_options *options,
                                  struct wl_err *err) {
    const char *type = wl_json_opt_string(job->request, "type", "");
    if (strcmp(type, "auto") != 0) {
        return retype_parse(type, &options->type, err);
    }
    enum allocate_budget kind;
    double budget;
    options->type = GGML_TYPE_COUNT;
    enum wl_status status =
        allocate_parse(wl_json_opt_string(job->request, "budget", ""), &kind, &budget, err);
    if (status == WL_OK && kind != ALLOCATE_BYTES) {
        return wl_err_set(err, WL_USAGE, "type auto needs a budget in bytes (--budget 600MB)");
    }
    options->budget_bytes = status == WL_OK ? (uint64_t)budget : 0;
    return status;
}

static enum wl_status retype_anew(struct job *job, const char *path, struct wl_err *err) {
    char name[64];
    struct compress_text text = calib_part_text(&job->calib.calibration);
    struct retype_result result = {0};
    struct retype_options options = {
        .text = job->plan.is_mixed ? NULL : &text, // not under another architecture
        .scratch_dir = job->work.path,
        .go_on = job_go_on,
        .context = job};
    enum wl_status status = choose_type(job, &options, err);
    if (status == WL_OK) {
        status = retype_run(job->made.path, path, &options, &result, err);
    }
    if (status == WL_OK) {
        status =
            work_finish(&job->work, job_name(job, "typed", "", name), retyped_json(&result), err);
    }
    retype_result_release(&result);
    return status;
}

enum wl_status job_retype(struct job *job, struct wl_err *err) {
    const json_t *stage;
    struct job_file file;
    char name[64];
    enum wl_status status = find_made(job, "typed", &file, &stage, err);
    if (status == WL_OK && !stage) {
        status = retype_anew(job, file.path, err);
    }
    if (status == WL_OK) {
        stage = work_result(&job->work, job_name(job, "typed", "", name));
        json_object_set(job->result, "types", (json_t *)stage);
        job->made = file;
    }
    return status;
}

// ---- verdict ----

static json_t *side_json(const struct verify_side *side) {
    return json_pack("{s:o, s:o, s:o}", "perplexity", wl_json_real(exp(side->nll_mean)), "nll_mean",
                     wl_json_real(side->nll_mean), "nll_sem", wl_json_real(side->nll_sem));
}

json_t *job_verdict_json(const struct verify_result *v) {
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:I, "
                     "s:o, s:o}",
                     "n", (json_int_t)v->n, "original", side_json(&v->original), "changed",
                     side_json(&v->changed), "kl_mean", wl_json_real(v->kl_mean), "kl_sem",
                     wl_json_real(v->kl_sem), "kl_median", wl_json_real(v->kl_median), "kl_p99",
                     wl_json_real(v->kl_p99), "kl_max", wl_json_real(v->kl_max), "top1_share",
                     wl_json_real(v->top1_share), "log_ppl_ratio", wl_json_real(v->log_ppl_ratio),
                     "log_ppl_ratio_sem", wl_json_real(v->log_ppl_ratio_sem), "n_image",
                     (json_int_t)v->n_image, "kl_image", wl_json_real(v->kl_image), "lost_mass",
                     wl_json_real(v->lost_mass), "n_answers", (json_int_t)v->n_answers,
                     "exact_share", wl_json_real(v->exact_share), "same_share",
                     wl_json_real(v->same_share));
}

enum wl_status job_compare(struct job *job, const struct job_changed *changed,
                           bool (*go_on)(void *, double), void *context, struct verify_result *out,
                           struct wl_err *err) {
    struct compress_text text = calib_part_text(&job->calib.held_out);
    struct verify_options options = {.skip = VERIFY_FIRST,
                                     .threads =
                                         (int32_t)wl_json_opt_i64(job->request, "threads", 0),
                                     .scratch_dir = job->work.path,
                                     .new_ids = changed->new_ids,
                                     .changed_embeddings = changed->embeddings,
                                     .n_answers = changed->n_answers,
                                     .go_on = go_on,
                                     .context = context};
    bool is_done = true;
    enum wl_status status =
        compress_verify(job->path, changed->path, &text, &options, out, &is_done, err);
    return status == WL_OK && !is_done ? job_interrupted(job, err) : status;
}

enum wl_status job_verify(struct job *job, struct wl_err *err) {
    struct job_changed made = {job->made.path, job->trim.new_ids, job->changed_embeddings, ANSWERS};
    enum wl_status status = job_compare(job, &made, job_go_on, job, &job->verdict, err);
    if (status == WL_OK) {
        json_object_set_new(job->result, "verdict", job_verdict_json(&job->verdict));
    }
    return status;
}
