#include "compressor/analysis_job.h"

#include <cblas.h>
#include <inttypes.h>
#include <math.h>

#include "base/json.h"
#include "compressor/analysis.h"
#include "compressor/analysis_text.h"
#include "compressor/calib.h"
#include "compressor/source_json.h"
#include "os/clock.h"
#include "worker/interrupt.h"

enum { MAX_SEQUENCE = 512, KL_TOKENS = 1024, MAX_KL_TOKENS = 16384, MAX_THREADS = 1024 };
static const int64_t PROGRESS_EVERY_NS = 100000000;
static const double TEXT_SHARE = 0.1; // of the bar
// More is held out than is judged, since sequences are taken whole; but never
// most of the text.
static const double HELD_OUT_TIMES = 1.5, LEAST_HELD_OUT = 0.05, MOST_HELD_OUT = 0.3;

struct analysis_job {
    const struct reply *reply;
    const json_t *request;
    const char *path;
    struct compress_source source;
    struct calib calib;
    struct analysis_text text;
    struct analysis analysis;
    int64_t n_tokens, n_tokens_kl;
    struct interrupt interrupt;
    bool is_walking; // the text is there
    int64_t told_ns; // when the last progress was sent
    double text_seconds;
};

static bool go_on(void *context, double share_done) {
    struct analysis_job *job = context;
    int64_t now_ns = os_now_ns();
    if (now_ns - job->told_ns >= PROGRESS_EVERY_NS) {
        job->told_ns = now_ns;
        double done =
            job->is_walking ? TEXT_SHARE + (1 - TEXT_SHARE) * share_done : TEXT_SHARE * share_done;
        reply_progress(job->reply, job->is_walking ? "blocks" : "calibration text", done);
    }
    return !interrupt_look(&job->interrupt);
}

static const char *path_or_null(const json_t *request, const char *key) {
    const char *path = wl_json_opt_string(request, key, "");
    return path[0] ? path : NULL;
}

static enum wl_status take_counts(struct analysis_job *job, struct wl_err *err) {
    struct calib_options defaults;
    compress_calib_defaults(&defaults);
    job->n_tokens = wl_json_opt_i64(job->request, "n_tokens", (int64_t)defaults.n_tokens);
    job->n_tokens_kl = wl_json_opt_i64(job->request, "n_tokens_kl", KL_TOKENS);
    if (job->n_tokens_kl < 2 || job->n_tokens_kl > MAX_KL_TOKENS) {
        return wl_err_set(err, WL_USAGE,
                          "tokens that divergences are of: expected 2 to %d, found %" PRId64,
                          MAX_KL_TOKENS, job->n_tokens_kl);
    }
    if (job->n_tokens < CALIB_MIN_TOKENS || job->n_tokens > CALIB_MAX_TOKENS) {
        return wl_err_set(err, WL_USAGE, "tokens of calibration: expected %d to %d, found %" PRId64,
                          CALIB_MIN_TOKENS, CALIB_MAX_TOKENS, job->n_tokens);
    }
    return WL_OK;
}

static enum wl_status make_text(struct analysis_job *job, struct wl_err *err) {
    int64_t begin_ns = os_now_ns();
    struct calib_options options;
    compress_calib_defaults(&options);
    options.text_path = path_or_null(job->request, "text");
    const char *tasks = path_or_null(job->request, "tasks");
    options.task_paths = &tasks;
    options.n_task_paths = tasks ? 1 : 0;
    options.n_tokens = (size_t)job->n_tokens;
    double wanted = HELD_OUT_TIMES * (double)job->n_tokens_kl / (double)job->n_tokens;
    options.held_out = fmin(fmax(wanted, LEAST_HELD_OUT), MOST_HELD_OUT);
    options.seed = (uint64_t)wl_json_opt_i64(job->request, "seed", 1);
    options.threads = (int32_t)wl_json_opt_i64(job->request, "threads", 0);
    options.max_length = MAX_SEQUENCE;
    options.go_on = go_on;
    options.context = job;
    bool is_done;
    enum wl_status status = compress_calib_make(job->path, &options, &job->calib, &is_done, err);
    if (status == WL_OK && !is_done) {
        status = wl_err_set(err, WL_INTERRUPTED, "interrupted: the analysis is not finished");
    }
    if (status == WL_OK) {
        status = analysis_text_join(&job->text, &job->calib, job->source.n_embd, err);
    }
    job->text_seconds = (double)(os_now_ns() - begin_ns) * 1e-9;
    return status;
}

static enum wl_status walk(struct analysis_job *job, struct wl_err *err) {
    struct analysis_options options = {.n_held_out = job->text.n_held_out,
                                       .n_tokens_kl = (size_t)job->n_tokens_kl,
                                       .with_bonds = wl_json_opt_bool(job->request, "bonds", false),
                                       .seed = (uint64_t)wl_json_opt_i64(job->request, "seed", 1),
                                       .scratch_dir =
                                           wl_json_opt_string(job->request, "scratch", "/tmp"),
                                       .go_on = go_on,
                                       .context = job};
    int64_t threads = wl_json_opt_i64(job->request, "threads", 0);
    int usual = openblas_get_num_threads();
    if (threads > 0 && threads <= MAX_THREADS) {
        openblas_set_num_threads((int)threads);
    }
    job->is_walking = true;
    enum wl_status status =
        analysis_run(&job->source, &job->text.text, &options, &job->analysis, err);
    openblas_set_num_threads(usual);
    return status;
}

// ---- the answer ----

static enum wl_status answer(const struct analysis_job *job, json_t **result, struct wl_err *err) {
    json_t *model = NULL;
    enum wl_status status = compress_source_json(&job->source, &model, err);
    if (status == WL_OK) {
        *result =
            json_pack("{s:o, s:o, s:o}", "model", model, "analysis", analysis_json(&job->analysis),
                      "text_seconds", wl_json_real(job->text_seconds));
        status = *result ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the answer");
    }
    return status;
}

enum wl_status analysis_job_request(const struct reply *reply, const json_t *request,
                                    json_t **result, struct wl_err *err) {
    struct analysis_job job = {.reply = reply, .request = request};
    interrupt_init(&job.interrupt, reply->io, 0);
    enum compress_force force =
        wl_json_opt_bool(request, "force", false) ? COMPRESS_FORCE : COMPRESS_CAREFUL;
    enum wl_status status;
    if (!(status = wl_json_get_string(request, "path", &job.path, err)) &&
        !(status = take_counts(&job, err)) &&
        !(status = compress_source_open(&job.source, job.path, force, err)) &&
        !(status = make_text(&job, err)) && !(status = walk(&job, err))) {
        status = answer(&job, result, err);
    }
    analysis_release(&job.analysis);
    analysis_text_release(&job.text);
    compress_calib_release(&job.calib);
    compress_source_close(&job.source);
    return status;
}
