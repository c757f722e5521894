#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "engine/client_request.h"

static json_t *body_of(const struct engine_analyze_options *options) {
    json_t *body = json_object();
    client_set_text(&body, "path", options->path);
    client_set_text(&body, "text", options->text);
    client_set_text(&body, "tasks", options->tasks);
    if (options->n_tokens) {
        client_set_number(&body, "n_tokens", options->n_tokens);
    }
    if (options->n_tokens_kl) {
        client_set_number(&body, "n_tokens_kl", options->n_tokens_kl);
    }
    client_set_bool(&body, "bonds", options->with_bonds);
    client_set_number(&body, "threads", options->threads);
    client_set_number(&body, "seed", options->seed & INT64_MAX); // JSON integers have a sign
    client_set_bool(&body, "force", options->is_forced);
    client_set_text(&body, "scratch", options->scratch);
    return body;
}

enum wl_status engine_analyze(struct engine *engine, const struct engine_analyze_options *options,
                              void (*on_progress)(void *context, const char *what, double done),
                              void *context, json_t **out, struct wl_err *err) {
    struct wl_err local;
    char doing[300];
    struct client_progress progress = {.on_progress = on_progress, .context = context};
    err = err ? err : &local;
    *out = NULL;
    snprintf(doing, sizeof doing, "analysing '%.200s'", options->path);
    struct link_request request =
        client_prepare(engine, ENGINE_ANALYZE, &options->wait, -1, CLIENT_SECONDS(7200));
    request.doing = doing;
    request.advice = "the file may be damaged, or the memory too small";
    request.on_event = client_take_progress;
    request.context = &progress;
    enum wl_status status = client_exchange(engine, &request, body_of(options), err);
    if (status == WL_OK) {
        *out = json_incref(request.result);
    }
    json_decref(request.result);
    return status;
}
