#include "compressor/job.h"

#include <cblas.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "compressor/certificate.h"
#include "compressor/job_state.h"
#include "os/clock.h"
#include "os/file.h"

static const int64_t PROGRESS_EVERY_NS = 100000000;
static const double EASED_BY = 0.7; // of the cut, each time the floor is missed
enum { DEFAULT_ROUNDS = 3, MAX_ROUNDS = 10, MAX_THREADS = 1024 };

static const struct {
    const char *what, *key;
    double weight; // in the progress, beside the seconds that were granted
    enum wl_status (*run)(struct job *, struct wl_err *);
} STAGES[JOB_STAGES] = {
    [JOB_TEXT] = {"calibration text", "text", 10, job_make_text},
    [JOB_VOCABULARY] = {"vocabulary", "vocabulary", 2, job_trim_vocabulary},
    [JOB_ANALYSIS] = {"analysis", "analysis", 20, job_analyse},
    [JOB_COSTS] = {"costs on this machine", "costs", 10, job_measure_costs},
    [JOB_ENCODER] = {"image encoder", "encoder", 15, job_encoder},
    [JOB_WALK] = {"blocks", "blocks", 40, job_walk},
    [JOB_DISTILL] = {"distilling", "distilling", 0, job_distill},
    [JOB_TYPES] = {"tensor types", "types", 5, job_retype},
    [JOB_VERIFY] = {"verifying", "verifying", 10, job_verify},
    [JOB_RIVALS] = {"the original at lower bits", "rivals", 10, job_rivals},
    [JOB_SPEED] = {"speeds, in turns", "speeds", 10, job_speed},
};

// ---- progress ----

bool job_go_on(void *context, double share_done) {
    struct job *job = context;
    int64_t now_ns = os_now_ns();
    if (now_ns - job->told_ns >= PROGRESS_EVERY_NS) {
        job->told_ns = now_ns;
        share_done = share_done < 0 ? 0 : share_done > 1 ? 1 : share_done;
        reply_progress(job->reply, STAGES[job->stage].what,
                       job->begin + (job->end - job->begin) * share_done);
    }
    return !interrupt_look(&job->interrupt);
}

enum wl_status job_interrupted(const struct job *job, struct wl_err *err) {
    return wl_err_set(err, WL_INTERRUPTED,
                      "interrupted: '%s' was not written; the same command goes on from '%s'",
                      job->out, job->work.path);
}

bool job_is_asked(const struct job *job, const char *key) {
    const json_t *value = json_object_get(job->request, key);
    return value && !json_is_null(value) &&
           !(json_is_string(value) && json_string_length(value) == 0);
}

static bool is_stage_asked(const struct job *job, int stage) {
    switch (stage) {
    case JOB_VOCABULARY: return job_is_asked(job, "vocabulary");
    case JOB_ANALYSIS: return job_needs_analysis(job);
    case JOB_COSTS: return job_needs_costs(job);
    case JOB_DISTILL: return wl_json_opt_double(job->request, "lora_seconds", 0) > 0;
    case JOB_TYPES: return job_is_asked(job, "type");
    case JOB_ENCODER: return job_is_asked(job, "mmproj_out");
    case JOB_RIVALS:
    case JOB_SPEED: return json_array_size(json_object_get(job->request, "rivals")) > 0;
    default: return true;
    }
}

static void weigh_stages(struct job *job) {
    double total = 0;
    for (int i = 0; i < JOB_STAGES; i++) {
        job->weights[i] = is_stage_asked(job, i) ? STAGES[i].weight : 0;
        job->weights[i] += i == JOB_WALK      ? wl_json_opt_double(job->request, "local_seconds", 0)
                           : i == JOB_DISTILL ? wl_json_opt_double(job->request, "lora_seconds", 0)
                                              : 0;
        total += job->weights[i];
    }
    for (int i = 0; i < JOB_STAGES; i++) {
        job->weights[i] /= total;
    }
}

static void enter(struct job *job, enum job_stage stage) {
    job->stage = stage;
    job->begin = 0;
    for (int i = 0; i < (int)stage; i++) {
        job->begin += job->weights[i];
    }
    job->end = job->begin + job->weights[stage];
    job->begin_ns = os_now_ns();
    job->told_ns = 0;
    job_go_on(job, 0);
}

// Rounds of the same stage add up.
static void leave(struct job *job) {
    const char *key = STAGES[job->stage].key;
    double seconds = (double)(os_now_ns() - job->begin_ns) * 1e-9;
    double before = wl_json_opt_double(job->seconds, key, 0);
    json_object_set_new(job->seconds, key, wl_json_real(before + seconds));
}

static enum wl_status run_stage(struct job *job, enum job_stage stage, struct wl_err *err) {
    if (!is_stage_asked(job, stage)) {
        return WL_OK;
    }
    enter(job, stage);
    enum wl_status status = STAGES[stage].run(job, err);
    leave(job);
    // Some parts say INTERRUPTED themselves; what to do next is the same.
    return status == WL_INTERRUPTED ? job_interrupted(job, err) : status;
}

const char *job_name(const struct job *job, const char *stem, const char *suffix, char out[64]) {
    snprintf(out, 64, "%s-%u%s", stem, job->round, suffix);
    return out;
}

// ---- rounds: until the floor is met ----

static double judged_kl(const struct job *job) {
    const struct verify_result *v = &job->verdict;
    return v->kl_mean + (isfinite(v->kl_sem) ? 1.96 * v->kl_sem : 0);
}

static bool meets_floor(const struct job *job) {
    return judged_kl(job) <= wl_json_opt_double(job->request, "floor", INFINITY);
}

static enum wl_status make_round(struct job *job, struct wl_err *err) {
    static const enum job_stage PARTS[] = {JOB_WALK, JOB_DISTILL, JOB_TYPES, JOB_VERIFY};
    job->made = job->base;
    enum wl_status status = job_make_plan(job, err);
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0] && status == WL_OK; i++) {
        status = run_stage(job, PARTS[i], err);
    }
    return status;
}

static bool can_ease(const struct job *job) {
    int64_t rounds = wl_json_opt_i64(job->request, "rounds", DEFAULT_ROUNDS);
    bool is_cut = job_is_asked(job, "cut") || job_is_asked(job, "n_ff") ||
                  job_is_asked(job, "budget") || job_is_asked(job, "n_drop");
    return is_cut && job->round < (uint32_t)(rounds < 0            ? 0
                                             : rounds > MAX_ROUNDS ? MAX_ROUNDS
                                                                   : rounds);
}

static enum wl_status make_until_good(struct job *job, struct wl_err *err) {
    json_t *rounds = json_array();
    json_object_set_new(job->result, "rounds", rounds);
    enum wl_status status = make_round(job, err);
    while (status == WL_OK) {
        json_array_append_new(rounds,
                              json_pack("{s:o, s:o, s:f}", "plan", job_plan_json(job), "kl_mean",
                                        wl_json_real(job->verdict.kl_mean), "eased", job->eased));
        if (meets_floor(job) || !can_ease(job)) {
            break;
        }
        char name[64];
        work_drop(&job->work, job_name(job, "walk", ".gguf", name));
        work_drop(&job->work, job_name(job, "distilled", ".gguf", name));
        work_drop(&job->work, job_name(job, "typed", ".gguf", name));
        job->round++;
        job->eased *= EASED_BY;
        status = make_round(job, err);
    }
    return status;
}

// ---- verdict ----

static enum wl_status publish(struct job *job, struct wl_err *err) {
    if (strcmp(job->made.path, job->path) == 0) {
        return wl_err_set(err, WL_INPUT,
                          "nothing needs to be cut: '%s' keeps to the budget as it is", job->path);
    }
    if (!meets_floor(job)) {
        return wl_err_set(err, WL_GATE,
                          "KL divergence from the original is %.4g nats per token (95 %% up to "
                          "%.4g), the floor is %.4g: '%s' was not written; cut less, heal longer, "
                          "or accept a higher floor",
                          job->verdict.kl_mean, judged_kl(job),
                          wl_json_opt_double(job->request, "floor", INFINITY), job->out);
    }
    // Linked, so that the stage stays finished until the work folder goes.
    unlink(job->out);
    if (link(job->made.path, job->out) != 0 && rename(job->made.path, job->out) != 0) {
        return wl_err_set(err, WL_IO, "cannot rename '%s' to '%s'", job->made.path, job->out);
    }
    return WL_OK;
}

static void finish_result(struct job *job, const char *refusal) {
    uint64_t out_bytes = 0;
    struct wl_err ignored;
    os_file_size(refusal ? job->made.path : job->out, &out_bytes, &ignored);
    json_object_set_new(job->result, "plan", job_plan_json(job));
    json_object_set_new(job->result, "is_written", json_boolean(refusal == NULL));
    json_object_set_new(job->result, "refusal", refusal ? json_string(refusal) : json_null());
    json_object_set_new(job->result, "out_bytes", json_integer((json_int_t)out_bytes));
    json_object_set(job->result, "seconds", job->seconds);
}

static enum wl_status make_and_judge(struct job *job, struct wl_err *err) {
    static const enum job_stage BEFORE[] = {JOB_TEXT, JOB_VOCABULARY, JOB_ANALYSIS, JOB_COSTS,
                                            JOB_ENCODER};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof BEFORE / sizeof BEFORE[0] && status == WL_OK; i++) {
        status = run_stage(job, BEFORE[i], err);
    }
    if (status == WL_OK) {
        status = make_until_good(job, err);
    }
    if (status == WL_OK) {
        status = run_stage(job, JOB_RIVALS, err);
    }
    if (status == WL_OK) {
        status = run_stage(job, JOB_SPEED, err);
    }
    if (status != WL_OK) {
        return status;
    }
    status = publish(job, err);
    if (status == WL_OK || status == WL_GATE) {
        finish_result(job, status == WL_OK ? NULL : err->message);
        status = WL_OK;
    }
    return status;
}

// ---- all of it ----

// What decides the outcome: the request and which file `path` is. Seconds that may differ when it
// is gone on with, such as the floor, are not told apart from others: another request begins anew.
static json_t *identity_of(const struct job *job) {
    uint64_t bytes = 0;
    struct wl_err ignored;
    os_file_size(job->path, &bytes, &ignored);
    json_t *request = json_deep_copy(job->request);
    json_object_del(request, "fresh");
    return json_pack("{s:o, s:I, s:s}", "request", request, "source_bytes", (json_int_t)bytes,
                     "version", WATTLAW_VERSION);
}

static enum wl_status open_work(struct job *job, struct wl_err *err) {
    const char *path;
    enum wl_status status = wl_json_get_string(job->request, "work", &path, err);
    json_t *identity = status == WL_OK ? identity_of(job) : NULL;
    if (status == WL_OK) {
        if (wl_json_opt_bool(job->request, "fresh", false)) {
            work_open(&job->work, path, json_null(), err); // of nobody: emptied
            work_close(&job->work);
        }
        status = identity ? work_open(&job->work, path, identity, err)
                          : wl_err_set(err, WL_MEMORY, "no memory for the work folder's state");
    }
    json_decref(identity);
    return status;
}

static enum wl_status open_job(struct job *job, struct wl_err *err) {
    enum wl_status status = wl_json_get_string(job->request, "path", &job->path, err);
    if (status == WL_OK) {
        status = wl_json_get_string(job->request, "out", &job->out, err);
    }
    if (status == WL_OK && !str_copy(job->base.path, sizeof job->base.path, job->path)) {
        status = wl_err_set(err, WL_LIMIT, "path too long: '%.80s...'", job->path);
    }
    if (status == WL_OK) {
        status = compress_source_open(
            &job->source, job->path,
            wl_json_opt_bool(job->request, "force", false) ? COMPRESS_FORCE : COMPRESS_CAREFUL,
            err);
    }
    return status == WL_OK ? job_check_request(job, err) : status;
}

static void close_job(struct job *job) {
    work_close(&job->work);
    plan_release(&job->plan);
    analysis_release(&job->analysis);
    trim_result_release(&job->trim);
    compress_calib_release(&job->calib);
    free(job->changed_embeddings);
    compress_source_close(&job->source);
    json_decref(job->seconds);
    json_decref(job->result);
}

enum wl_status job_request(const struct reply *reply, const json_t *request, json_t **result,
                           struct wl_err *err) {
    struct job job = {.reply = reply, .request = request, .eased = 1};
    job.result = json_object();
    job.seconds = json_object();
    interrupt_init(&job.interrupt, reply->io, 0);
    bool is_dry = wl_json_opt_bool(request, "dry_run", false);
    int64_t threads = wl_json_opt_i64(request, "threads", 0);
    if (threads > 0 && threads <= MAX_THREADS) {
        openblas_set_num_threads((int)threads);
    }
    enum wl_status status = open_job(&job, err);
    if (status == WL_OK && is_dry) {
        status = job_make_plan(&job, err);
        json_object_set_new(job.result, "plan",
                            status == WL_OK ? job_plan_json(&job) : json_null());
    } else if (status == WL_OK) {
        status = open_work(&job, err);
    }
    if (status == WL_OK && !is_dry) {
        weigh_stages(&job);
        status = make_and_judge(&job, err);
    }
    if (status == WL_OK) {
        *result = json_incref(job.result);
    }
    close_job(&job);
    return status;
}

enum wl_status job_certify(const json_t *request, json_t **result, struct wl_err *err) {
    const char *path;
    enum wl_status status = wl_json_get_string(request, "path", &path, err);
    if (status == WL_OK) {
        status = certificate_fill(path, json_object_get(request, "certificate"), err);
    }
    struct work work;
    const char *folder = wl_json_opt_string(request, "work", "");
    if (status == WL_OK && folder[0] && work_find(&work, folder)) {
        work_remove(&work);
    }
    if (status == WL_OK) {
        *result = json_object();
    }
    return status;
}
