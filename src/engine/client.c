#include "engine/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "engine/client_request.h"
#include "os/process.h"

static const int64_t STOP_GRACE_NS = CLIENT_SECONDS(2);

static bool is_interrupted(void *context) {
    (void)context;
    return os_is_interrupted();
}

static const char *program_name(enum engine_program program) {
    return program == ENGINE_PROGRAM_COMPRESSOR ? "wattlaw-compressor" : "wattlaw-engine";
}

static enum wl_status check_hello(const json_t *hello, const char *expected, struct wl_err *err) {
    const char *name, *version;
    enum wl_status status = wl_json_get_string(hello, "engine", &name, err);
    if (status == WL_OK) {
        status = wl_json_get_string(hello, "version", &version, err);
    }
    if (status == WL_OK && strcmp(name, expected) != 0) {
        status = wl_err_set(err, WL_PROTOCOL, "expected %s, found '%.60s'", expected, name);
    }
    if (status == WL_OK && !json_is_array(json_object_get(hello, "caps"))) {
        status = wl_err_set(err, WL_PROTOCOL, "key 'caps': expected an array");
    }
    if (status != WL_OK) {
        err->status = WL_PROTOCOL;
        return wl_err_prefix(err, "the engine's hello");
    }
    return WL_OK;
}

static enum wl_status launch(struct engine *engine, struct wl_err *err) {
    char doing[300];
    snprintf(doing, sizeof doing, "starting '%.250s'", engine->path);
    struct link_request request = {
        .doing = doing,
        .advice = "run that program by hand to see why",
        .total_ns = engine->hello_timeout_ns,
        .is_cancelled = engine->is_cancelled,
        .cancel_context = engine->cancel_context,
    };
    const char *policy = engine->omp_wait_policy[0] ? engine->omp_wait_policy : NULL;
    enum wl_status status = link_open(&engine->link, engine->path, policy, err);
    if (status == WL_OK) {
        status = link_exchange(&engine->link, &request, err);
    }
    if (status == WL_OK) {
        status = check_hello(request.result, program_name(engine->program), err);
    }
    if (status != WL_OK) {
        json_decref(request.result);
        link_close(&engine->link, 0);
        return status;
    }
    engine->hello = request.result;
    return WL_OK;
}

static enum wl_status configure(struct engine *engine, const struct engine_options *options,
                                struct wl_err *err) {
    engine->program = options->program;
    int64_t hello_ns = options->hello_timeout_ns, grace_ns = options->cancel_grace_ns;
    engine->hello_timeout_ns = hello_ns > 0 ? hello_ns : CLIENT_SECONDS(20);
    engine->cancel_grace_ns = grace_ns > 0 ? grace_ns : CLIENT_SECONDS(5);
    engine->is_cancelled = options->is_cancelled ? options->is_cancelled : is_interrupted;
    engine->cancel_context = options->is_cancelled ? options->cancel_context : NULL;
    const char *policy = options->omp_wait_policy ? options->omp_wait_policy : "";
    if (policy[0] && strcmp(policy, "passive") != 0 && strcmp(policy, "active") != 0) {
        return wl_err_set(err, WL_USAGE, "OMP wait policy: expected passive or active, found '%s'",
                          policy);
    }
    str_copy(engine->omp_wait_policy, sizeof engine->omp_wait_policy, policy);
    if (!options->path) {
        return engine->program == ENGINE_PROGRAM_COMPRESSOR
                   ? engine_find_compressor(engine->path, err)
                   : engine_find(engine->path, err);
    }
    return str_copy(engine->path, sizeof engine->path, options->path)
               ? WL_OK
               : wl_err_set(err, WL_LIMIT, "the engine's path is too long");
}

enum wl_status engine_start(const struct engine_options *options, struct engine **out,
                            struct wl_err *err) {
    static const struct engine_options NONE = {0};
    struct wl_err local;
    err = err ? err : &local;
    *out = NULL;
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    link_init(&engine->link);
    enum wl_status status = configure(engine, options ? options : &NONE, err);
    if (status == WL_OK) {
        status = launch(engine, err);
    }
    if (status != WL_OK) {
        engine_stop(engine);
        return status;
    }
    *out = engine;
    return WL_OK;
}

void engine_stop(struct engine *engine) {
    if (!engine) {
        return;
    }
    link_close(&engine->link, STOP_GRACE_NS);
    link_release(&engine->link);
    client_forget_process(engine);
    free(engine);
}

enum wl_status engine_restart(struct engine *engine, struct wl_err *err) {
    struct wl_err local;
    link_close(&engine->link, STOP_GRACE_NS);
    client_forget_process(engine);
    return launch(engine, err ? err : &local);
}

bool engine_is_running(const struct engine *engine) {
    return engine->hello != NULL;
}

pid_t engine_pid(const struct engine *engine) {
    return engine->link.pid;
}

const json_t *engine_hello(const struct engine *engine) {
    return engine->hello;
}

bool engine_has_cap(const struct engine *engine, const char *cap) {
    const json_t *caps = json_object_get(engine->hello, "caps");
    for (size_t i = 0; i < json_array_size(caps); i++) {
        const char *name = json_string_value(json_array_get(caps, i));
        if (name && strcmp(name, cap) == 0) {
            return true;
        }
    }
    return false;
}

const char *engine_log_text(struct engine *engine) {
    link_drain_log(&engine->link);
    return engine_log_unroll(&engine->link.log);
}

static json_t *load_body(const struct engine_load_options *options) {
    json_t *body = json_object();
    client_set_text(&body, "path", options->path);
    client_set_number(&body, "threads", options->threads);
    client_set_number(&body, "threads_batch", options->threads_batch);
    client_set_number(&body, "n_ctx", options->n_ctx);
    client_set_number(&body, "n_batch", options->n_batch ? options->n_batch : 2048);
    client_set_number(&body, "n_ubatch", options->n_ubatch ? options->n_ubatch : 512);
    client_set_text(&body, "load_mode", options->load_mode);
    client_set_text(&body, "type_k", options->type_k);
    client_set_text(&body, "type_v", options->type_v);
    client_set_text(&body, "flash_attn", options->flash_attn);
    client_set_bool(&body, "repack", !options->no_repack);
    uint64_t max = options->max_ram_bytes < INT64_MAX ? options->max_ram_bytes : INT64_MAX;
    client_set_number(&body, "max_ram_bytes", max);
    if (options->mmproj) {
        client_set_budget(&body, options->mmproj, options->image_min_tokens,
                          options->image_max_tokens);
    }
    return body;
}

// The model, and the image encoder if there is one.
static enum wl_status decode_model(const json_t *result, struct engine_model *model,
                                   struct wl_err *err) {
    const json_t *vision = json_object_get(result, "vision");
    enum wl_status status = engine_model_decode(json_object_get(result, "model"), model, err);
    if (status == WL_OK && vision) {
        model->has_vision = true;
        status = engine_vision_decode(vision, &model->vision, err);
    }
    return status;
}

static enum wl_status decode_load(const struct link_request *request, bool wants_vision,
                                  struct engine_model *model, struct engine_phase *load,
                                  struct wl_err *err) {
    struct engine_model unused_model;
    struct engine_phase unused_phase;
    struct engine_bounds bounds = client_bounds(request);
    model = model ? model : &unused_model;
    enum wl_status status = engine_phase_decode(json_object_get(request->result, "phase"), &bounds,
                                                load ? load : &unused_phase, err);
    if (status == WL_OK) {
        status = decode_model(request->result, model, err);
    }
    if (status == WL_OK && model->has_vision != wants_vision) {
        status = wl_err_set(err, WL_PROTOCOL, "key 'vision': expected %s",
                            wants_vision ? "an object" : "none");
    }
    return status;
}

enum wl_status engine_load(struct engine *engine, const struct engine_load_options *options,
                           struct engine_model *model, struct engine_phase *load,
                           struct wl_err *err) {
    struct wl_err local;
    char doing[300];
    err = err ? err : &local;
    snprintf(doing, sizeof doing, "loading '%.200s'", options->path);
    struct link_request request =
        client_prepare(engine, ENGINE_LOAD, &options->wait, CLIENT_SECONDS(600), 0);
    request.doing = doing;
    request.advice = "the file may be damaged, or need a newer llama.cpp";
    request.on_event = client_ignore_progress;
    enum wl_status status = client_exchange(engine, &request, load_body(options), err);
    if (status == WL_OK &&
        (status = decode_load(&request, options->mmproj != NULL, model, load, err)) != WL_OK) {
        status = client_distrust(engine, doing, err);
    }
    json_decref(request.result);
    return status;
}

enum wl_status engine_describe(struct engine *engine, struct engine_model *out,
                               struct wl_err *err) {
    struct wl_err local;
    err = err ? err : &local;
    struct link_request request =
        client_prepare(engine, ENGINE_DESCRIBE, NULL, CLIENT_SECONDS(60), 0);
    request.doing = "describing the model";
    enum wl_status status = client_exchange(engine, &request, json_object(), err);
    if (status == WL_OK) {
        status = decode_model(request.result, out, err);
        status = status == WL_OK ? WL_OK : client_distrust(engine, request.doing, err);
    }
    json_decref(request.result);
    return status;
}

static enum wl_status ask_nothing(struct engine *engine, uint16_t type, const char *doing,
                                  int64_t total_ns, struct wl_err *err) {
    struct wl_err local;
    struct link_request request = client_prepare(engine, type, NULL, total_ns, 0);
    request.doing = doing;
    enum wl_status status = client_exchange(engine, &request, json_object(), err ? err : &local);
    json_decref(request.result);
    return status;
}

enum wl_status engine_unload(struct engine *engine, struct wl_err *err) {
    return ask_nothing(engine, ENGINE_UNLOAD, "unloading the model", CLIENT_SECONDS(120), err);
}

enum wl_status engine_ping(struct engine *engine, struct wl_err *err) {
    return ask_nothing(engine, ENGINE_PING, "answering a ping", CLIENT_SECONDS(10), err);
}

struct token_list {
    int32_t *ids;
    size_t n;
    bool has_come;
};

static enum wl_status take_tokens(void *context, uint16_t type, const char *payload, size_t len,
                                  struct wl_err *err) {
    struct token_list *list = context;
    if (type != ENGINE_TOKENS || list->has_come) {
        return wl_err_set(err, WL_PROTOCOL, "a '%s' frame where none belongs",
                          engine_frame_name(type));
    }
    list->has_come = true;
    return engine_tokens_decode(payload, len, &list->ids, &list->n, err);
}

static enum wl_status check_token_count(const struct token_list *list, const json_t *result,
                                        struct wl_err *err) {
    int64_t n_tokens;
    enum wl_status status = wl_json_get_i64(result, "n_tokens", &n_tokens, err);
    if (status != WL_OK) {
        return wl_err_set(err, WL_PROTOCOL, "%s", err->message);
    }
    if (!list->has_come || n_tokens < 0 || (uint64_t)n_tokens != list->n) {
        return wl_err_set(err, WL_PROTOCOL, "n_tokens is %" PRId64 ", but %zu tokens came",
                          n_tokens, list->n);
    }
    return WL_OK;
}

enum wl_status engine_tokenize(struct engine *engine, const struct engine_tokenize_options *options,
                               size_t *n_tokens, int32_t **ids, struct wl_err *err) {
    struct wl_err local;
    struct token_list list = {0};
    err = err ? err : &local;
    *n_tokens = 0;
    if (ids) {
        *ids = NULL;
    }
    json_t *body = json_object();
    client_set_text(&body, "text", options->text);
    client_set_bool(&body, "add_special", options->add_special);
    client_set_bool(&body, "template", options->is_template);
    struct link_request request =
        client_prepare(engine, ENGINE_TOKENIZE, &options->wait, CLIENT_SECONDS(120), 0);
    request.doing = "counting tokens";
    request.on_event = take_tokens;
    request.context = &list;
    enum wl_status status = client_exchange(engine, &request, body, err);
    if (status == WL_OK && check_token_count(&list, request.result, err) != WL_OK) {
        status = client_distrust(engine, request.doing, err);
    }
    json_decref(request.result);
    if (status == WL_OK) {
        *n_tokens = list.n;
    }
    if (status == WL_OK && ids) {
        *ids = list.ids;
    } else {
        free(list.ids);
    }
    return status;
}
