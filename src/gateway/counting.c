#include "gateway/counting_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "gateway/upstream_parts.h"
#include "os/file.h"

// ---- the end of a call ----

static void release(struct count_call *call) {
    *(call->previous ? &call->previous->next : &call->counting->calls) = call->next;
    if (call->next) {
        call->next->previous = call->previous;
    }
    buf_release(&call->body);
    buf_release(&call->answer);
    free(call);
}

void count_finish(struct count_call *call, enum wl_status status, int http_status,
                  const char *message) {
    void (*on_done)(void *context, enum wl_status status, int64_t n_tokens, int http_status,
                    const char *message) = call->on_done;
    void *context = call->context;
    int64_t n_tokens = status == WL_OK ? call->n_tokens : 0;
    char text[WL_ERR_MESSAGE_BYTES]; // the message may lie in the call
    struct wl_err clean;
    wl_err_set(&clean, status, "%s", message);
    memcpy(text, clean.message, sizeof text);
    release(call);
    on_done(context, status, n_tokens, http_status, text);
}

static struct count_call *find_ready(struct counting *counting) {
    struct count_call *call = counting->calls;
    while (call && !call->is_ready) {
        call = call->next;
    }
    return call;
}

static void on_later(uv_timer_t *timer) {
    struct counting *counting = timer->data;
    struct count_call *call = find_ready(counting);
    if (call) { // one at a time: its end may end others, or counting itself
        uv_timer_start(timer, on_later, 0, 0);
        count_finish(call, call->status, call->status == WL_OK ? 200 : 0, call->message);
    }
}

void count_finish_later(struct count_call *call, enum wl_status status, const char *message) {
    call->is_ready = true;
    call->status = status;
    str_copy(call->message, sizeof call->message, message);
    uv_timer_start(&call->counting->later, on_later, 0, 0);
}

void count_cancel(struct count_call *call) {
    if (call) {
        http_call_cancel(call->http);
        count_engine_cancel(call);
        release(call);
    }
}

// ---- the start of a call ----

struct model_files {
    char model[OS_PATH_BYTES], mmproj[OS_PATH_BYTES];
};

static bool find_files(const struct counting *counting, const char *model,
                       struct model_files *files) {
    *files = (struct model_files){0};
    return counting->engines && counting->find_model &&
           counting->find_model(counting->context, model, files->model, sizeof files->model,
                                files->mmproj, sizeof files->mmproj);
}

bool counting_can(const struct counting *counting, const char *model) {
    struct upstream_facts facts;
    struct model_files files;
    upstream_facts(counting->upstream, &facts);
    return !count_server_reason(&facts, NULL) || find_files(counting, model, &files);
}

static void start(struct count_call *call) {
    struct counting *counting = call->counting;
    struct upstream_facts facts;
    struct model_files files;
    upstream_facts(counting->upstream, &facts);
    const char *reason = count_server_reason(&facts, call->request);
    if (!reason) {
        count_server_start(call, facts.kind);
    } else if (find_files(counting, call->request->model, &files)) {
        call->kind = facts.kind;
        count_engine_start(call, counting->engines, files.model, files.mmproj);
    } else {
        count_finish_later(call, WL_UNSUPPORTED, reason);
    }
}

enum wl_status count_start(struct counting *counting, const struct openai_request *request,
                           const char *text, size_t n_text,
                           void (*on_done)(void *context, enum wl_status status, int64_t n_tokens,
                                           int http_status, const char *message),
                           void *context, struct count_call **out, struct wl_err *err) {
    struct count_call *call = calloc(1, sizeof *call);
    *out = NULL;
    if (!call) {
        return wl_err_set(err, WL_MEMORY, "no memory to count tokens");
    }
    *call = (struct count_call){.counting = counting,
                                .request = request,
                                .text = text,
                                .n_text = n_text,
                                .on_done = on_done,
                                .context = context,
                                .next = counting->calls};
    if (call->next) {
        call->next->previous = call;
    }
    counting->calls = call;
    start(call);
    *out = call;
    return WL_OK;
}

// ---- open and close ----

enum wl_status counting_open(const struct counting_options *options, struct counting **out,
                             struct wl_err *err) {
    struct counting *counting = calloc(1, sizeof *counting);
    *out = NULL;
    if (!counting) {
        return wl_err_set(err, WL_MEMORY, "no memory to count tokens");
    }
    *counting = (struct counting){.client = options->client,
                                  .upstream = options->upstream,
                                  .find_model = options->find_model,
                                  .context = options->context};
    enum wl_status status = WL_OK;
    if (options->find_model) {
        status = counting_engines_open(options->worker, &counting->engines, err);
    }
    if (status != WL_OK && status != WL_NOT_FOUND) { // without an engine the server may still count
        free(counting);
        return status;
    }
    uv_timer_init(options->upstream->loop, &counting->later);
    counting->later.data = counting;
    *out = counting;
    return WL_OK;
}

static void on_timer_closed(uv_handle_t *handle) {
    free(handle->data);
}

void counting_close(struct counting *counting) {
    if (!counting) {
        return;
    }
    for (struct count_call *call = counting->calls, *next; call; call = next) {
        next = call->next;
        count_cancel(call);
    }
    counting_engines_close(counting->engines);
    uv_close((uv_handle_t *)&counting->later, on_timer_closed);
}
