#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/client_request.h"
#include "engine/result_field.h"

enum { MAX_LAYERS = 4096 };

// ---- request ----

static json_t *body_of(const struct engine_compress_options *options) {
    json_t *body = json_object();
    client_set_text(&body, "path", options->path);
    client_set_text(&body, "out", options->out);
    if (options->n_ff) {
        client_set_number(&body, "n_ff", options->n_ff);
    } else {
        client_set(&body, "cut", wl_json_real(options->cut));
    }
    client_set_text(&body, "method", options->method);
    client_set(&body, "heal_seconds", wl_json_real(options->heal_seconds));
    client_set_text(&body, "text", options->text);
    client_set_text(&body, "tasks", options->tasks);
    if (options->n_tokens) {
        client_set_number(&body, "n_tokens", options->n_tokens);
    }
    if (options->floor_kl > 0) {
        client_set(&body, "floor", wl_json_real(options->floor_kl));
    }
    client_set_number(&body, "threads", options->threads);
    client_set_number(&body, "seed", options->seed & INT64_MAX); // JSON integers have a sign
    client_set_bool(&body, "force", options->is_forced);
    client_set_bool(&body, "dry_run", options->is_dry_run);
    client_set_text(&body, "scratch", options->scratch);
    return body;
}

// ---- answer ----

struct number {
    const char *key;
    double *out;
};

// Each is absent, null (NaN) or at least `low`.
static enum wl_status take_numbers(const json_t *object, const struct number *rows, size_t n,
                                   double low, struct wl_err *err) {
    for (size_t i = 0; i < n; i++) {
        enum wl_status status =
            field_protocol(wl_json_get_double(object, rows[i].key, rows[i].out, err), err);
        if (status != WL_OK) {
            return status;
        }
        if (*rows[i].out < low) {
            return wl_err_set(err, WL_PROTOCOL, "key '%s': expected %g or more, found %g",
                              rows[i].key, low, *rows[i].out);
        }
    }
    return WL_OK;
}

static enum wl_status take_plan(const json_t *json, struct engine_compress_plan *plan,
                                struct wl_err *err) {
    const struct {
        const char *key;
        uint32_t *out;
    } words[] = {{"n_layer", &plan->n_layer},
                 {"n_ff_before", &plan->n_ff_before},
                 {"n_ff", &plan->n_ff},
                 {"step", &plan->step}};
    const struct {
        const char *key;
        int64_t *out;
    } longs[] = {{"in_bytes", &plan->in_bytes},
                 {"out_bytes", &plan->out_bytes},
                 {"block_weights_before", &plan->block_weights_before},
                 {"block_weights_after", &plan->block_weights_after},
                 {"ffn_weights_before", &plan->ffn_weights_before},
                 {"n_tokens", &plan->n_tokens}};
    enum wl_status status = field_object(json, "plan", err);
    if (status == WL_OK) {
        status = field_word(json, "arch", plan->arch, err);
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0] && status == WL_OK; i++) {
        status = field_u32(json, words[i].key, INT32_MAX, words[i].out, err);
    }
    for (size_t i = 0; i < sizeof longs / sizeof longs[0] && status == WL_OK; i++) {
        status = field_i64(json, longs[i].key, 1, INT64_MAX, longs[i].out, err);
    }
    if (status == WL_OK && (plan->n_ff > plan->n_ff_before || plan->n_layer > MAX_LAYERS)) {
        status = wl_err_set(err, WL_PROTOCOL, "plan: %u of %u neurons in %u blocks", plan->n_ff,
                            plan->n_ff_before, plan->n_layer);
    }
    return status;
}

static enum wl_status take_layer(const json_t *json, const struct engine_compress_plan *plan,
                                 struct engine_compress_layer *layer, struct wl_err *err) {
    const struct number errors[] = {{"error_cut", &layer->error_cut},
                                    {"error_repaired", &layer->error_repaired},
                                    {"error_healed", &layer->error_healed},
                                    {"seconds", &layer->seconds}};
    enum wl_status status = field_object(json, "layers", err);
    if (status == WL_OK) {
        status = field_u32(json, "layer", plan->n_layer - 1, &layer->layer, err);
    }
    if (status == WL_OK) {
        status = field_u32(json, "n_ff", plan->n_ff_before, &layer->n_ff, err);
    }
    return status == WL_OK ? take_numbers(json, errors, sizeof errors / sizeof errors[0], 0, err)
                           : status;
}

static enum wl_status take_layers(const json_t *json, struct engine_compress_result *out,
                                  struct wl_err *err) {
    size_t n = json_array_size(json);
    if (!json_is_array(json) || n > out->plan.n_layer) {
        return wl_err_set(err, WL_PROTOCOL, "key 'layers': expected an array of at most %u",
                          out->plan.n_layer);
    }
    out->layers = calloc(n + 1, sizeof *out->layers);
    if (!out->layers) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu blocks", n);
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        status = take_layer(json_array_get(json, i), &out->plan, &out->layers[i], err);
        out->n_layers = i + 1;
    }
    return status;
}

static enum wl_status take_side(const json_t *json, const char *key,
                                struct engine_compress_side *side, struct wl_err *err) {
    const struct number rows[] = {{"perplexity", &side->perplexity},
                                  {"nll_mean", &side->nll_mean},
                                  {"nll_sem", &side->nll_sem}};
    const json_t *object = json_object_get(json, key);
    enum wl_status status = field_object(object, key, err);
    return status == WL_OK ? take_numbers(object, rows, 3, 0, err) : status;
}

static enum wl_status take_verdict(const json_t *json, struct engine_compress_verdict *v,
                                   struct wl_err *err) {
    const struct number rows[] = {{"kl_mean", &v->kl_mean},
                                  {"kl_sem", &v->kl_sem},
                                  {"kl_median", &v->kl_median},
                                  {"kl_p99", &v->kl_p99},
                                  {"kl_max", &v->kl_max},
                                  {"top1_share", &v->top1_share},
                                  {"log_ppl_ratio", &v->log_ppl_ratio},
                                  {"log_ppl_ratio_sem", &v->log_ppl_ratio_sem}};
    enum wl_status status = field_object(json, "verdict", err);
    if (status == WL_OK) {
        status = field_i64(json, "n", 1, INT64_MAX, &v->n, err);
    }
    if (status == WL_OK) { // the divergence may round to a hair below 0, the ratio is of any sign
        status = take_numbers(json, rows, sizeof rows / sizeof rows[0], -INFINITY, err);
    }
    if (status == WL_OK) {
        status = take_side(json, "original", &v->original, err);
    }
    return status == WL_OK ? take_side(json, "changed", &v->changed, err) : status;
}

static enum wl_status take_outcome(const json_t *json, struct engine_compress_result *out,
                                   struct wl_err *err) {
    const json_t *seconds = json_object_get(json, "seconds");
    const struct number times[] = {{"text", &out->text_seconds},
                                   {"blocks", &out->blocks_seconds},
                                   {"writing", &out->writing_seconds},
                                   {"verifying", &out->verifying_seconds}};
    const struct number stream = {"stream_error", &out->stream_error};
    enum wl_status status = field_bool(json, "is_written", &out->is_written, err);
    if (status == WL_OK) {
        status = field_i64(json, "out_bytes", 1, INT64_MAX, &out->out_bytes, err);
    }
    if (status == WL_OK) {
        status = take_numbers(json, &stream, 1, 0, err);
    }
    if (status == WL_OK) {
        status = take_layers(json_object_get(json, "layers"), out, err);
    }
    if (status == WL_OK) {
        status = take_verdict(json_object_get(json, "verdict"), &out->verdict, err);
    }
    if (status == WL_OK) {
        status = field_object(seconds, "seconds", err);
    }
    field_loose_text(json, "refusal", out->refusal, sizeof out->refusal);
    return status == WL_OK ? take_numbers(seconds, times, 4, 0, err) : status;
}

static enum wl_status decode(const json_t *json, bool is_dry_run,
                             struct engine_compress_result *out, struct wl_err *err) {
    enum wl_status status = take_plan(json_object_get(json, "plan"), &out->plan, err);
    return status == WL_OK && !is_dry_run ? take_outcome(json, out, err) : status;
}

// ---- both ----

enum wl_status engine_compress(struct engine *engine, const struct engine_compress_options *options,
                               void (*on_progress)(void *context, const char *what, double done),
                               void *context, struct engine_compress_result *out,
                               struct wl_err *err) {
    struct wl_err local;
    char doing[300];
    struct client_progress progress = {.on_progress = on_progress, .context = context};
    err = err ? err : &local;
    *out = (struct engine_compress_result){0};
    snprintf(doing, sizeof doing, "compressing '%.200s'", options->path);
    struct link_request request =
        client_prepare(engine, ENGINE_COMPRESS, &options->wait, -1, CLIENT_SECONDS(7200));
    request.doing = doing;
    request.advice = "the file may be damaged, or the memory too small";
    request.on_event = client_take_progress;
    request.context = &progress;
    enum wl_status status = client_exchange(engine, &request, body_of(options), err);
    if (status == WL_OK) {
        status = decode(request.result, options->is_dry_run, out, err);
        status = status == WL_OK ? WL_OK : client_distrust(engine, doing, err);
    }
    json_decref(request.result);
    return status;
}

void engine_compress_result_release(struct engine_compress_result *result) {
    free(result->layers);
    *result = (struct engine_compress_result){0};
}
