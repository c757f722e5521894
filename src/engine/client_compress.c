#include <stdio.h>

#include "base/json.h"
#include "engine/client_request.h"

enum wl_status engine_compress(struct engine *engine, const json_t *request,
                               void (*on_progress)(void *context, const char *what, double done),
                               void *context, json_t **result, struct wl_err *err) {
    struct wl_err local;
    char doing[300];
    struct client_progress progress = {.on_progress = on_progress, .context = context};
    err = err ? err : &local;
    *result = NULL;
    snprintf(doing, sizeof doing, "compressing '%.200s'", wl_json_opt_string(request, "path", ""));
    struct link_request exchange =
        client_prepare(engine, ENGINE_COMPRESS, NULL, -1, CLIENT_SECONDS(7200));
    exchange.doing = doing;
    exchange.advice = "the file may be damaged, or the memory too small; the same command goes on "
                      "where it stopped";
    exchange.on_event = client_take_progress;
    exchange.context = &progress;
    enum wl_status status = client_exchange(engine, &exchange, json_deep_copy(request), err);
    if (status == WL_OK && !json_is_object(exchange.result)) {
        wl_err_set(err, WL_PROTOCOL, "the answer is not an object");
        status = client_distrust(engine, doing, err);
    }
    if (status == WL_OK) {
        *result = json_incref(exchange.result);
    }
    json_decref(exchange.result);
    return status;
}

enum wl_status engine_certify(struct engine *engine, const char *path, const json_t *certificate,
                              const char *work, struct wl_err *err) {
    struct wl_err local;
    err = err ? err : &local;
    struct link_request exchange =
        client_prepare(engine, ENGINE_CERTIFY, NULL, CLIENT_SECONDS(600), CLIENT_SECONDS(600));
    exchange.doing = "writing the certificate";
    exchange.advice = "the disk may be full";
    exchange.on_event = client_ignore_progress;
    json_t *body = json_object();
    client_set_text(&body, "path", path);
    client_set_text(&body, "work", work);
    client_set(&body, "certificate", json_deep_copy(certificate));
    enum wl_status status = client_exchange(engine, &exchange, body, err);
    json_decref(exchange.result);
    return status;
}
