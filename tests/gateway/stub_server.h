// A model server made of fixed answers, on the loop of the test.
#ifndef TESTS_GATEWAY_STUB_SERVER_H
#define TESTS_GATEWAY_STUB_SERVER_H

#include <stdio.h>
#include <string.h>

#include "gateway/http_server.h"

struct stub_answer {
    const char *path;
    unsigned status;
    const char *body;
};

struct stub {
    struct http_server *server;
    const struct stub_answer *answers; // path NULL at the end: of all other paths
    bool is_silent;
    int n_requests;
    char last_path[128], last_key[128], last_body[4096];
    char url[64];
    struct http_exchange *held[16]; // those that got no answer
    size_t n_held;
};

static const struct http_limits STUB_LIMITS = {.header_bytes = 8192,
                                               .body_bytes = 1 << 22,
                                               .waiting_bytes = 1 << 22,
                                               .n_connections = 64,
                                               .silence_seconds = 60};

static inline void stub_reply(struct http_exchange *exchange, unsigned status, const char *text) {
    struct buf body;
    buf_init(&body, 1 << 22);
    buf_puts(&body, text);
    http_reply(exchange, status, "application/json", &body);
}

static inline void stub_on_request(void *context, struct http_exchange *exchange) {
    struct stub *stub = context;
    const struct stub_answer *answer = stub->answers;
    const char *path = http_exchange_path(exchange);
    const char *key = http_exchange_header(exchange, "Authorization");
    size_t n = 0;
    const char *body = http_exchange_body(exchange, &n);
    stub->n_requests++;
    snprintf(stub->last_path, sizeof stub->last_path, "%s", path);
    snprintf(stub->last_key, sizeof stub->last_key, "%s", key ? key : "");
    snprintf(stub->last_body, sizeof stub->last_body, "%.*s", (int)n, body ? body : "");
    if (stub->is_silent) {
        stub->held[stub->n_held++ % 16] = exchange;
        return;
    }
    while (answer->path && strcmp(answer->path, path) != 0) {
        answer++;
    }
    stub_reply(exchange, answer->status, answer->body);
}

static inline void stub_on_any(void *context, struct http_exchange *exchange) {
    (void)context;
    (void)exchange;
}

static const struct http_handlers STUB_HANDLERS = {.on_headers = stub_on_any,
                                                   .on_too_large = stub_on_any,
                                                   .on_unclear = stub_on_any,
                                                   .on_request = stub_on_request,
                                                   .on_gone = stub_on_any,
                                                   .on_drained = stub_on_any,
                                                   .on_end = stub_on_any};

// `port` 0: any. False when it cannot listen.
static inline bool stub_open(struct stub *stub, uv_loop_t *loop, uint16_t port,
                             const struct stub_answer *answers) {
    struct wl_err err;
    *stub = (struct stub){.answers = answers};
    if (http_server_open(loop, &(struct http_listen){"127.0.0.1", port}, &STUB_LIMITS,
                         &STUB_HANDLERS, stub, &stub->server, &err) != WL_OK) {
        return false;
    }
    snprintf(stub->url, sizeof stub->url, "http://127.0.0.1:%u", http_server_port(stub->server));
    return true;
}

#define STUB_MODELS "{\"object\":\"list\",\"data\":[{\"id\":\"tiny\"},{\"id\":\"other\"}]}"

static const struct stub_answer STUB_LLAMA[] = {
    {"/health", 200, "{\"status\":\"ok\"}"},
    {"/props", 200,
     "{\"default_generation_settings\":{\"n_ctx\":2048},\"total_slots\":3,"
     "\"modalities\":{\"vision\":true},\"build_info\":\"b11669-Debian\"}"},
    {"/v1/models", 200, STUB_MODELS},
    {"/v1/messages", 500, "{\"error\":{\"message\":\"'messages' is required\"}}"},
    {"/v1/responses", 400, "{\"error\":{\"message\":\"'input' is required\"}}"},
    {"/v1/chat/completions/input_tokens", 200, "{\"input_tokens\":42}"},
    {"/tokenize", 200, "{\"tokens\":[1,2,3,4,5]}"},
    {NULL, 404, "{\"error\":{\"message\":\"File Not Found\"}}"}};

static const struct stub_answer STUB_VLLM[] = {
    {"/health", 200, ""},
    {"/version", 200, "{\"version\":\"0.9.2\"}"},
    {"/v1/models", 200, "{\"data\":[{\"id\":\"qwen\",\"max_model_len\":8192}]}"},
    {"/tokenize", 200, "{\"count\":17,\"max_model_len\":8192,\"tokens\":[1]}"},
    {"/v1/messages", 405, "{\"detail\":\"Method Not Allowed\"}"},
    {"/v1/responses", 400, "{\"detail\":[]}"},
    {NULL, 404, "{\"detail\":\"Not Found\"}"}};

static const struct stub_answer STUB_OLLAMA[] = {
    {"/api/version", 200, "{\"version\":\"0.5.1\"}"},
    {"/api/tags", 200, "{\"models\":[{\"name\":\"llama3:8b\"}]}"},
    {"/v1/models", 200, "{\"data\":[{\"id\":\"llama3:8b\"}]}"},
    {"/v1/responses", 404, "{\"error\":{\"message\":\"model '' not found\"}}"},
    {NULL, 404, "404 page not found"}};

static const struct stub_answer STUB_OTHER[] = {{"/v1/models", 200, STUB_MODELS},
                                                {NULL, 404, "{}"}};

#endif
