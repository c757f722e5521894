#include "engine/client_request.h"

#include <string.h>

#include "base/json.h"

void client_forget_process(struct engine *engine) {
    json_decref(engine->hello);
    engine->hello = NULL;
}

static int64_t span_or(int64_t span_ns, int64_t fallback_ns) {
    return span_ns ? span_ns : fallback_ns;
}

struct link_request client_prepare(const struct engine *engine, uint16_t type,
                                   const struct engine_wait *wait, int64_t default_total_ns,
                                   int64_t default_silence_ns) {
    static const struct engine_wait NONE = {0};
    wait = wait ? wait : &NONE;
    bool has_hook = wait->is_cancelled != NULL;
    return (struct link_request){
        .type = type,
        .advice = "",
        .total_ns = span_or(wait->total_ns, default_total_ns),
        .silence_ns = span_or(wait->silence_ns, default_silence_ns),
        .cancel_grace_ns = engine->cancel_grace_ns,
        .is_cancellable = type == ENGINE_RUN || type == ENGINE_SYNTH || type == ENGINE_COMPRESS,
        .is_cancelled = has_hook ? wait->is_cancelled : engine->is_cancelled,
        .cancel_context = has_hook ? wait->cancel_context : engine->cancel_context,
    };
}

static enum wl_status exchange(struct engine *engine, struct link_request *request,
                               struct wl_err *err) {
    if (!engine->hello) {
        return wl_err_set(err, WL_CRASHED, "the engine is not running; start it again first");
    }
    enum wl_status status = link_exchange(&engine->link, request, err);
    if (engine->link.socket_fd < 0) {
        client_forget_process(engine);
    }
    return status;
}

enum wl_status client_exchange(struct engine *engine, struct link_request *request, json_t *body,
                               struct wl_err *err) {
    enum wl_status status;
    if (engine->hello && !body) { // jansson refuses text that is not UTF-8
        status = wl_err_set(err, WL_INPUT, "%s: a text is not valid UTF-8", request->doing);
    } else {
        request->body = body;
        status = exchange(engine, request, err);
    }
    json_decref(body);
    return status;
}

enum wl_status client_exchange_bytes(struct engine *engine, struct link_request *request,
                                     const struct buf *bytes, struct wl_err *err) {
    request->bytes = bytes;
    return exchange(engine, request, err);
}

enum wl_status client_ignore_progress(void *context, uint16_t type, const char *payload, size_t len,
                                      struct wl_err *err) {
    (void)context, (void)payload, (void)len;
    return type == ENGINE_PROGRESS || type == ENGINE_PHASE
               ? WL_OK
               : wl_err_set(err, WL_PROTOCOL, "a '%s' frame during a load",
                            engine_frame_name(type));
}

enum wl_status client_take_progress(void *context, uint16_t type, const char *payload, size_t len,
                                    struct wl_err *err) {
    const struct client_progress *progress = context;
    json_t *event = NULL;
    double done;
    const char *what;
    enum wl_status status = type == ENGINE_PROGRESS
                                ? wl_json_parse(payload, len, &event, err)
                                : wl_err_set(err, WL_PROTOCOL, "a frame where none belongs");
    if (status == WL_OK) {
        status = wl_json_get_string(event, "what", &what, err);
    }
    if (status == WL_OK) {
        status = wl_json_get_double(event, "done", &done, err);
    }
    if (status == WL_OK && !(done >= 0 && done <= 1)) {
        status = wl_err_set(err, WL_PROTOCOL, "key 'done': expected 0 to 1");
    }
    if (status == WL_OK && progress->on_progress) {
        progress->on_progress(progress->context, what, done);
    }
    json_decref(event);
    if (status != WL_OK) {
        err->status = WL_PROTOCOL;
        return wl_err_prefix(err, "frame '%s'", engine_frame_name(type));
    }
    return WL_OK;
}

enum wl_status client_distrust(struct engine *engine, const char *doing, struct wl_err *err) {
    link_close(&engine->link, 0);
    client_forget_process(engine);
    char detail[WL_ERR_MESSAGE_BYTES];
    memcpy(detail, err->message, sizeof detail);
    return wl_err_set(err, err->status,
                      "the engine answered wrongly while %.220s, and was stopped: %.460s", doing,
                      detail);
}

void client_set(json_t **body, const char *key, json_t *value) {
    if (*body && json_object_set_new(*body, key, value) != 0) {
        json_decref(*body);
        *body = NULL;
    } else if (!*body) {
        json_decref(value);
    }
}

void client_set_text(json_t **body, const char *key, const char *text) {
    if (text) { // absent means the engine's default
        client_set(body, key, json_string(text));
    }
}

void client_set_number(json_t **body, const char *key, uint64_t value) {
    client_set(body, key, json_integer((json_int_t)value));
}

void client_set_budget(json_t **body, const char *mmproj, int32_t image_min_tokens,
                       int32_t image_max_tokens) {
    client_set_text(body, "mmproj", mmproj);
    client_set(body, "image_min_tokens", json_integer(image_min_tokens));
    client_set(body, "image_max_tokens", json_integer(image_max_tokens));
}

void client_set_bool(json_t **body, const char *key, bool value) {
    client_set(body, key, json_boolean(value));
}

struct engine_bounds client_bounds(const struct link_request *request) {
    return (struct engine_bounds){.t_min_ns = request->t0_ns, .t_max_ns = request->t1_ns};
}

json_t *client_messages(const struct engine_message *messages, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *message = json_object();
        client_set_text(&message, "role", messages[i].role);
        client_set_text(&message, "content", messages[i].content);
        if (json_array_append_new(array, message) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}
