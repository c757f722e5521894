#include "engine/client.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "engine/client_link.h"
#include "os/process.h"

#define SECONDS(n) ((int64_t)(n) * UNITS_NS_PER_S)

static const int64_t STOP_GRACE_NS = SECONDS(2);
// Begin and end of every phase a run may have, twice over.
enum { MAX_PHASE_EVENTS = 4 * ENGINE_MAX_PHASES };

struct engine {
    struct link link;
    char path[OS_PATH_BYTES];
    char omp_wait_policy[16]; // "" = leave
    int64_t hello_timeout_ns, cancel_grace_ns;
    bool (*is_cancelled)(void *context);
    void *cancel_context;
    json_t *hello; // NULL when not running
};

static bool is_interrupted(void *context) {
    (void)context;
    return os_is_interrupted();
}

// ---- life of the process

static enum wl_status check_hello(const json_t *hello, struct wl_err *err) {
    const char *name, *version;
    enum wl_status status = wl_json_get_string(hello, "engine", &name, err);
    if (status == WL_OK) {
        status = wl_json_get_string(hello, "version", &version, err);
    }
    if (status == WL_OK && strcmp(name, "wattlaw-engine") != 0) {
        status = wl_err_set(err, WL_PROTOCOL, "expected wattlaw-engine, found '%.60s'", name);
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
        status = check_hello(request.result, err);
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
    engine->hello_timeout_ns =
        options->hello_timeout_ns > 0 ? options->hello_timeout_ns : SECONDS(20);
    engine->cancel_grace_ns = options->cancel_grace_ns > 0 ? options->cancel_grace_ns : SECONDS(5);
    engine->is_cancelled = options->is_cancelled ? options->is_cancelled : is_interrupted;
    engine->cancel_context = options->is_cancelled ? options->cancel_context : NULL;
    const char *policy = options->omp_wait_policy ? options->omp_wait_policy : "";
    if (policy[0] && strcmp(policy, "passive") != 0 && strcmp(policy, "active") != 0) {
        return wl_err_set(err, WL_USAGE, "OMP wait policy: expected passive or active, found '%s'",
                          policy);
    }
    str_copy(engine->omp_wait_policy, sizeof engine->omp_wait_policy, policy);
    if (!options->path) {
        return engine_find(engine->path, err);
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

// The hello says whether there is a process that may be asked something.
static void forget_process(struct engine *engine) {
    json_decref(engine->hello);
    engine->hello = NULL;
}

void engine_stop(struct engine *engine) {
    if (!engine) {
        return;
    }
    link_close(&engine->link, STOP_GRACE_NS);
    link_release(&engine->link);
    forget_process(engine);
    free(engine);
}

enum wl_status engine_restart(struct engine *engine, struct wl_err *err) {
    struct wl_err local;
    link_close(&engine->link, STOP_GRACE_NS);
    forget_process(engine);
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

// ---- one request

static int64_t span_or(int64_t span_ns, int64_t fallback_ns) {
    return span_ns ? span_ns : fallback_ns;
}

// Fills what every request has; `wait` may be NULL.
static struct link_request prepare(const struct engine *engine, uint16_t type, const json_t *body,
                                   const struct engine_wait *wait, int64_t default_total_ns,
                                   int64_t default_silence_ns) {
    static const struct engine_wait NONE = {0};
    wait = wait ? wait : &NONE;
    bool has_hook = wait->is_cancelled != NULL;
    return (struct link_request){
        .type = type,
        .body = body,
        .advice = "",
        .total_ns = span_or(wait->total_ns, default_total_ns),
        .silence_ns = span_or(wait->silence_ns, default_silence_ns),
        .cancel_grace_ns = engine->cancel_grace_ns,
        .is_cancellable = type == ENGINE_RUN || type == ENGINE_SYNTH,
        .is_cancelled = has_hook ? wait->is_cancelled : engine->is_cancelled,
        .cancel_context = has_hook ? wait->cancel_context : engine->cancel_context,
    };
}

// Takes over the body. After a failure that ended the process the handle is marked as not running.
static enum wl_status exchange(struct engine *engine, struct link_request *request, json_t *body,
                               struct wl_err *err) {
    enum wl_status status;
    if (!engine->hello) {
        status = wl_err_set(err, WL_CRASHED, "the engine is not running; start it again first");
    } else if (!body) { // jansson refuses text that is not UTF-8
        status = wl_err_set(err, WL_INPUT, "%s: a text is not valid UTF-8", request->doing);
    } else {
        request->body = body;
        status = link_exchange(&engine->link, request, err);
        if (engine->link.socket_fd < 0) {
            forget_process(engine);
        }
    }
    json_decref(body);
    return status;
}

// The answer contradicts itself or the request: nothing this process says is worth having.
static enum wl_status distrust(struct engine *engine, const char *doing, struct wl_err *err) {
    link_close(&engine->link, 0);
    forget_process(engine);
    char detail[WL_ERR_MESSAGE_BYTES];
    memcpy(detail, err->message, sizeof detail);
    return wl_err_set(err, err->status,
                      "the engine answered wrongly while %.220s, and was stopped: %.460s", doing,
                      detail);
}

// Members that fail (text that is not UTF-8) turn the whole body into NULL.
static void set_member(json_t **body, const char *key, json_t *value) {
    if (*body && json_object_set_new(*body, key, value) != 0) {
        json_decref(*body);
        *body = NULL;
    } else if (!*body) {
        json_decref(value);
    }
}

static void set_text(json_t **body, const char *key, const char *text) {
    if (text) { // absent means the engine's default
        set_member(body, key, json_string(text));
    }
}

static void set_number(json_t **body, const char *key, uint64_t value) {
    set_member(body, key, json_integer((json_int_t)value));
}

static void set_bool(json_t **body, const char *key, bool value) {
    set_member(body, key, json_boolean(value));
}

// ---- load and describe

static json_t *load_body(const struct engine_load_options *options) {
    json_t *body = json_object();
    set_text(&body, "path", options->path);
    set_number(&body, "threads", options->threads);
    set_number(&body, "threads_batch", options->threads_batch);
    set_number(&body, "n_ctx", options->n_ctx);
    set_number(&body, "n_batch", options->n_batch ? options->n_batch : 2048);
    set_number(&body, "n_ubatch", options->n_ubatch ? options->n_ubatch : 512);
    set_text(&body, "load_mode", options->load_mode);
    set_text(&body, "type_k", options->type_k);
    set_text(&body, "type_v", options->type_v);
    set_text(&body, "flash_attn", options->flash_attn);
    set_bool(&body, "repack", !options->no_repack);
    uint64_t max = options->max_ram_bytes < INT64_MAX ? options->max_ram_bytes : INT64_MAX;
    set_number(&body, "max_ram_bytes", max);
    return body;
}

// Phases are checked against the request's own times; both sides share CLOCK_MONOTONIC.
static struct engine_bounds bounds_of(const struct link_request *request) {
    return (struct engine_bounds){.t_min_ns = request->t0_ns, .t_max_ns = request->t1_ns};
}

static enum wl_status decode_load(const struct link_request *request, struct engine_model *model,
                                  struct engine_phase *load, struct wl_err *err) {
    struct engine_model unused_model;
    struct engine_phase unused_phase;
    struct engine_bounds bounds = bounds_of(request);
    enum wl_status status =
        engine_phase_decode(json_object_get(request->result, "phase"), &bounds,
                            load ? load : &unused_phase, err);
    if (status == WL_OK) {
        status = engine_model_decode(json_object_get(request->result, "model"),
                                     model ? model : &unused_model, err);
    }
    return status;
}

// Progress and phase borders while loading are welcome and not needed.
static enum wl_status ignore_load_event(void *context, uint16_t type, const char *payload,
                                        size_t len, struct wl_err *err) {
    (void)context, (void)payload, (void)len;
    return type == ENGINE_PROGRESS || type == ENGINE_PHASE
               ? WL_OK
               : wl_err_set(err, WL_PROTOCOL, "a '%s' frame during a load",
                            engine_frame_name(type));
}

enum wl_status engine_load(struct engine *engine, const struct engine_load_options *options,
                           struct engine_model *model, struct engine_phase *load,
                           struct wl_err *err) {
    struct wl_err local;
    char doing[300];
    err = err ? err : &local;
    snprintf(doing, sizeof doing, "loading '%.200s'", options->path);
    struct link_request request =
        prepare(engine, ENGINE_LOAD, NULL, &options->wait, SECONDS(600), 0);
    request.doing = doing;
    request.advice = "the file may be damaged, or need a newer llama.cpp";
    request.on_event = ignore_load_event;
    enum wl_status status = exchange(engine, &request, load_body(options), err);
    if (status == WL_OK && (status = decode_load(&request, model, load, err)) != WL_OK) {
        status = distrust(engine, doing, err);
    }
    json_decref(request.result);
    return status;
}

enum wl_status engine_describe(struct engine *engine, struct engine_model *out,
                               struct wl_err *err) {
    struct wl_err local;
    err = err ? err : &local;
    struct link_request request = prepare(engine, ENGINE_DESCRIBE, NULL, NULL, SECONDS(60), 0);
    request.doing = "describing the model";
    enum wl_status status = exchange(engine, &request, json_object(), err);
    if (status == WL_OK) {
        status = engine_model_decode(json_object_get(request.result, "model"), out, err);
        status = status == WL_OK ? WL_OK : distrust(engine, request.doing, err);
    }
    json_decref(request.result);
    return status;
}

static enum wl_status ask_nothing(struct engine *engine, uint16_t type, const char *doing,
                                  int64_t total_ns, struct wl_err *err) {
    struct wl_err local;
    struct link_request request = prepare(engine, type, NULL, NULL, total_ns, 0);
    request.doing = doing;
    enum wl_status status = exchange(engine, &request, json_object(), err ? err : &local);
    json_decref(request.result);
    return status;
}

enum wl_status engine_unload(struct engine *engine, struct wl_err *err) {
    return ask_nothing(engine, ENGINE_UNLOAD, "unloading the model", SECONDS(120), err);
}

enum wl_status engine_ping(struct engine *engine, struct wl_err *err) {
    return ask_nothing(engine, ENGINE_PING, "answering a ping", SECONDS(10), err);
}

// ---- tokenize

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
    set_text(&body, "text", options->text);
    set_bool(&body, "add_special", options->add_special);
    set_bool(&body, "template", options->is_template);
    struct link_request request =
        prepare(engine, ENGINE_TOKENIZE, NULL, &options->wait, SECONDS(120), 0);
    request.doing = "counting tokens";
    request.on_event = take_tokens;
    request.context = &list;
    enum wl_status status = exchange(engine, &request, body, err);
    if (status == WL_OK && check_token_count(&list, request.result, err) != WL_OK) {
        status = distrust(engine, request.doing, err);
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

// ---- run

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
        status = wl_err_set(err, WL_PROTOCOL, "key 'edge': expected begin or end, found '%.20s'",
                            edge);
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

static json_t *messages_body(const struct engine_run_options *options) {
    json_t *messages = json_array();
    for (size_t i = 0; i < options->n_messages; i++) {
        json_t *message = json_object();
        set_text(&message, "role", options->messages[i].role);
        set_text(&message, "content", options->messages[i].content);
        if (json_array_append_new(messages, message) != 0) {
            json_decref(messages);
            return NULL;
        }
    }
    return messages;
}

static json_t *run_body(const struct engine_run_options *options, bool is_streaming) {
    json_t *body = json_object();
    if (options->n_messages) {
        set_member(&body, "messages", messages_body(options));
    } else {
        set_text(&body, "prompt", options->prompt ? options->prompt : "");
    }
    set_bool(&body, "template", options->is_template);
    set_number(&body, "n_prompt", options->n_prompt);
    set_number(&body, "n_predict", options->n_predict);
    set_bool(&body, "ignore_eos", options->ignore_eos);
    set_bool(&body, "stream", is_streaming);
    set_bool(&body, "token_times", options->wants_token_times);
    set_member(&body, "temperature", wl_json_real(options->temperature));
    set_number(&body, "top_k", options->top_k);
    set_member(&body, "top_p", wl_json_real(options->top_p));
    set_member(&body, "min_p", wl_json_real(options->min_p));
    set_number(&body, "seed", options->seed);
    set_bool(&body, "reuse_prefix", options->reuse_prefix);
    set_member(&body, "max_seconds", wl_json_real(options->max_seconds));
    return body;
}

static enum wl_status decode_run(const struct run *run, const struct link_request *request,
                                 struct engine_run_result *out, struct wl_err *err) {
    struct engine_bounds bounds = bounds_of(request);
    bounds.n_prompt = request->was_cancelled ? 0 : run->options->n_prompt;
    bounds.n_predict = run->options->n_predict;
    enum wl_status status = engine_run_result_decode(request->result, &bounds, out, err);
    if (status == WL_OK && out->stop == ENGINE_STOP_CANCEL && !request->was_cancelled) {
        status = wl_err_set(err, WL_PROTOCOL, "key 'stop': 'cancel', but nobody cancelled");
    }
    if (status == WL_OK && run->options->wants_token_times) {
        status = run->has_times ? engine_token_times_decode(run->times.data, run->times.len,
                                                            &bounds, out, err)
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
        prepare(engine, ENGINE_RUN, NULL, &options->wait, -1, SECONDS(1800));
    request.doing = "running the model";
    request.advice = "a smaller context or batch may help";
    request.on_event = take_run_event;
    request.context = &run;
    status = exchange(engine, &request, run_body(options, events && events->on_token), err);
    if (status == WL_OK && (status = decode_run(&run, &request, out, err)) != WL_OK) {
        status = distrust(engine, request.doing, err);
    }
    if (status == WL_OK && out->stop == ENGINE_STOP_CANCEL) {
        status = wl_err_set(err, WL_INTERRUPTED, "interrupted after %u generated tokens",
                            out->n_generated);
    }
    json_decref(request.result);
    buf_release(&run.times);
    return status;
}

// ---- synth

struct synth {
    void (*on_progress)(void *context, const char *what, double done);
    void *context;
};

static enum wl_status take_progress(void *context, uint16_t type, const char *payload, size_t len,
                                    struct wl_err *err) {
    const struct synth *synth = context;
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
    if (status == WL_OK && synth->on_progress) {
        synth->on_progress(synth->context, what, done);
    }
    json_decref(event);
    if (status != WL_OK) {
        err->status = WL_PROTOCOL;
        return wl_err_prefix(err, "frame '%s'", engine_frame_name(type));
    }
    return WL_OK;
}

static json_t *synth_body(const struct engine_synth_options *options) {
    json_t *body = json_object();
    set_text(&body, "path", options->path);
    set_text(&body, "arch", options->arch);
    set_number(&body, "n_layer", options->n_layer);
    set_number(&body, "n_embd", options->n_embd);
    set_number(&body, "n_head", options->n_head);
    set_number(&body, "n_head_kv", options->n_head_kv);
    set_number(&body, "head_dim", options->head_dim);
    set_number(&body, "n_ff", options->n_ff);
    set_number(&body, "n_vocab", options->n_vocab);
    set_number(&body, "n_ctx", options->n_ctx);
    set_bool(&body, "tied", options->is_tied);
    set_text(&body, "type", options->type);
    set_text(&body, "name", options->name);
    set_number(&body, "seed", options->seed & INT64_MAX); // JSON integers are signed
    if (options->rope_freq_base > 0) {
        set_member(&body, "rope_freq_base", wl_json_real(options->rope_freq_base));
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
    struct synth synth = {.on_progress = on_progress, .context = context};
    err = err ? err : &local;
    *out = (struct engine_synth_result){0};
    snprintf(doing, sizeof doing, "writing '%.200s'", options->path);
    struct link_request request =
        prepare(engine, ENGINE_SYNTH, NULL, &options->wait, SECONDS(3600), SECONDS(600));
    request.doing = doing;
    request.advice = "check the free space there, and the shape";
    request.on_event = take_progress;
    request.context = &synth;
    enum wl_status status = exchange(engine, &request, synth_body(options), err);
    if (status == WL_OK && is_cancelled_result(&request)) {
        status = wl_err_set(err, WL_INTERRUPTED, "interrupted while %s", doing);
    } else if (status == WL_OK && decode_synth(request.result, out, err) != WL_OK) {
        status = distrust(engine, doing, err);
    }
    json_decref(request.result);
    return status;
}
