#include <stdio.h>

#include "base/json.h"
#include "engine/client_request.h"

static const char ADVICE[] = "the file may be damaged, or need a newer llama.cpp";

enum wl_status engine_load_vision(struct engine *engine,
                                  const struct engine_vision_options *options,
                                  struct engine_vision *vision, struct engine_phase *load,
                                  struct wl_err *err) {
    struct wl_err local;
    struct engine_vision unused_vision;
    struct engine_phase unused_phase;
    char doing[300];
    err = err ? err : &local;
    snprintf(doing, sizeof doing, "loading the image encoder '%.200s'",
             options->mmproj ? options->mmproj : "again");
    struct link_request request =
        client_prepare(engine, ENGINE_VISION, &options->wait, CLIENT_SECONDS(600), 0);
    request.doing = doing;
    request.advice = ADVICE;
    request.on_event = client_ignore_progress;
    json_t *body = json_object();
    client_set_budget(&body, options->mmproj, options->image_min_tokens, options->image_max_tokens);
    enum wl_status status = client_exchange(engine, &request, body, err);
    if (status == WL_OK) {
        struct engine_bounds bounds = client_bounds(&request);
        status = engine_phase_decode(json_object_get(request.result, "phase"), &bounds,
                                     load ? load : &unused_phase, err);
        if (status == WL_OK) {
            status = engine_vision_decode(json_object_get(request.result, "vision"),
                                          vision ? vision : &unused_vision, err);
        }
        status = status == WL_OK ? WL_OK : client_distrust(engine, doing, err);
    }
    json_decref(request.result);
    return status;
}

enum wl_status engine_open_counter(struct engine *engine,
                                   const struct engine_counter_options *options,
                                   struct engine_vision *vision, struct wl_err *err) {
    struct wl_err local;
    struct engine_vision unused;
    char doing[300];
    err = err ? err : &local;
    snprintf(doing, sizeof doing, "opening '%.200s' to count",
             options->mmproj ? options->mmproj : options->model);
    struct link_request request =
        client_prepare(engine, ENGINE_COUNTER, NULL, CLIENT_SECONDS(120), 0);
    request.doing = doing;
    request.advice = ADVICE;
    request.on_event = client_ignore_progress;
    json_t *body = json_object();
    client_set_budget(&body, options->mmproj ? options->mmproj : "", options->image_min_tokens,
                      options->image_max_tokens);
    client_set_text(&body, "model", options->model);
    enum wl_status status = client_exchange(engine, &request, body, err);
    if (vision) {
        *vision = (struct engine_vision){0};
    }
    if (status == WL_OK && options->mmproj) {
        status = engine_vision_decode(json_object_get(request.result, "vision"),
                                      vision ? vision : &unused, err);
        status = status == WL_OK ? WL_OK : client_distrust(engine, doing, err);
    }
    json_decref(request.result);
    return status;
}

static json_t *sizes_body(const struct engine_image_size *sizes, size_t n) {
    json_t *body = json_object();
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *size = json_array();
        json_array_append_new(size, json_integer(sizes[i].width));
        json_array_append_new(size, json_integer(sizes[i].height));
        json_array_append_new(array, size);
    }
    client_set(&body, "sizes", array);
    return body;
}

enum wl_status engine_count_images(struct engine *engine, const struct engine_image_size *sizes,
                                   size_t n, struct engine_image_count *counts,
                                   struct wl_err *err) {
    struct wl_err local;
    err = err ? err : &local;
    if (n == 0 || n > ENGINE_MAX_COUNTS) {
        return wl_err_set(err, WL_USAGE,
                          "counting takes 1 to %d sizes at a time, asked for were %zu",
                          ENGINE_MAX_COUNTS, n);
    }
    struct link_request request =
        client_prepare(engine, ENGINE_COUNT, NULL, CLIENT_SECONDS(120), 0);
    request.doing = "counting image tokens";
    enum wl_status status = client_exchange(engine, &request, sizes_body(sizes, n), err);
    if (status == WL_OK && engine_counts_decode(request.result, n, counts, err) != WL_OK) {
        status = client_distrust(engine, request.doing, err);
    }
    json_decref(request.result);
    return status;
}

enum wl_status engine_count_prompt(struct engine *engine, const struct engine_prompt *prompt,
                                   int64_t *n_tokens, struct wl_err *err) {
    struct wl_err local;
    err = err ? err : &local;
    *n_tokens = 0;
    struct link_request request =
        client_prepare(engine, ENGINE_COUNT, NULL, CLIENT_SECONDS(120), 0);
    request.doing = "counting the tokens of a prompt";
    json_t *body = sizes_body(prompt->images, prompt->n_images);
    if (prompt->text) {
        client_set_text(&body, "text", prompt->text);
    } else {
        client_set(&body, "messages", client_messages(prompt->messages, prompt->n_messages));
    }
    enum wl_status status = client_exchange(engine, &request, body, err);
    if (status == WL_OK && (wl_json_get_i64(request.result, "n_tokens", n_tokens, err) != WL_OK ||
                            *n_tokens < 0 || *n_tokens > ENGINE_MAX_TOKENS)) {
        wl_err_set(err, WL_PROTOCOL, "key 'n_tokens': expected 0 to %d", ENGINE_MAX_TOKENS);
        status = client_distrust(engine, request.doing, err);
    }
    json_decref(request.result);
    return status;
}
