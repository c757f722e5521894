#include "compressor/job.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "compressor/calib.h"
#include "compressor/narrow.h"
#include "compressor/pack.h"
#include "compressor/verify.h"
#include "os/clock.h"
#include "os/file.h"
#include "worker/interrupt.h"

enum { NARROW_SEQUENCE = 512, VERIFY_SKIP = 8 };
static const int64_t PROGRESS_EVERY_NS = 100000000;
static const double NARROW_HELD_OUT = 0.1; // of the calibration text: what healing is judged on

// Where in a job the time goes, in shares, for one bar.
enum stage { STAGE_TEXT, STAGE_WALK, STAGE_WRITE, STAGE_VERIFY, N_STAGES };
static const struct {
    const char *what;
    double begin, end;
} STAGES[N_STAGES] = {
    [STAGE_TEXT] = {"calibration text", 0, 0.1},
    [STAGE_WALK] = {"blocks", 0.1, 0.85},
    [STAGE_WRITE] = {"writing", 0.85, 0.88},
    [STAGE_VERIFY] = {"verifying", 0.88, 1},
};

struct job {
    const struct reply *reply;
    const json_t *request;
    const char *path, *out, *scratch;
    char unverified[OS_PATH_BYTES];
    struct compress_source source;
    struct calib calib;
    struct compress_target *target;
    struct pack pack;
    struct plan plan;
    struct interrupt interrupt;
    enum stage stage;
    json_t *layers; // of the result
    double stream_error;
    struct verify_result verdict;
    int64_t begin_ns;
    double seconds[N_STAGES];
    int64_t told_ns; // when the last progress was sent
};

// ---- progress ----

static bool go_on(void *context, double share_done) {
    struct job *job = context;
    double begin = STAGES[job->stage].begin, end = STAGES[job->stage].end;
    int64_t now_ns = os_now_ns();
    if (now_ns - job->told_ns >= PROGRESS_EVERY_NS) {
        job->told_ns = now_ns;
        reply_progress(job->reply, STAGES[job->stage].what, begin + (end - begin) * share_done);
    }
    return !interrupt_look(&job->interrupt);
}

static void enter(struct job *job, enum stage stage) {
    int64_t now_ns = os_now_ns();
    job->seconds[job->stage] += (double)(now_ns - job->begin_ns) * 1e-9;
    job->begin_ns = now_ns;
    job->stage = stage;
    go_on(job, 0);
}

static enum wl_status interrupted(const struct job *job, struct wl_err *err) {
    return wl_err_set(err, WL_INTERRUPTED, "interrupted: '%s' was not written", job->out);
}

// ---- plan ----

static uint64_t elements(const struct job *job, uint32_t layer, const char *name) {
    const struct gguf_tensor *tensor = compress_source_tensor(&job->source, (int32_t)layer, name);
    return tensor ? tensor->n_elements : 0;
}

static uint64_t ffn_elements(const struct job *job, uint32_t layer) {
    return elements(job, layer, "ffn_gate.weight") + elements(job, layer, "ffn_up.weight") +
           elements(job, layer, "ffn_down.weight");
}

static uint64_t block_elements(const struct job *job, uint32_t layer) {
    return ffn_elements(job, layer) + elements(job, layer, "attn_q.weight") +
           elements(job, layer, "attn_k.weight") + elements(job, layer, "attn_v.weight") +
           elements(job, layer, "attn_output.weight");
}

// One width for all blocks, since most architectures know only one.
static enum wl_status plan_width(struct job *job, struct wl_err *err) {
    struct block_shape shape;
    enum wl_status status = compress_source_shape(&job->source, 0, &shape, err);
    if (status != WL_OK) {
        return status;
    }
    uint32_t step = pack_step(&job->source);
    int64_t wanted = wl_json_opt_i64(job->request, "n_ff", 0);
    double cut = wl_json_opt_double(job->request, "cut", 0);
    if (wanted == 0) {
        double share = cut * (double)block_elements(job, 0) / (double)ffn_elements(job, 0);
        wanted = (int64_t)floor(shape.n_ff * (1 - share) / step) * step;
        if (!(cut > 0 && cut < 1) || wanted < step) {
            return wl_err_set(
                err, WL_USAGE,
                "share to cut: expected above 0 and at most %.3g, found %g: the feed-forward "
                "parts are %.0f %% of a block's weights",
                (double)ffn_elements(job, 0) / (double)block_elements(job, 0) *
                    (1 - (double)step / shape.n_ff),
                cut, 100.0 * (double)ffn_elements(job, 0) / (double)block_elements(job, 0));
        }
    }
    if (wanted < step || wanted > shape.n_ff || wanted % step != 0) {
        return wl_err_set(err, WL_USAGE,
                          "width: expected a multiple of %u up to %u for these tensor types, found "
                          "%" PRId64,
                          step, shape.n_ff, wanted);
    }
    status = plan_init(&job->plan, &job->source, err);
    for (uint32_t i = 0; i < job->plan.n_layer; i++) {
        job->plan.layers[i].n_ff = (uint32_t)wanted;
    }
    return status;
}

// Bytes that the feed-forward tensors of a block lose; gate and up lose rows, down shortens them.
static uint64_t saved_bytes(const struct job *job, uint32_t layer, uint32_t n_ff_before) {
    static const char *const NAMES[] = {"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"};
    uint64_t bytes = 0;
    for (int i = 0; i < 3; i++) {
        const struct gguf_tensor *tensor =
            compress_source_tensor(&job->source, (int32_t)layer, NAMES[i]);
        bytes += tensor ? tensor->n_bytes : 0;
    }
    return bytes / n_ff_before * (n_ff_before - job->plan.layers[layer].n_ff);
}

static json_t *plan_json(const struct job *job) {
    struct calib_options defaults;
    compress_calib_defaults(&defaults);
    const struct gguf_tensor *down = compress_source_tensor(&job->source, 0, "ffn_down.weight");
    uint32_t n_ff_before = (uint32_t)down->ne[0];
    uint64_t before = 0, after = 0, ffn_before = 0, saved = 0, in_bytes = 0;
    for (uint32_t i = 0; i < job->source.n_layer; i++) {
        uint64_t ffn = ffn_elements(job, i), block = block_elements(job, i);
        before += block;
        ffn_before += ffn;
        after += block - ffn + ffn / n_ff_before * job->plan.layers[i].n_ff;
        saved += saved_bytes(job, i, n_ff_before);
    }
    os_file_size(job->path, &in_bytes, NULL);
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "arch", job->source.arch->name,
        "n_layer", (json_int_t)job->source.n_layer, "n_ff_before", (json_int_t)n_ff_before, "n_ff",
        (json_int_t)job->plan.layers[0].n_ff, "step", (json_int_t)pack_step(&job->source),
        "in_bytes", (json_int_t)in_bytes, "out_bytes",
        (json_int_t)(in_bytes > saved ? in_bytes - saved : 0), "block_weights_before",
        (json_int_t)before, "block_weights_after", (json_int_t)after, "ffn_weights_before",
        (json_int_t)ffn_before, "n_tokens",
        (json_int_t)wl_json_opt_i64(job->request, "n_tokens", (int64_t)defaults.n_tokens));
}

// ---- calibration text ----

static const char *path_or_null(const json_t *request, const char *key) {
    const char *path = wl_json_opt_string(request, key, "");
    return path[0] ? path : NULL;
}

static enum wl_status make_text(struct job *job, struct wl_err *err) {
    struct calib_options options;
    compress_calib_defaults(&options);
    options.text_path = path_or_null(job->request, "text");
    options.task_path = path_or_null(job->request, "tasks");
    options.n_tokens = (size_t)wl_json_opt_i64(job->request, "n_tokens", (int64_t)options.n_tokens);
    options.seed = (uint64_t)wl_json_opt_i64(job->request, "seed", 1);
    options.threads = (int32_t)wl_json_opt_i64(job->request, "threads", 0);
    options.max_length = NARROW_SEQUENCE;
    options.go_on = go_on;
    options.context = job;
    bool is_done;
    enum wl_status status = compress_calib_make(job->path, &options, &job->calib, &is_done, err);
    return status == WL_OK && !is_done ? interrupted(job, err) : status;
}

static struct compress_text text_of(const struct calib_part *part) {
    return (struct compress_text){.tokens = part->tokens,
                                  .lengths = part->lengths,
                                  .n_sequences = part->n_sequences,
                                  .n_tokens = part->n_tokens};
}

// ---- walk ----

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

static enum wl_status on_layer(void *context, const struct narrow_layer *layer,
                               struct wl_err *err) {
    struct job *job = context;
    json_array_append_new(job->layers,
                          json_pack("{s:I, s:I, s:o, s:o, s:o, s:f}", "layer",
                                    (json_int_t)layer->layer, "n_ff", (json_int_t)layer->n_ff,
                                    "error_cut", wl_json_real(layer->error_cut), "error_repaired",
                                    wl_json_real(layer->error_repaired), "error_healed",
                                    wl_json_real(layer->error_healed), "seconds", layer->seconds));
    return pack_layer(&job->pack, job->target, &job->source, layer, err);
}

static enum wl_status walk(struct job *job, struct wl_err *err) {
    const struct calib_part *part = &job->calib.calibration;
    struct compress_text text = text_of(part);
    struct narrow_options options = {
        .n_held_out = (size_t)ceil(NARROW_HELD_OUT * (double)part->n_sequences),
        .plan = &job->plan,
        .method = method_of(wl_json_opt_string(job->request, "method", "repair")),
        .damping = 0.5,
        .ridge = 1e-2,
        .heal_seconds = wl_json_opt_double(job->request, "heal_seconds", 0),
        .seed = (uint64_t)wl_json_opt_i64(job->request, "seed", 1),
        .scratch_dir = job->scratch,
        .on_layer = on_layer,
        .go_on = go_on,
        .context = job};
    return narrow_run(&job->source, &text, &options, &job->stream_error, err);
}

// ---- the new file ----

static enum wl_status set_keys(struct job *job, struct wl_err *err) {
    char note[200];
    snprintf(note, sizeof note, "compressed by wattlaw: feed-forward width %u in every block",
             job->plan.layers[0].n_ff);
    enum wl_status status = pack_finish(&job->pack, job->target, &job->source, &job->plan, err);
    return status == WL_OK
               ? compress_target_set_string(job->target, "general.description", note, err)
               : status;
}

static bool on_written(void *context, uint64_t written_bytes, uint64_t total_bytes) {
    return go_on(context, total_bytes ? (double)written_bytes / (double)total_bytes : 1);
}

static enum wl_status write_file(struct job *job, struct wl_err *err) {
    bool is_done = false;
    enum wl_status status = set_keys(job, err);
    if (status == WL_OK) {
        status =
            compress_target_write(job->target, job->unverified, on_written, job, &is_done, err);
    }
    return status == WL_OK && !is_done ? interrupted(job, err) : status;
}

// ---- verdict ----

static enum wl_status verify(struct job *job, struct wl_err *err) {
    const struct calib_part *part = &job->calib.held_out;
    struct compress_text text = text_of(part);
    struct verify_options options = {.skip = VERIFY_SKIP,
                                     .threads =
                                         (int32_t)wl_json_opt_i64(job->request, "threads", 0),
                                     .scratch_dir = job->scratch,
                                     .go_on = go_on,
                                     .context = job};
    bool is_done;
    enum wl_status status =
        compress_verify(job->path, job->unverified, &text, &options, &job->verdict, &is_done, err);
    return status == WL_OK && !is_done ? interrupted(job, err) : status;
}

// A result over the floor stays nowhere.
static enum wl_status publish(struct job *job, struct wl_err *err) {
    double floor_kl = wl_json_opt_double(job->request, "floor", INFINITY);
    double high =
        job->verdict.kl_mean + (isfinite(job->verdict.kl_sem) ? 1.96 * job->verdict.kl_sem : 0);
    if (!(high <= floor_kl)) {
        return wl_err_set(err, WL_GATE,
                          "KL divergence from the original is %.4g nats per token (95 %% up to "
                          "%.4g), the floor is %.4g: '%s' was not written; cut less, heal longer, "
                          "or accept a higher floor",
                          job->verdict.kl_mean, high, floor_kl, job->out);
    }
    if (rename(job->unverified, job->out) != 0) {
        return wl_err_set(err, WL_IO, "cannot rename '%s' to '%s'", job->unverified, job->out);
    }
    return WL_OK;
}

static json_t *side_json(const struct verify_side *side) {
    return json_pack("{s:o, s:o, s:o}", "perplexity", wl_json_real(exp(side->nll_mean)), "nll_mean",
                     wl_json_real(side->nll_mean), "nll_sem", wl_json_real(side->nll_sem));
}

static json_t *verdict_json(const struct verify_result *v) {
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "n",
                     (json_int_t)v->n, "original", side_json(&v->original), "changed",
                     side_json(&v->changed), "kl_mean", wl_json_real(v->kl_mean), "kl_sem",
                     wl_json_real(v->kl_sem), "kl_median", wl_json_real(v->kl_median), "kl_p99",
                     wl_json_real(v->kl_p99), "kl_max", wl_json_real(v->kl_max), "top1_share",
                     wl_json_real(v->top1_share), "log_ppl_ratio", wl_json_real(v->log_ppl_ratio),
                     "log_ppl_ratio_sem", wl_json_real(v->log_ppl_ratio_sem));
}

static json_t *result_json(const struct job *job, const char *refusal) {
    return json_pack("{s:o, s:b, s:s*, s:I, s:o, s:O, s:o, s:{s:f, s:f, s:f, s:f}}", "plan",
                     plan_json(job), "is_written", refusal == NULL, "refusal", refusal, "out_bytes",
                     (json_int_t)compress_target_bytes(job->target), "stream_error",
                     wl_json_real(job->stream_error), "layers", job->layers, "verdict",
                     verdict_json(&job->verdict), "seconds", "text", job->seconds[STAGE_TEXT],
                     "blocks", job->seconds[STAGE_WALK], "writing", job->seconds[STAGE_WRITE],
                     "verifying", job->seconds[STAGE_VERIFY]);
}

// ---- all of it ----

static enum wl_status open_job(struct job *job, struct wl_err *err) {
    enum wl_status status = wl_json_get_string(job->request, "path", &job->path, err);
    if (status == WL_OK) {
        status = wl_json_get_string(job->request, "out", &job->out, err);
    }
    if (status != WL_OK) {
        return status;
    }
    job->scratch = wl_json_opt_string(job->request, "scratch", "/tmp");
    if (snprintf(job->unverified, sizeof job->unverified, "%s.unverified", job->out) >=
        (int)sizeof job->unverified) {
        return wl_err_set(err, WL_LIMIT, "out: path too long");
    }
    enum compress_force force =
        wl_json_opt_bool(job->request, "force", false) ? COMPRESS_FORCE : COMPRESS_CAREFUL;
    status = compress_source_open(&job->source, job->path, force, err);
    if (status == WL_OK) {
        status = compress_target_new(&job->source.file, &job->target, err);
    }
    if (status == WL_OK) {
        status = pack_open(&job->pack, job->scratch, err);
    }
    return status == WL_OK ? plan_width(job, err) : status;
}

static enum wl_status run_stages(struct job *job, struct wl_err *err) {
    static enum wl_status (*const RUN[N_STAGES])(struct job *,
                                                 struct wl_err *) = {[STAGE_TEXT] = make_text,
                                                                     [STAGE_WALK] = walk,
                                                                     [STAGE_WRITE] = write_file,
                                                                     [STAGE_VERIFY] = verify};
    enum wl_status status = WL_OK;
    for (int stage = 0; stage < N_STAGES && status == WL_OK; stage++) {
        enter(job, (enum stage)stage);
        status = RUN[stage](job, err);
    }
    enter(job, STAGE_VERIFY); // counts the last stage's time
    return status;
}

static enum wl_status make_and_judge(struct job *job, json_t **result, struct wl_err *err) {
    enum wl_status status = run_stages(job, err);
    if (status == WL_OK) {
        status = publish(job, err);
        if (status == WL_OK || status == WL_GATE) {
            *result = result_json(job, status == WL_OK ? NULL : err->message);
            status = WL_OK;
        }
    }
    return status;
}

enum wl_status job_request(const struct reply *reply, const json_t *request, json_t **result,
                           struct wl_err *err) {
    struct job job = {.reply = reply, .request = request, .stream_error = NAN};
    job.layers = json_array();
    job.begin_ns = os_now_ns();
    interrupt_init(&job.interrupt, reply->io, 0);
    enum wl_status status = open_job(&job, err);
    if (status == WL_OK && wl_json_opt_bool(request, "dry_run", false)) {
        *result = json_pack("{s:o}", "plan", plan_json(&job));
    } else if (status == WL_OK) {
        status = make_and_judge(&job, result, err);
    }
    if (job.unverified[0]) {
        unlink(job.unverified);
    }
    json_decref(job.layers);
    plan_release(&job.plan);
    compress_target_free(job.target);
    pack_release(&job.pack);
    compress_calib_release(&job.calib);
    compress_source_close(&job.source);
    return status;
}
