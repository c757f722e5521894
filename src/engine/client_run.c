#include <string.h>

#include "base/json.h"
#include "engine/client_request.h"

// Begin and end of every phase a run may have, twice over.
enum { MAX_PHASE_EVENTS = 4 * ENGINE_MAX_PHASES };

struct run {
    const struct engine_run_options *options;
    const struct engine_run_events *events;
    struct buf times; // the TOKEN_TIMES payload, decoded once n_generated is known
    bool has_times;
    uint32_t n_token_events, n_phase_events;
};

static enum wl_status parse_event(const char *payload, size_t len, const char *const keys[2],
                                  json_t **event, int64_t out[2], struct wl_err *err) {
    enum wl_status status = wl_json_parse(payload, len, event, err);
    for (int i = 0; i < 2 && status == WL_OK; i++) {
        status = wl_json_get_i64(*event, keys[i], &out[i], err);
        if (status == WL_OK && out[i] < 0) {
            status = wl_err_set(err, WL_PROTOCOL, "key '%s' is negative", keys[i]);
        }
    }
    return status;
}

static enum wl_status take_phase(struct run *run, const char *payload, size_t len,
                                 struct wl_err *err) {
    static const char *const KEYS[2] = {"t_ns", "cpu_ns"};
    json_t *event = NULL;
    int64_t numbers[2];
    const char *phase, *edge;
    enum wl_status status = parse_event(payload, len, KEYS, &event, numbers, err);
    if (status == WL_OK) {
        status = wl_json_get_string(event, "phase", &phase, err);
    }
    if (status == WL_OK) {
        status = wl_json_get_string(event, "edge", &edge, err);
    }
    if (status == WL_OK && strcmp(edge, "begin") != 0 && strcmp(edge, "end") != 0) {
        status =
            wl_err_set(err, WL_PROTOCOL, "key 'edge': expected begin or end, found '%.20s'", edge);
    }
    if (status == WL_OK && ++run->n_phase_events > MAX_PHASE_EVENTS) {
        status = wl_err_set(err, WL_PROTOCOL, "more than %d phase events", MAX_PHASE_EVENTS);
    }
    if (status == WL_OK && run->events && run->events->on_phase) {
        run->events->on_phase(run->events->context, phase, edge[0] == 'b', numbers[0], numbers[1]);
    }
    json_decref(event);
    return status;
}

static enum wl_status take_token(struct run *run, const char *payload, size_t len,
                                 struct wl_err *err) {
    static const char *const KEYS[2] = {"id", "t_ns"};
    json_t *event = NULL;
    int64_t numbers[2];
    const char *text;
    enum wl_status status = parse_event(payload, len, KEYS, &event, numbers, err);
    if (status == WL_OK) {
        status = wl_json_get_string(event, "text", &text, err);
    }
    if (status == WL_OK && numbers[0] > INT32_MAX) {
        status = wl_err_set(err, WL_PROTOCOL, "key 'id' is no token");
    }
    if (status == WL_OK && ++run->n_token_events > run->options->n_predict) {
        status = wl_err_set(err, WL_PROTOCOL, "more than the %u tokens asked for",
                            run->options->n_predict);
    }
    if (status == WL_OK && run->events && run->events->on_token) {
        run->events->on_token(run->events->context, (int32_t)numbers[0], text, numbers[1]);
    }
    json_decref(event);
    return status;
}

static enum wl_status take_run_event(void *context, uint16_t type, const char *payload, size_t len,
                                     struct wl_err *err) {
    struct run *run = context;
    enum wl_status status = WL_OK;
    if (type == ENGINE_PHASE) {
        status = take_phase(run, payload, len, err);
    } else if (type == ENGINE_TOKEN) {
        status = take_token(run, payload, len, err);
    } else if (type == ENGINE_TOKEN_TIMES && !run->has_times && run->options->wants_token_times) {
        run->has_times = true;
        status = buf_append(&run->times, payload, len)
                     ? WL_OK
                     : wl_err_set(err, WL_PROTOCOL, "more times than tokens asked for");
    } else {
        status = wl_err_set(err, WL_PROTOCOL, "a frame where none belongs");
    }
    if (status != WL_OK) {
        err->status = WL_PROTOCOL;
        return wl_err_prefix(err, "frame '%s'", engine_frame_name(type));
    }
    return WL_OK;
}

static json_t *image_slots(const struct engine_run_options *options) {
    json_t *slots = json_array();
    for (size_t i = 0; i < options->n_images; i++) {
        json_array_append_new(slots, json_integer(options->images[i]));
    }
    return slots;
}

static json_t *run_body(const struct engine_run_options *options, bool is_streaming) {
    json_t *body = json_object();
    if (options->n_messages) {
        client_set(&body, "messages", client_messages(options->messages, options->n_messages));
    } else {
        client_set_text(&body, "prompt", options->prompt ? options->prompt : "");
    }
    client_set_bool(&body, "template", options->is_template);
    client_set_number(&body, "n_prompt", options->n_prompt);
    client_set_number(&body, "n_predict", options->n_predict);
    client_set_bool(&body, "ignore_eos", options->ignore_eos);
    client_set_bool(&body, "stream", is_streaming);
    client_set_bool(&body, "token_times", options->wants_token_times);
    client_set(&body, "temperature", wl_json_real(options->temperature));
    client_set_number(&body, "top_k", options->top_k);
    client_set(&body, "top_p", wl_json_real(options->top_p > 0 ? options->top_p : 1)); // 1 is off
    client_set(&body, "min_p", wl_json_real(options->min_p));
    client_set_number(&body, "seed", options->seed);
    client_set_bool(&body, "reuse_prefix", options->reuse_prefix);
    client_set(&body, "max_seconds", wl_json_real(options->max_seconds));
    if (options->n_images) {
        client_set(&body, "images", image_slots(options));
        client_set_bool(&body, "is_full_decode", options->is_full_decode);
    }
    return body;
}

static enum wl_status decode_run(const struct run *run, const struct link_request *request,
                                 struct engine_run_result *out, struct wl_err *err) {
    struct engine_bounds bounds = client_bounds(request);
    bounds.n_prompt = request->was_cancelled ? 0 : run->options->n_prompt;
    bounds.n_predict = run->options->n_predict;
    bounds.n_images = (uint32_t)run->options->n_images;
    enum wl_status status = engine_run_result_decode(request->result, &bounds, out, err);
    if (status == WL_OK && out->stop == ENGINE_STOP_CANCEL && !request->was_cancelled) {
        status = wl_err_set(err, WL_PROTOCOL, "key 'stop': 'cancel', but nobody cancelled");
    }
    if (status == WL_OK && run->options->wants_token_times) {
        status = run->has_times
                     ? engine_token_times_decode(run->times.data, run->times.len, &bounds, out, err)
                     : wl_err_set(err, WL_PROTOCOL, "the token times did not come");
    }
    if (status != WL_OK) {
        engine_run_result_release(out);
    }
    return status;
}

static enum wl_status check_run_options(const struct engine_run_options *options,
                                        struct wl_err *err) {
    if (options->n_predict < 1 || options->n_predict > ENGINE_MAX_TOKENS / 2 ||
        options->n_prompt > ENGINE_MAX_TOKENS) {
        return wl_err_set(err, WL_USAGE, "a run generates 1 to %d tokens, asked for were %u",
                          ENGINE_MAX_TOKENS / 2, options->n_predict);
    }
    if (options->n_images > ENGINE_MAX_RUN_IMAGES) {
        return wl_err_set(err, WL_USAGE, "a run takes at most %d images, asked for were %zu",
                          ENGINE_MAX_RUN_IMAGES, options->n_images);
    }
    for (size_t i = 0; i < options->n_images; i++) {
        if (options->images[i] >= ENGINE_MAX_IMAGE_SLOTS) {
            return wl_err_set(err, WL_USAGE, "image slot %u: expected 0 to %d", options->images[i],
                              ENGINE_MAX_IMAGE_SLOTS - 1);
        }
    }
    return WL_OK;
}

enum wl_status engine_run(struct engine *engine, const struct engine_run_options *options,
                          const struct engine_run_events *events, struct engine_run_result *out,
                          struct wl_err *err) {
    struct wl_err local;
    err = err ? err : &local;
    *out = (struct engine_run_result){0};
    enum wl_status status = check_run_options(options, err);
    if (status != WL_OK) {
        return status;
    }
    struct run run = {.options = options, .events = events};
    buf_init(&run.times, (size_t)options->n_predict * sizeof(int64_t));
    struct link_request request =
        client_prepare(engine, ENGINE_RUN, &options->wait, -1, CLIENT_SECONDS(1800));
    request.doing = "running the model";
    request.advice = "a smaller context or batch may help";
    request.on_event = take_run_event;
    request.context = &run;
    status = client_exchange(engine, &request, run_body(options, events && events->on_token), err);
    if (status == WL_OK && (status = decode_run(&run, &request, out, err)) != WL_OK) {
        status = client_distrust(engine, request.doing, err);
    }
    if (status == WL_OK && out->stop == ENGINE_STOP_CANCEL) {
        status = wl_err_set(err, WL_INTERRUPTED, "interrupted after %u generated tokens",
                            out->n_generated);
    }
    json_decref(request.result);
    buf_release(&run.times);
    return status;
}
