// A model server that computes nothing: fake_model_server [--port N] [--slots N]. For
// tests and benchmarks of the gateway. Prints its port. What a request asks for stands in its last
// message (or prompt):
//
//   tokens=20     of the answer (8)             delay=5     ms between two of them (0: all at once)
//   prompt=30     ms before the first           die=3       cut the connection after so many
//   status=500    an error in this form         garbage     an answer that is no JSON
//   exit=3        the whole server ends then    silent      no answer at all
//   times=2       only so many errors of status=, then answers (they all have Retry-After: 1)
//   tool=NAME     a call of this tool instead of words, its arguments have the words
//   stamps        each token is "@" and the time in ns (CLOCK_MONOTONIC) at which it was made
//   odd=7         a stream with some bytes wrong, by this seed
//   wide=1000     characters of each token of a stream (short)
//
// A prompt has a token for each word, and 85 for each picture. GET /stub tells what it has seen.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/rng.h"
#include "base/str.h"
#include "gateway/http_server.h"
#include "openai/json_text.h"
#include "os/clock.h"

static struct {
    uv_loop_t loop;
    struct http_server *server;
    int slots;
    long n_requests, n_running, n_most, n_left, n_counts, n_errors;
    char last_body[4096];
    json_t *last_headers;
} stub = {.slots = 4};

struct answer {
    struct http_exchange *exchange; // NULL: the client has left
    uv_timer_t timer;
    bool is_chat, is_stream, wants_usage, has_stamps;
    long n_prompt, n_tokens, n_max, delay_ms, prompt_ms, die, exit_after, n_wide, n_sent;
    char model[256];
    char tool[64]; // ""
};

// ---- what is asked ----

static long number_after(const char *text, const char *name, long fallback) {
    const char *at = strstr(text, name);
    return at ? strtol(at + strlen(name), NULL, 10) : fallback;
}

// The word behind `name`; "" where it is not there.
static void word_after(const char *text, const char *name, char *out, size_t size) {
    const char *at = strstr(text, name);
    at = at ? at + strlen(name) : "";
    snprintf(out, size, "%.*s", (int)strcspn(at, " \n"), at);
}

static long n_words(const char *text) {
    long n = 0;
    for (bool is_in = false; *text; text++) {
        bool is_word = *text != ' ' && *text != '\n';
        n += is_word && !is_in;
        is_in = is_word;
    }
    return n;
}

static long n_of_content(const json_t *content) {
    long n = json_is_string(content) ? n_words(json_string_value(content)) : 0;
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        const char *text = json_string_value(json_object_get(part, "text"));
        n += text ? n_words(text) : json_object_get(part, "image_url") ? 85 : 0;
    }
    return n;
}

static const char *text_of_content(const json_t *content) {
    if (json_is_string(content)) {
        return json_string_value(content);
    }
    for (size_t i = json_array_size(content); i-- > 0;) {
        const char *text = json_string_value(json_object_get(json_array_get(content, i), "text"));
        if (text) {
            return text;
        }
    }
    return "";
}

static long n_of_request(const json_t *root, const char **last) {
    const json_t *messages = json_object_get(root, "messages");
    const json_t *prompt = json_object_get(root, "prompt");
    prompt = prompt ? prompt : json_object_get(root, "input");
    prompt = prompt ? prompt : json_object_get(root, "content");
    long n = n_of_content(prompt);
    *last = text_of_content(prompt);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *content = json_object_get(json_array_get(messages, i), "content");
        n += n_of_content(content);
        *last = text_of_content(content);
    }
    return n;
}

// ---- answers ----

static void reply(struct http_exchange *exchange, unsigned status, const char *text) {
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_puts(&body, text);
    http_reply(exchange, status, "application/json", &body);
}

static void reply_json(struct http_exchange *exchange, json_t *object) {
    struct buf body;
    buf_init(&body, 1 << 20);
    wl_json_write(&body, object);
    json_decref(object);
    http_reply(exchange, 200, "application/json", &body);
}

static json_t *usage_of(const struct answer *a) {
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)a->n_prompt,
                     "completion_tokens", (json_int_t)a->n_sent, "total_tokens",
                     (json_int_t)(a->n_prompt + a->n_sent));
}

static const char *reason(const struct answer *a) {
    return a->n_tokens > a->n_max ? "length" : a->tool[0] ? "tool_calls" : "stop";
}

// Arguments of a tool are JSON with the same words.
static const char ARGUMENTS_BEGIN[] = "{\"words\":\"", ARGUMENTS_END[] = "\"}";

// The call as a whole with `arguments`, or (NULL) only its name.
static json_t *tool_call(const struct answer *a, const char *arguments) {
    return json_pack("{s:i, s:s, s:s, s:{s:s, s:s}}", "index", 0, "id", "call-1", "type",
                     "function", "function", "name", a->tool, "arguments",
                     arguments ? arguments : "");
}

static void send_event(struct answer *a, json_t *object) {
    struct buf text, event;
    buf_init(&text, 1 << 16);
    buf_init(&event, 1 << 17);
    if (object) {
        wl_json_write(&text, object);
    } else {
        buf_puts(&text, "[DONE]");
    }
    buf_printf(&event, "data: %s\n\n", buf_text(&text));
    http_stream_write(a->exchange, buf_text(&event), event.len);
    json_decref(object);
    buf_release(&text);
    buf_release(&event);
}

static json_t *delta_of_tool(const char *arguments) {
    return json_pack("{s:[{s:i, s:{s:s}}]}", "tool_calls", "index", 0, "function", "arguments",
                     arguments);
}

static json_t *delta(const struct answer *a, const char *text) {
    if (!text) {
        return json_object();
    }
    return a->tool[0] ? delta_of_tool(text) : json_pack("{s:s}", "content", text);
}

static void send_choice(struct answer *a, json_t *choice) {
    send_event(a, json_pack("{s:s, s:s, s:i, s:s, s:[o]}", "id", "stub-1", "object",
                            a->is_chat ? "chat.completion.chunk" : "text_completion", "created",
                            1700000000, "model", a->model, "choices", choice));
}

static void send_piece(struct answer *a, const char *text, const char *finish) {
    send_choice(a, a->is_chat ? json_pack("{s:i, s:o, s:s?}", "index", 0, "delta", delta(a, text),
                                          "finish_reason", finish)
                              : json_pack("{s:i, s:s, s:s?}", "index", 0, "text", text ? text : "",
                                          "finish_reason", finish));
}

// What comes before the first token, as llama-server has it.
static void begin_stream(struct answer *a) {
    http_stream_begin(a->exchange, 200, "text/event-stream");
    if (a->is_chat) {
        send_choice(a, json_pack("{s:i, s:{s:s, s:n}, s:n}", "index", 0, "delta", "role",
                                 "assistant", "content", "finish_reason"));
    }
    if (a->tool[0]) {
        send_choice(a, json_pack("{s:i, s:{s:[o]}, s:n}", "index", 0, "delta", "tool_calls",
                                 tool_call(a, NULL), "finish_reason"));
        send_piece(a, ARGUMENTS_BEGIN, NULL);
    }
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void finish(struct answer *a) {
    stub.n_running--;
    if (a->exchange) {
        http_exchange_set_state(a->exchange, NULL);
    }
    a->exchange = NULL;
    uv_close((uv_handle_t *)&a->timer, on_closed);
}

static void end_stream(struct answer *a) {
    if (a->tool[0]) {
        send_piece(a, ARGUMENTS_END, NULL);
    }
    send_piece(a, NULL, reason(a));
    if (a->wants_usage) {
        send_event(a, json_pack("{s:s, s:s, s:s, s:[], s:o}", "id", "stub-1", "object",
                                "chat.completion.chunk", "model", a->model, "choices", "usage",
                                usage_of(a)));
    }
    send_event(a, NULL);
    http_stream_end(a->exchange);
    finish(a);
}

static json_t *message(const struct answer *a, const char *text) {
    return a->tool[0] ? json_pack("{s:s, s:n, s:[o]}", "role", "assistant", "content", "tool_calls",
                                  tool_call(a, text))
                      : json_pack("{s:s, s:s}", "role", "assistant", "content", text);
}

static void end_whole(struct answer *a) {
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_puts(&text, a->tool[0] ? ARGUMENTS_BEGIN : "");
    for (long i = 0; i < a->n_sent; i++) {
        buf_printf(&text, "%sword%ld", i ? " " : "", i);
    }
    buf_puts(&text, a->tool[0] ? ARGUMENTS_END : "");
    json_t *choice = a->is_chat ? json_pack("{s:i, s:o, s:s}", "index", 0, "message",
                                            message(a, buf_text(&text)), "finish_reason", reason(a))
                                : json_pack("{s:i, s:s, s:s}", "index", 0, "text", buf_text(&text),
                                            "finish_reason", reason(a));
    reply_json(a->exchange,
               json_pack("{s:s, s:s, s:i, s:s, s:[o], s:o}", "id", "stub-1", "object",
                         a->is_chat ? "chat.completion" : "text_completion", "created", 1700000000,
                         "model", a->model, "choices", choice, "usage", usage_of(a)));
    buf_release(&text);
    finish(a);
}

static bool dies(const struct answer *a) {
    if (a->exit_after >= 0 && a->n_sent >= a->exit_after) {
        exit(9);
    }
    return a->die >= 0 && a->n_sent >= a->die;
}

static void send_token(struct answer *a) {
    char text[4096];
    int n_wide = a->n_wide < 4000 ? (int)a->n_wide : 4000;
    if (a->has_stamps) {
        snprintf(text, sizeof text, "@%lld", (long long)os_now_ns());
    } else {
        snprintf(text, sizeof text, "%sword%-*ld", a->n_sent ? " " : "", n_wide, a->n_sent);
    }
    if (a->is_stream) {
        send_piece(a, text, NULL);
    }
    a->n_sent++;
}

static long n_wanted(const struct answer *a) {
    return a->n_tokens < a->n_max ? a->n_tokens : a->n_max;
}

static void on_timer(uv_timer_t *timer) {
    struct answer *a = timer->data;
    if (!a->exchange) {
        finish(a);
        return;
    }
    if (a->n_sent == 0 && a->is_stream) {
        begin_stream(a);
    }
    do {
        if (dies(a)) {
            if (a->is_stream) {
                http_stream_abort(a->exchange);
            } else {
                http_stream_begin(a->exchange, 200, "application/json");
                http_stream_abort(a->exchange);
            }
            finish(a);
            return;
        }
        if (a->n_sent < n_wanted(a)) {
            send_token(a);
        }
    } while (a->exchange && a->delay_ms == 0 && a->n_sent < n_wanted(a));
    if (!a->exchange) { // it was too slow
        finish(a);
    } else if (a->n_sent < n_wanted(a)) {
        uv_timer_start(timer, on_timer, (uint64_t)a->delay_ms, 0);
    } else if (a->is_stream) {
        end_stream(a);
    } else {
        end_whole(a);
    }
}

static long limit_of(const json_t *root) {
    long n = wl_json_opt_i64(root, "max_completion_tokens", 1 << 30);
    long m = wl_json_opt_i64(root, "max_tokens", 1 << 30);
    return n < m ? n : m;
}

// The status of an error that is wanted; 0: none, or there were enough of them.
static long wanted_error(const char *text) {
    long status = number_after(text, "status=", 0), n_times = number_after(text, "times=", -1);
    if (n_times >= 0 && stub.n_errors++ == n_times) {
        stub.n_errors = 0;
        return 0;
    }
    return status;
}

// A stream, whole or nearly so, of which some bytes are changed, left out or said twice.
static void answer_oddly(struct http_exchange *exchange, uint64_t seed) {
    struct buf text;
    struct rng rng;
    buf_init(&text, 1 << 20);
    rng_seed(&rng, seed);
    for (uint32_t i = rng_below(&rng, 9); i > 0; i--) {
        buf_printf(&text,
                   "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"w%u\"},"
                   "\"finish_reason\":%s}]}\n\n",
                   i, i > 1 ? "null" : "\"stop\"");
    }
    buf_puts(&text, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":"
                    "9}}\n\ndata: [DONE]\n\n");
    for (uint32_t i = rng_below(&rng, 6); i > 0; i--) {
        size_t at = rng_below(&rng, (uint32_t)text.len), to = rng_below(&rng, (uint32_t)text.len);
        size_t end = at > to ? at : to, n = rng_below(&rng, 40), rest = text.len - end;
        switch (rng_below(&rng, 3)) {
        case 0: text.data[at] = (char)rng_below(&rng, 256); break;
        case 1: buf_append(&text, "\r\n{\"error\":[\xff", n % 15); break;
        default: memmove(text.data + at, text.data + to, n < rest ? n : rest);
        }
    }
    http_stream_begin(exchange, 200, "text/event-stream");
    http_stream_write(exchange, text.data, text.len);
    if (rng_below(&rng, 4)) {
        http_stream_end(exchange);
    } else {
        http_stream_abort(exchange);
    }
    buf_release(&text);
}

static void begin_answer(struct http_exchange *exchange, const json_t *root, bool is_chat) {
    const char *last;
    struct answer *a = calloc(1, sizeof *a);
    a->exchange = exchange;
    a->is_chat = is_chat;
    a->n_prompt = n_of_request(root, &last);
    long status = wanted_error(last);
    long odd = number_after(last, "odd=", -1);
    if (odd >= 0) {
        answer_oddly(exchange, (uint64_t)odd);
        free(a);
        return;
    }
    if (status || strstr(last, "garbage") || strstr(last, "silent")) {
        if (status) {
            http_exchange_add_header(exchange, "Retry-After", "1");
            reply(exchange, (unsigned)status,
                  "{\"error\":{\"message\":\"as asked\",\"type\":\"stub\",\"code\":1}}");
        } else if (strstr(last, "garbage")) {
            reply(exchange, 200, "{\"choices\":[{");
        }
        free(a);
        return;
    }
    a->n_tokens = number_after(last, "tokens=", 8);
    a->delay_ms = number_after(last, "delay=", 0);
    a->prompt_ms = number_after(last, "prompt=", 0);
    a->die = number_after(last, "die=", -1);
    a->exit_after = number_after(last, "exit=", -1);
    a->has_stamps = strstr(last, "stamps") != NULL;
    a->n_wide = number_after(last, "wide=", 0);
    a->n_max = limit_of(root);
    word_after(last, "tool=", a->tool, sizeof a->tool);
    a->is_stream = wl_json_opt_bool(root, "stream", false);
    a->wants_usage =
        wl_json_opt_bool(json_object_get(root, "stream_options"), "include_usage", false);
    str_copy(a->model, sizeof a->model, wl_json_opt_string(root, "model", "stub"));
    stub.n_running++;
    stub.n_most = stub.n_running > stub.n_most ? stub.n_running : stub.n_most;
    http_exchange_set_state(exchange, a);
    uv_timer_init(&stub.loop, &a->timer);
    a->timer.data = a;
    if (a->prompt_ms == 0 && a->delay_ms == 0) {
        on_timer(&a->timer);
    } else {
        uv_timer_start(&a->timer, on_timer, (uint64_t)a->prompt_ms, 0);
    }
}

// Numbers, or (encoding_format) the bytes of three floats.
static json_t *vector(bool is_base64) {
    return is_base64 ? json_string("AACAPgAAAL8AAAA+") : json_pack("[f,f,f]", 0.25, -0.5, 0.125);
}

static void embed(struct http_exchange *exchange, const json_t *root) {
    const char *last;
    long n = n_of_request(root, &last);
    if (strstr(last, "silent")) {
        return;
    }
    size_t n_texts = json_array_size(json_object_get(root, "input"));
    bool is_base64 = strcmp(wl_json_opt_string(root, "encoding_format", ""), "base64") == 0;
    json_t *list = json_array();
    for (size_t i = 0; i < (n_texts ? n_texts : 1); i++) {
        json_array_append_new(list, json_pack("{s:s, s:i, s:o}", "object", "embedding", "index",
                                              (int)i, "embedding", vector(is_base64)));
    }
    reply_json(exchange, json_pack("{s:s, s:o, s:s, s:{s:I, s:I}}", "object", "list", "data", list,
                                   "model", "stub", "usage", "prompt_tokens", (json_int_t)n,
                                   "total_tokens", (json_int_t)n));
}

// A token for each word.
static void tokenize(struct http_exchange *exchange, const json_t *root) {
    const char *last;
    json_t *tokens = json_array();
    for (long i = n_of_request(root, &last); i > 0; i--) {
        json_array_append_new(tokens, json_integer(i));
    }
    reply_json(exchange, json_pack("{s:o}", "tokens", tokens));
}

static void reply_properties(struct http_exchange *exchange) {
    reply_json(exchange, json_pack("{s:i, s:{s:i}, s:{s:b, s:b}, s:s}", "total_slots", stub.slots,
                                   "default_generation_settings", "n_ctx", 4096, "modalities",
                                   "vision", 1, "audio", 0, "build_info", "b11669-stub"));
}

static void reply_counts(struct http_exchange *exchange) {
    reply_json(exchange,
               json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:O?}", "requests",
                         (json_int_t)stub.n_requests, "running", (json_int_t)stub.n_running, "most",
                         (json_int_t)stub.n_most, "left", (json_int_t)stub.n_left, "counts",
                         (json_int_t)stub.n_counts, "last_body", stub.last_body, "last_headers",
                         stub.last_headers));
}

// What a client sent and what the gateway put in its place.
static void keep_headers(struct http_exchange *exchange) {
    static const char *const NAMES[] = {"authorization",     "x-api-key",      "content-type",
                                        "anthropic-version", "anthropic-beta", "x-evil",
                                        "x-request-id"};
    json_decref(stub.last_headers);
    stub.last_headers = json_object();
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        const char *value = http_exchange_header(exchange, NAMES[i]);
        if (value) {
            json_object_set_new(stub.last_headers, NAMES[i], json_string(value));
        }
    }
}

static void on_post(struct http_exchange *exchange, const char *path) {
    json_t *root = NULL;
    size_t n;
    const char *last, *body = http_exchange_body(exchange, &n);
    if (openai_json_parse(body, n, &root, NULL) != WL_OK) {
        reply(exchange, 400, "{\"error\":{\"message\":\"no JSON\",\"type\":\"stub\",\"code\":1}}");
        return;
    }
    if (strcmp(path, "/v1/chat/completions/input_tokens") == 0) {
        stub.n_counts++;
        reply_json(exchange,
                   json_pack("{s:I}", "input_tokens", (json_int_t)n_of_request(root, &last)));
    } else if (strcmp(path, "/tokenize") == 0) {
        stub.n_counts++;
        tokenize(exchange, root);
    } else {
        stub.n_requests++;
        keep_headers(exchange);
        snprintf(stub.last_body, sizeof stub.last_body, "%.*s", (int)(n < 4000 ? n : 0), body);
        if (strcmp(path, "/v1/embeddings") == 0) {
            embed(exchange, root);
        } else if (strcmp(path, "/v1/messages") == 0) {
            long tokens = n_of_request(root, &last);
            reply_json(exchange, json_pack("{s:s, s:[{s:s, s:s}], s:{s:I, s:i}}", "type", "message",
                                           "content", "type", "text", "text", "hello", "usage",
                                           "input_tokens", (json_int_t)tokens, "output_tokens", 1));
        } else {
            begin_answer(exchange, root, strstr(path, "chat") != NULL);
        }
    }
    json_decref(root);
}

static void on_request(void *context, struct http_exchange *exchange) {
    const char *path = http_exchange_path(exchange);
    (void)context;
    if (strcmp(http_exchange_method(exchange), "POST") == 0) {
        on_post(exchange, path);
    } else if (strcmp(path, "/stub") == 0) {
        reply_counts(exchange);
    } else if (strcmp(path, "/health") == 0) {
        reply(exchange, 200, "{\"status\":\"ok\"}");
    } else if (strcmp(path, "/props") == 0) {
        reply_properties(exchange);
    } else if (strcmp(path, "/v1/models") == 0) {
        reply(exchange, 200,
              "{\"object\":\"list\",\"data\":[{\"id\":\"stub\",\"object\":\"model\","
              "\"owned_by\":\"llamacpp\"}]}");
    } else {
        reply(exchange, 404, "{\"error\":{\"message\":\"no such path\",\"type\":\"stub\"}}");
    }
}

static void on_gone(void *context, struct http_exchange *exchange) {
    struct answer *a = http_exchange_state(exchange);
    (void)context;
    stub.n_left++;
    if (a) {
        a->exchange = NULL;
        http_exchange_set_state(exchange, NULL);
    }
}

static void ignore(void *context, struct http_exchange *exchange) {
    (void)context;
    (void)exchange;
}

static void on_too_large(void *context, struct http_exchange *exchange) {
    (void)context;
    reply(exchange, 413, "{}");
}

static const struct http_handlers HANDLERS = {.on_headers = ignore,
                                              .on_too_large = on_too_large,
                                              .on_request = on_request,
                                              .on_gone = on_gone,
                                              .on_drained = ignore,
                                              .on_end = ignore};

int main(int argc, char **argv) {
    struct http_listen where = {.host = "127.0.0.1"};
    struct http_limits limits = {.header_bytes = 32768,
                                 .body_bytes = 64 << 20,
                                 .waiting_bytes = 16 << 20,
                                 .n_connections = 4096,
                                 .silence_seconds = 600};
    struct wl_err err = {0};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0) {
            where.port = (uint16_t)strtol(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--slots") == 0) {
            stub.slots = (int)strtol(argv[i + 1], NULL, 10);
        }
    }
    uv_loop_init(&stub.loop);
    if (http_server_open(&stub.loop, &where, &limits, &HANDLERS, NULL, &stub.server, &err) !=
        WL_OK) {
        fprintf(stderr, "fake_model_server: %s\n", err.message);
        return 1;
    }
    printf("%u\n", (unsigned)http_server_port(stub.server));
    fflush(stdout);
    uv_run(&stub.loop, UV_RUN_DEFAULT);
    return 0;
}
