#include "gateway/upstream_probe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "gateway/upstream_read.h"
#include "gateway/upstream_words.h"

enum { MAX_ANSWER_BYTES = 1 << 20, CONNECT_MS = 3000, MAX_HEADERS = 4 };

enum step {
    ASK_LIVES,
    ASK_HEALTH,
    ASK_PROPS,       // llama-server has it
    ASK_VERSION,     // vLLM
    ASK_API_VERSION, // Ollama
    ASK_TAGS,        // Ollama
    ASK_MODELS,
    TRY_MESSAGES,
    TRY_RESPONSES,
    TRY_COUNT
};

struct upstream_probe {
    struct upstream_probe_options options;
    void (*on_done)(void *context, const struct upstream_probe_answer *answer);
    void *context;
    struct upstream_probe_answer answer;
    enum step step;
    struct http_call *call;
    struct buf body;
    bool is_cut; // longer than is read
};

static void ask(struct upstream_probe *probe, enum step step);

// ---- the end ----

static void release(struct upstream_probe *probe) {
    buf_release(&probe->body);
    free(probe);
}

static void finish(struct upstream_probe *probe, enum upstream_probe_state state) {
    struct upstream_probe_answer answer = probe->answer;
    void (*on_done)(void *context, const struct upstream_probe_answer *answer) = probe->on_done;
    void *context = probe->context;
    answer.state = state;
    answer.depth = probe->options.depth;
    release(probe);
    on_done(context, &answer);
}

__attribute__((format(printf, 3, 4))) static void finish_with(struct upstream_probe *probe,
                                                              enum upstream_probe_state state,
                                                              const char *format, ...) {
    va_list args;
    char text[UPSTREAM_TEXT_BYTES];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    upstream_clean_copy(probe->answer.problem, sizeof probe->answer.problem, text);
    finish(probe, state);
}

static const char *address(const struct upstream_probe *probe) {
    return probe->options.unix_socket ? probe->options.unix_socket : probe->options.url;
}

// ---- what is asked ----

static const char *path_of(const struct upstream_probe *probe, enum step step) {
    bool is_llama = probe->answer.facts.kind == UPSTREAM_LLAMA_SERVER;
    switch (step) {
    case ASK_LIVES:
        return probe->options.kind == UPSTREAM_OLLAMA  ? "/api/version"
               : probe->options.kind == UPSTREAM_OTHER ? "/v1/models"
                                                       : "/health";
    case ASK_HEALTH: return "/health";
    case ASK_PROPS: return "/props";
    case ASK_VERSION: return "/version";
    case ASK_API_VERSION: return "/api/version";
    case ASK_TAGS: return "/api/tags";
    case ASK_MODELS: return "/v1/models";
    case TRY_MESSAGES: return "/v1/messages";
    case TRY_RESPONSES: return "/v1/responses";
    case TRY_COUNT: return is_llama ? "/v1/chat/completions/input_tokens" : "/tokenize";
    }
    return "/";
}

// ---- what is answered ----

// After the models: what can only be found by trying.
static void go_on(struct upstream_probe *probe, enum step next) {
    enum upstream_kind kind = probe->answer.facts.kind;
    bool may_count = kind == UPSTREAM_LLAMA_SERVER || kind == UPSTREAM_VLLM;
    if (probe->options.depth < UPSTREAM_PROBE_ALL || next > TRY_COUNT ||
        (next == TRY_COUNT && !may_count)) {
        finish(probe, UPSTREAM_PROBE_UP);
    } else {
        ask(probe, next);
    }
}

static void on_lives(struct upstream_probe *probe, long http, const json_t *json) {
    if (http >= 200 && http < 300) {
        finish(probe, UPSTREAM_PROBE_UP);
    } else if (http == 503 && upstream_says_loading(json)) {
        finish_with(probe, UPSTREAM_PROBE_LOADING, "it loads its model");
    } else { // another server has its place?
        probe->options.depth = UPSTREAM_PROBE_ALL;
        ask(probe, ASK_HEALTH);
    }
}

static void on_health(struct upstream_probe *probe, long http, const json_t *json) {
    if (http == 503 && upstream_says_loading(json)) {
        finish_with(probe, UPSTREAM_PROBE_LOADING, "it loads its model");
    } else if (http == 502 || http == 503 || http == 504) {
        const char *text = upstream_error_text(json);
        finish_with(probe, UPSTREAM_PROBE_STRANGE,
                    "%s is not ready: GET /health gives HTTP %ld%s%s", address(probe), http,
                    text ? ": " : "", text ? text : "");
    } else {
        ask(probe, ASK_PROPS);
    }
}

static void on_props(struct upstream_probe *probe, long http, const json_t *json) {
    if (http == 401 || http == 403) {
        finish_with(probe, UPSTREAM_PROBE_STRANGE,
                    "%s refuses %s (HTTP %ld); give the model server's own API key", address(probe),
                    probe->options.headers ? "our API key" : "requests without an API key", http);
    } else if (http == 503 && upstream_says_loading(json)) {
        finish_with(probe, UPSTREAM_PROBE_LOADING, "it loads its model");
    } else {
        bool is_llama = http == 200 && upstream_read_props(json, &probe->answer.facts);
        ask(probe, is_llama ? ASK_MODELS : ASK_VERSION);
    }
}

static void on_version(struct upstream_probe *probe, long http, const json_t *json) {
    bool is_vllm = http == 200 && upstream_read_version(json, &probe->answer.facts);
    if (is_vllm) {
        probe->answer.facts.kind = UPSTREAM_VLLM;
    }
    ask(probe, is_vllm ? ASK_MODELS : ASK_API_VERSION);
}

static void on_api_version(struct upstream_probe *probe, long http, const json_t *json) {
    bool may_be_ollama = http == 200 && upstream_read_version(json, &probe->answer.facts);
    ask(probe, may_be_ollama ? ASK_TAGS : ASK_MODELS);
}

static void on_tags(struct upstream_probe *probe, long http, const json_t *json) {
    if (http == 200 && upstream_read_tags(json, &probe->answer.facts)) {
        probe->answer.facts.kind = UPSTREAM_OLLAMA;
    }
    ask(probe, ASK_MODELS);
}

// An older Ollama and a llama-server with its router have no such list.
static void on_models(struct upstream_probe *probe, long http, const json_t *json) {
    struct upstream_facts *facts = &probe->answer.facts;
    bool has_list = http == 200 && upstream_read_models(json, facts);
    if (http == 401 || http == 403) {
        on_props(probe, http, json);
        return;
    }
    if (!has_list && facts->kind == UPSTREAM_UNKNOWN) {
        finish_with(probe, UPSTREAM_PROBE_STRANGE,
                    "%s answers, but not as a model server does: GET /v1/models gives %s (HTTP "
                    "%ld); is it the right address?",
                    address(probe), probe->is_cut ? "too much" : "no list of models", http);
        return;
    }
    facts->kind = facts->kind == UPSTREAM_UNKNOWN ? UPSTREAM_OTHER : facts->kind;
    go_on(probe, TRY_MESSAGES);
}

static void on_tried(struct upstream_probe *probe, long http, const json_t *json) {
    struct upstream_facts *facts = &probe->answer.facts;
    bool is_there = upstream_has_endpoint(http, json);
    enum step step = probe->step;
    *(step == TRY_MESSAGES    ? &facts->has_messages
      : step == TRY_RESPONSES ? &facts->has_responses
                              : &facts->can_count) = is_there;
    go_on(probe, step + 1);
}

static void on_answer(struct upstream_probe *probe, long http, const json_t *json) {
    switch (probe->step) {
    case ASK_LIVES: on_lives(probe, http, json); break;
    case ASK_HEALTH: on_health(probe, http, json); break;
    case ASK_PROPS: on_props(probe, http, json); break;
    case ASK_VERSION: on_version(probe, http, json); break;
    case ASK_API_VERSION: on_api_version(probe, http, json); break;
    case ASK_TAGS: on_tags(probe, http, json); break;
    case ASK_MODELS: on_models(probe, http, json); break;
    case TRY_MESSAGES:
    case TRY_RESPONSES:
    case TRY_COUNT: on_tried(probe, http, json); break;
    }
}

// ---- one request ----

static void on_data(void *context, struct http_call *call, const char *bytes, size_t n) {
    struct upstream_probe *probe = context;
    (void)call;
    probe->is_cut = probe->is_cut || !buf_append(&probe->body, bytes, n);
}

static void on_no_answer(struct upstream_probe *probe, enum wl_status status, const char *message) {
    if (status == WL_TIMEOUT) {
        finish_with(probe, UPSTREAM_PROBE_SILENT, "%s does not answer: %s", address(probe),
                    message);
    } else if (status == WL_INPUT) {
        finish_with(probe, UPSTREAM_PROBE_STRANGE, "%s does not speak HTTP: %s", address(probe),
                    message);
    } else {
        finish_with(probe, UPSTREAM_PROBE_REFUSED, "%s cannot be reached: %s", address(probe),
                    message);
    }
}

static void on_end(void *context, struct http_call *call, enum wl_status status,
                   const char *message) {
    struct upstream_probe *probe = context;
    long http = http_call_status(call);
    json_t *json = NULL;
    probe->call = NULL;
    if (status != WL_OK) {
        on_no_answer(probe, status, message);
        return;
    }
    if (!probe->is_cut) {
        wl_json_parse(buf_text(&probe->body), probe->body.len, &json, NULL);
    }
    on_answer(probe, http, json);
    json_decref(json);
}

static enum wl_status start_call(struct upstream_probe *probe, enum step step, struct wl_err *err) {
    const char *headers[MAX_HEADERS + 2] = {"Content-Type: application/json"};
    char url[UPSTREAM_URL_BYTES + 64];
    for (size_t i = 0; i < MAX_HEADERS && probe->options.headers && probe->options.headers[i];
         i++) {
        headers[i + 1] = probe->options.headers[i];
    }
    bool is_try = step >= TRY_MESSAGES;
    snprintf(url, sizeof url, "%s%s", probe->options.url, path_of(probe, step));
    probe->step = step;
    probe->is_cut = false;
    buf_clear(&probe->body);
    struct http_call_options call = {.method = is_try ? "POST" : "GET",
                                     .url = url,
                                     .unix_socket = probe->options.unix_socket,
                                     .headers = headers,
                                     .body = is_try ? "{}" : NULL,
                                     .n_body = is_try ? 2 : 0,
                                     .connect_ms = CONNECT_MS,
                                     .total_ms = probe->options.total_ms,
                                     .on_data = on_data,
                                     .on_end = on_end,
                                     .context = probe};
    return http_call_start(probe->options.client, &call, &probe->call, err);
}

static void ask(struct upstream_probe *probe, enum step step) {
    struct wl_err err;
    if (start_call(probe, step, &err) != WL_OK) {
        finish_with(probe, UPSTREAM_PROBE_REFUSED, "%s", err.message);
    }
}

enum wl_status
upstream_probe_start(const struct upstream_probe_options *options,
                     void (*on_done)(void *context, const struct upstream_probe_answer *answer),
                     void *context, struct upstream_probe **out, struct wl_err *err) {
    struct upstream_probe *probe = calloc(1, sizeof *probe);
    *out = NULL;
    if (!probe) {
        return wl_err_set(err, WL_MEMORY, "no memory to look at the model server");
    }
    probe->options = *options;
    probe->on_done = on_done;
    probe->context = context;
    buf_init(&probe->body, MAX_ANSWER_BYTES);
    enum wl_status status =
        start_call(probe, options->depth == UPSTREAM_PROBE_LIVES ? ASK_LIVES : ASK_HEALTH, err);
    if (status != WL_OK) {
        release(probe);
        return status;
    }
    *out = probe;
    return WL_OK;
}

void upstream_probe_cancel(struct upstream_probe *probe) {
    if (probe) {
        http_call_cancel(probe->call);
        release(probe);
    }
}
