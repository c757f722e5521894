#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "engine/client_request.h"

static void set_text_model(json_t **body, const struct engine_synth_options *options) {
    client_set_text(body, "arch", options->arch);
    client_set_number(body, "n_layer", options->n_layer);
    client_set_number(body, "n_embd", options->n_embd);
    client_set_number(body, "n_head", options->n_head);
    client_set_number(body, "n_head_kv", options->n_head_kv);
    client_set_number(body, "head_dim", options->head_dim);
    client_set_number(body, "n_ff", options->n_ff);
    client_set_number(body, "n_vocab", options->n_vocab);
    client_set_number(body, "n_ctx", options->n_ctx);
    client_set_number(body, "n_deepstack", options->n_deepstack);
    client_set_bool(body, "tied", options->is_tied);
    if (options->rope_freq_base > 0) {
        client_set(body, "rope_freq_base", wl_json_real(options->rope_freq_base));
    }
}

static void set_vision(json_t **body, const struct engine_synth_vision *vision) {
    client_set_text(body, "projector", vision->projector);
    client_set_number(body, "v_layer", vision->n_layer);
    client_set_number(body, "v_embd", vision->n_embd);
    client_set_number(body, "v_head", vision->n_head);
    client_set_number(body, "v_ff", vision->n_ff);
    client_set_number(body, "patch_size", vision->patch_size);
    client_set_number(body, "image_size", vision->image_size);
    client_set_number(body, "merge", vision->n_merge);
    client_set_number(body, "n_embd_out", vision->n_embd_out);
    client_set_number(body, "preproc_image_size", vision->preproc_image_size);
    client_set_number(body, "min_pixels", vision->min_pixels);
    client_set_number(body, "max_pixels", vision->max_pixels);
    client_set_number(body, "n_deepstack", vision->n_deepstack);
    if (vision->window_pattern > 0) {
        client_set_number(body, "window_pattern", vision->window_pattern);
    }
}

static json_t *synth_body(const struct engine_synth_options *options) {
    json_t *body = json_object();
    client_set_text(&body, "path", options->path);
    client_set_text(&body, "type", options->type);
    client_set_text(&body, "name", options->name);
    client_set_number(&body, "seed", options->seed & INT64_MAX); // JSON integers have a sign
    if (options->vision) {
        set_vision(&body, options->vision);
    } else {
        set_text_model(&body, options);
    }
    return body;
}

static enum wl_status decode_synth(const json_t *result, struct engine_synth_result *out,
                                   struct wl_err *err) {
    enum wl_status status = wl_json_get_i64(result, "file_bytes", &out->file_bytes, err);
    if (status == WL_OK) {
        status = wl_json_get_i64(result, "n_params", &out->n_params, err);
    }
    if (status != WL_OK) {
        return wl_err_set(err, WL_PROTOCOL, "%s", err->message);
    }
    if (out->file_bytes <= 0 || out->n_params <= 0) {
        return wl_err_set(err, WL_PROTOCOL, "file_bytes and n_params must be above 0");
    }
    return WL_OK;
}

static bool is_cancelled_result(const struct link_request *request) {
    return request->was_cancelled &&
           strcmp(wl_json_opt_string(request->result, "stop", ""), "cancel") == 0;
}

enum wl_status engine_synth(struct engine *engine, const struct engine_synth_options *options,
                            void (*on_progress)(void *context, const char *what, double done),
                            void *context, struct engine_synth_result *out, struct wl_err *err) {
    struct wl_err local;
    char doing[300];
    struct client_progress progress = {.on_progress = on_progress, .context = context};
    err = err ? err : &local;
    *out = (struct engine_synth_result){0};
    snprintf(doing, sizeof doing, "writing '%.200s'", options->path);
    struct link_request request = client_prepare(engine, ENGINE_SYNTH, &options->wait,
                                                 CLIENT_SECONDS(3600), CLIENT_SECONDS(600));
    request.doing = doing;
    request.advice = "check the free space there, and the shape";
    request.on_event = client_take_progress;
    request.context = &progress;
    enum wl_status status = client_exchange(engine, &request, synth_body(options), err);
    if (status == WL_OK && is_cancelled_result(&request)) {
        status = wl_err_set(err, WL_INTERRUPTED, "interrupted while %s", doing);
    } else if (status == WL_OK && decode_synth(request.result, out, err) != WL_OK) {
        status = client_distrust(engine, doing, err);
    }
    json_decref(request.result);
    return status;
}
