#include "gateway/upstream.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/upstream_address.h"
#include "gateway/upstream_own.h"
#include "gateway/upstream_parts.h"
#include "gateway/upstream_words.h"
#include "os/clock.h"

enum {
    PROBE_MS = 5000,
    SHORTEST_ANSWER_MS = 1000, // of one request of a look; else as long as the pause between two
    FIRST_PAUSE_MS = 250,      // to the next look at one that is not up, doubling
    LOADING_MS = 500,          // while it loads its model
    LOOKS_PER_FACTS = 12,      // while it is up: another may have its place, or other models
    MAX_SILENT = 2,            // looks in a row: a busy machine answers late
    MAX_KEY_BYTES = 4096
};

static const char *const KIND_NAMES[] = {"unknown", "llama-server", "ollama", "vllm", "other"};
static const char *const HEALTH_NAMES[] = {"starting", "up", "down", "asleep", "failed"};

const char *upstream_kind_name(enum upstream_kind kind) {
    return KIND_NAMES[kind];
}

const char *upstream_health_name(enum upstream_health health) {
    return HEALTH_NAMES[health];
}

// ---- telling ----

void upstream_log(struct upstream *upstream, const char *format, ...) {
    char line[UPSTREAM_TEXT_BYTES + 128];
    va_list args;
    if (upstream->on_log && !upstream->is_closing) {
        va_start(args, format);
        vsnprintf(line, sizeof line, format, args);
        va_end(args);
        upstream->on_log(upstream->context, line);
    }
}

static void on_change(uv_timer_t *timer) {
    struct upstream *upstream = timer->data;
    upstream->on_change(upstream->context);
}

void upstream_changed(struct upstream *upstream) {
    if (upstream->on_change && !upstream->is_closing) {
        uv_timer_start(&upstream->change, on_change, 0, 0);
    }
}

void upstream_set_health(struct upstream *upstream, enum upstream_health health,
                         const char *problem) {
    struct upstream_facts *facts = &upstream->facts;
    char text[UPSTREAM_TEXT_BYTES];
    upstream_clean_copy(text, sizeof text, problem ? problem : "");
    if (facts->health == health && strcmp(facts->problem, text) == 0) {
        return;
    }
    if (facts->health != health) {
        facts->since_ns = os_now_ns();
    }
    facts->health = health;
    memcpy(facts->problem, text, sizeof text);
    upstream_changed(upstream);
}

// ---- looking ----

static void on_look(uv_timer_t *timer);

void upstream_look_in(struct upstream *upstream, int64_t ms) {
    if (!upstream->is_closing) {
        uv_timer_start(&upstream->look, on_look, (uint64_t)ms, 0);
    }
}

void upstream_stop_looking(struct upstream *upstream) {
    uv_timer_stop(&upstream->look);
    upstream_probe_cancel(upstream->probe);
    upstream->probe = NULL;
    upstream->wants_look = false;
}

static void look_later(struct upstream *upstream) {
    int64_t pause_ms = upstream->pause_ms;
    upstream->pause_ms = pause_ms * 2 < upstream->probe_ms ? pause_ms * 2 : upstream->probe_ms;
    upstream_look_in(upstream, pause_ms);
}

static bool facts_are_same(const struct upstream_facts *a, const struct upstream_facts *b) {
    return a->kind == b->kind && strcmp(a->engine, b->engine) == 0 &&
           strcmp(a->model, b->model) == 0 && a->n_models == b->n_models &&
           a->n_slots == b->n_slots && a->n_ctx == b->n_ctx && a->can_count == b->can_count &&
           a->has_messages == b->has_messages && a->has_responses == b->has_responses &&
           a->sees_images == b->sees_images;
}

// What a look has found about the server; what is known of our process stays.
static void take_facts(struct upstream *upstream, const struct upstream_probe_answer *answer) {
    struct upstream_facts *facts = &upstream->facts, found = answer->facts;
    if (answer->depth == UPSTREAM_PROBE_FACTS) { // endpoints come with the program
        found.can_count = facts->can_count;
        found.has_messages = facts->has_messages;
        found.has_responses = facts->has_responses;
    }
    if (answer->depth == UPSTREAM_PROBE_LIVES || facts_are_same(&found, facts)) {
        return;
    }
    facts->kind = found.kind;
    memcpy(facts->engine, found.engine, sizeof facts->engine);
    memcpy(facts->model, found.model, sizeof facts->model);
    facts->n_models = found.n_models;
    facts->n_slots = found.n_slots;
    facts->n_ctx = found.n_ctx;
    facts->can_count = found.can_count;
    facts->has_messages = found.has_messages;
    facts->has_responses = found.has_responses;
    facts->sees_images = found.sees_images;
    upstream_changed(upstream);
}

static void on_up(struct upstream *upstream, const struct upstream_probe_answer *answer) {
    bool was_up = upstream->facts.health == UPSTREAM_UP;
    upstream->n_silent = 0;
    upstream->pause_ms = FIRST_PAUSE_MS;
    take_facts(upstream, answer);
    upstream_set_health(upstream, UPSTREAM_UP, NULL);
    if (upstream->own) {
        upstream_own_is_up(upstream);
    } else if (!was_up) {
        upstream_log(upstream, "model server %s is up: %s%s%s", upstream->url,
                     upstream_kind_name(upstream->facts.kind), *upstream->facts.engine ? " " : "",
                     upstream->facts.engine);
    }
    upstream_look_in(upstream, upstream->probe_ms);
}

static void on_loading(struct upstream *upstream, const char *problem) {
    upstream->n_silent = 0;
    if (upstream->facts.health != UPSTREAM_FAILED) {
        upstream_set_health(upstream, UPSTREAM_STARTING, problem);
    }
    if (upstream->own) {
        upstream_own_is_loading(upstream);
    } else {
        upstream_look_in(upstream, LOADING_MS);
    }
}

static void on_down(struct upstream *upstream, const char *problem) {
    if (upstream->facts.health != UPSTREAM_DOWN) {
        upstream_log(upstream, "model server is down: %s", problem);
    }
    upstream_set_health(upstream, UPSTREAM_DOWN, problem);
    look_later(upstream);
}

static void on_lost(struct upstream *upstream, const struct upstream_probe_answer *answer) {
    bool is_silent = answer->state == UPSTREAM_PROBE_SILENT;
    upstream->n_silent = is_silent ? upstream->n_silent + 1 : 0;
    if (is_silent && upstream->n_silent < MAX_SILENT && upstream->facts.health == UPSTREAM_UP) {
        upstream_look_in(upstream, FIRST_PAUSE_MS);
    } else if (upstream->own) {
        upstream_own_is_lost(upstream, answer->state == UPSTREAM_PROBE_STRANGE, answer->problem);
    } else {
        on_down(upstream, answer->problem);
    }
}

static void on_answer(void *context, const struct upstream_probe_answer *answer) {
    struct upstream *upstream = context;
    upstream->probe = NULL;
    switch (answer->state) {
    case UPSTREAM_PROBE_UP: on_up(upstream, answer); break;
    case UPSTREAM_PROBE_LOADING: on_loading(upstream, answer->problem); break;
    case UPSTREAM_PROBE_REFUSED:
    case UPSTREAM_PROBE_SILENT:
    case UPSTREAM_PROBE_STRANGE: on_lost(upstream, answer); break;
    }
    if (upstream->wants_look) {
        upstream->wants_look = false;
        upstream_look_in(upstream, 0);
    }
}

static void on_look(uv_timer_t *timer) {
    struct upstream *upstream = timer->data;
    struct wl_err err;
    if (upstream->own) {
        upstream_own_look(upstream);
        if (!upstream_own_can_be_asked(upstream)) {
            return;
        }
    }
    bool is_up = upstream->facts.health == UPSTREAM_UP && upstream->n_silent == 0;
    bool is_short = is_up && ++upstream->n_looks % LOOKS_PER_FACTS != 0;
    struct upstream_probe_options options = {.client = upstream->client,
                                             .url = upstream->url,
                                             .unix_socket = upstream_unix_socket(upstream),
                                             .headers = upstream_headers(upstream),
                                             .kind = upstream->facts.kind,
                                             .depth = is_short ? UPSTREAM_PROBE_LIVES
                                                      : is_up  ? UPSTREAM_PROBE_FACTS
                                                               : UPSTREAM_PROBE_ALL,
                                             .total_ms = upstream->probe_ms > SHORTEST_ANSWER_MS
                                                             ? upstream->probe_ms
                                                             : SHORTEST_ANSWER_MS};
    if (!upstream->probe &&
        upstream_probe_start(&options, on_answer, upstream, &upstream->probe, &err) != WL_OK) {
        upstream_set_health(upstream, UPSTREAM_DOWN, err.message);
        look_later(upstream);
    }
}

// ---- requests ----

// The first one wakes it; the last one lets it rest.
static void count_in(struct upstream *upstream, size_t *n) {
    bool is_first = upstream->n_requests + upstream->n_waiting == 0;
    ++*n;
    if (is_first && upstream->own) {
        upstream_own_enter(upstream);
    }
}

static void count_out(struct upstream *upstream, size_t *n) {
    if (--*n == 0 && upstream->own && !upstream->is_closing) {
        upstream_own_leave(upstream);
    }
}

void upstream_enter(struct upstream *upstream) {
    count_in(upstream, &upstream->n_requests);
}

void upstream_leave(struct upstream *upstream) {
    count_out(upstream, &upstream->n_requests);
}

void upstream_wait(struct upstream *upstream) {
    count_in(upstream, &upstream->n_waiting);
}

void upstream_unwait(struct upstream *upstream) {
    count_out(upstream, &upstream->n_waiting);
}

void upstream_suspect(struct upstream *upstream) {
    if (upstream->is_closing) {
        return;
    }
    upstream->wants_look = upstream->probe != NULL; // it may have been sent before
    if (!upstream->probe) {
        upstream_look_in(upstream, 0);
    }
}

enum wl_status upstream_change(struct upstream *upstream, const struct upstream_server *server,
                               struct wl_err *err) {
    return upstream->own ? upstream_own_change(upstream, server, err)
                         : wl_err_set(err, WL_INPUT,
                                      "the model server %s was not started by us: its settings "
                                      "cannot be changed",
                                      upstream->url);
}

// ---- what is known ----

void upstream_facts(const struct upstream *upstream, struct upstream_facts *out) {
    *out = upstream->facts;
    out->wants_rest = upstream->own && upstream_own_has_change(upstream);
}

const char *upstream_url(const struct upstream *upstream) {
    return upstream->url;
}

const char *upstream_unix_socket(const struct upstream *upstream) {
    return *upstream->socket ? upstream->socket : NULL;
}

const char *const *upstream_headers(const struct upstream *upstream) {
    return upstream->headers;
}

// ---- open and close ----

static enum wl_status set_key(struct upstream *upstream, const char *key, struct wl_err *err) {
    static const char NAME[] = "Authorization: Bearer ";
    if (!key || !*key) {
        return WL_OK;
    }
    size_t n = strlen(key);
    for (size_t i = 0; i < n; i++) {
        if (key[i] <= ' ' || key[i] > '~' || n > MAX_KEY_BYTES) {
            return wl_err_set(err, WL_INPUT,
                              "the model server's API key must be printable ASCII without spaces, "
                              "at most %d bytes",
                              MAX_KEY_BYTES);
        }
    }
    size_t size = sizeof NAME + n;
    upstream->authorization = malloc(size);
    if (!upstream->authorization) {
        return wl_err_set(err, WL_MEMORY, "no memory for the model server's API key");
    }
    snprintf(upstream->authorization, size, "%s%s", NAME, key);
    upstream->headers[0] = upstream->authorization;
    return WL_OK;
}

static enum wl_status set_address(struct upstream *upstream, const struct upstream_options *options,
                                  struct wl_err *err) {
    if (options->url) {
        return upstream_address_parse(options->url, upstream->url, sizeof upstream->url,
                                      upstream->socket, sizeof upstream->socket, err);
    }
    snprintf(upstream->url, sizeof upstream->url, "http://localhost");
    return options->server ? upstream_own_open(upstream, options->server, err)
                           : wl_err_set(err, WL_INPUT,
                                        "no model server: neither one that runs nor "
                                        "one to start is named");
}

static void init(struct upstream *upstream, const struct upstream_options *options) {
    upstream->loop = options->loop;
    upstream->client = options->client;
    upstream->on_change = options->on_change;
    upstream->on_log = options->on_log;
    upstream->context = options->context;
    upstream->probe_ms = options->probe_ms > 0 ? options->probe_ms : PROBE_MS;
    upstream->pause_ms = FIRST_PAUSE_MS;
    upstream->facts.health = UPSTREAM_DOWN;
    upstream->facts.since_ns = os_now_ns();
    snprintf(upstream->facts.problem, sizeof upstream->facts.problem, "not looked at yet");
}

enum wl_status upstream_open(const struct upstream_options *options, struct upstream **out,
                             struct wl_err *err) {
    struct upstream *upstream = calloc(1, sizeof *upstream);
    enum wl_status status;
    *out = NULL;
    if (!upstream) {
        return wl_err_set(err, WL_MEMORY, "no memory for a model server");
    }
    init(upstream, options);
    if ((status = set_key(upstream, options->api_key, err)) ||
        (status = set_address(upstream, options, err))) {
        free(upstream->authorization);
        free(upstream);
        return status;
    }
    uv_timer_init(options->loop, &upstream->look);
    uv_timer_init(options->loop, &upstream->change);
    upstream->look.data = upstream->change.data = upstream;
    upstream->n_handles += 2;
    if (upstream->own) {
        upstream_own_start(upstream);
    } else {
        upstream_look_in(upstream, 0);
    }
    *out = upstream;
    return WL_OK;
}

void upstream_handle_closed(struct upstream *upstream) {
    if (--upstream->n_handles > 0) {
        return;
    }
    void (*on_closed)(void *context) = upstream->on_closed;
    void *context = upstream->close_context;
    free(upstream->authorization);
    free(upstream);
    if (on_closed) {
        on_closed(context);
    }
}

static void on_timer_closed(uv_handle_t *handle) {
    upstream_handle_closed(handle->data);
}

void upstream_close(struct upstream *upstream, void (*on_closed)(void *context), void *context) {
    upstream->is_closing = true;
    upstream->on_closed = on_closed;
    upstream->close_context = context;
    upstream_stop_looking(upstream);
    if (upstream->own) {
        upstream_own_close(upstream);
    }
    uv_close((uv_handle_t *)&upstream->look, on_timer_closed);
    uv_close((uv_handle_t *)&upstream->change, on_timer_closed);
}
