// A counting with its model server, for the tests of it; what may not be called by one of them is
// inline.
#ifndef TESTS_GATEWAY_COUNTING_BENCH_H
#define TESTS_GATEWAY_COUNTING_BENCH_H

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/client.h"
#include "gateway/counting.h"
#include "image/image.h"
#include "loop.h"
#include "os/clock.h"
#include "os/file.h"
#include "real_server.h"
#include "stub_server.h"

struct bench {
    uv_loop_t loop;
    struct http_client *client;
    struct gateway_worker *worker;
    struct stub stub;
    struct upstream *upstream;
    struct counting *counting;
    struct real_server real;
    bool is_closed;
    bool has_file, has_mmproj; // what find_model finds
    // The last count.
    bool is_done;
    int n_done;
    enum wl_status status;
    int64_t n_tokens;
    int http_status;
    char message[WL_ERR_MESSAGE_BYTES];
};

// ---- the bench ----

static inline bool find_model(void *context, const char *model, char *path, size_t path_size,
                              char *mmproj, size_t mmproj_size) {
    struct bench *b = context;
    snprintf(path, path_size, "%s", b->real.model);
    snprintf(mmproj, mmproj_size, "%s", b->has_mmproj ? b->real.mmproj : "");
    return b->has_file && strcmp(model, "unknown") != 0;
}

static inline void open_bench(struct bench *b, const char *url,
                              const struct upstream_server *server) {
    struct wl_err err = {0};
    struct upstream_options up = {
        .loop = &b->loop, .client = b->client, .url = url, .server = server, .probe_ms = 1000};
    assert_int_equal(upstream_open(&up, &b->upstream, &err), WL_OK);
    struct counting_options options = {.client = b->client,
                                       .upstream = b->upstream,
                                       .worker = b->worker,
                                       .find_model = find_model,
                                       .context = b};
    if (counting_open(&options, &b->counting, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
}

static inline void wait_until_up(struct bench *b) {
    struct upstream_facts facts;
    int64_t start_ns = os_now_ns();
    do {
        loop_run_for(&b->loop, 10);
        upstream_facts(b->upstream, &facts);
        assert_true(os_now_ns() - start_ns < 30000000000);
    } while (facts.health != UPSTREAM_UP);
}

static inline void begin(struct bench *b) {
    struct wl_err err;
    memset(b, 0, sizeof *b);
    uv_loop_init(&b->loop);
    assert_int_equal(http_client_open(&b->loop, 2, &b->client, &err), WL_OK);
    assert_int_equal(worker_open(&b->loop, &b->worker, &err), WL_OK);
}

static inline void open_stub(struct bench *b, const struct stub_answer *answers) {
    begin(b);
    assert_true(stub_open(&b->stub, &b->loop, 0, answers));
    open_bench(b, b->stub.url, NULL);
    wait_until_up(b);
}

// False when there is no real server. `model` NULL: the built-in one; `more`: arguments of the
// server, NULL at the end.
static inline bool open_server(struct bench *b, const char *model, const char *const *more,
                               bool has_eyes) {
    struct real_server real;
    if (!real_server_find(&real)) {
        return false;
    }
    begin(b);
    b->real = real;
    struct upstream_server settings = real.settings;
    settings.program = b->real.program;
    settings.model = model ? model : b->real.model;
    settings.mmproj = has_eyes ? b->real.mmproj : NULL;
    settings.socket_path = b->real.socket;
    settings.n_slots = 1;
    settings.image_max_tokens = 0;
    settings.more_args = more;
    open_bench(b, NULL, &settings);
    wait_until_up(b);
    return true;
}

static inline bool open_real(struct bench *b, const char *const *more, bool has_eyes) {
    return open_server(b, NULL, more, has_eyes);
}

static inline bool open_real_model(struct bench *b, const char *model) {
    return open_server(b, model, NULL, false);
}

static inline void on_closed(void *context) {
    *(bool *)context = true;
}

static inline void close_bench(struct bench *b) {
    counting_close(b->counting);
    upstream_close(b->upstream, on_closed, &b->is_closed);
    assert_true(loop_until(&b->loop, &b->is_closed));
    worker_close(b->worker, NULL, NULL);
    http_client_close(b->client);
    http_server_close(b->stub.server);
    assert_true(loop_is_empty(&b->loop));
    if (*b->real.folder) {
        rmdir(b->real.folder);
    }
}

// ---- counting ----

static inline void on_done(void *context, enum wl_status status, int64_t n_tokens, int http_status,
                           const char *message) {
    struct bench *b = context;
    b->is_done = true;
    b->n_done++;
    b->status = status;
    b->n_tokens = n_tokens;
    b->http_status = http_status;
    snprintf(b->message, sizeof b->message, "%s", message);
}

static inline struct openai_request parse(enum openai_endpoint endpoint, const char *text) {
    struct openai_request request;
    struct openai_fault fault;
    if (openai_request_parse(endpoint, text, strlen(text), &request, &fault) != WL_OK) {
        fail_msg("%s", fault.err.message);
    }
    return request;
}

static inline int64_t count(struct bench *b, enum openai_endpoint endpoint, const char *text) {
    struct openai_request request = parse(endpoint, text);
    struct count_call *call;
    struct wl_err err;
    b->is_done = false;
    assert_int_equal(
        count_start(b->counting, &request, text, strlen(text), on_done, b, &call, &err), WL_OK);
    assert_false(b->is_done);
    assert_true(loop_until(&b->loop, &b->is_done));
    openai_request_release(&request);
    return b->n_tokens;
}

static inline void expect_count(struct bench *b, enum openai_endpoint endpoint, const char *text,
                                int64_t n) {
    count(b, endpoint, text);
    if (b->status != WL_OK || b->n_tokens != n) {
        fail_msg("%s: %d tokens instead of %d, status %d: %s", text, (int)b->n_tokens, (int)n,
                 (int)b->status, b->message);
    }
}

static inline void expect_no(struct bench *b, enum openai_endpoint endpoint, const char *text,
                             enum wl_status status, const char *words) {
    count(b, endpoint, text);
    if (b->status != status || !strstr(b->message, words)) {
        fail_msg("%s: status %d, '%s'", text, (int)b->status, b->message);
    }
    assert_int_equal(b->n_tokens, 0);
}

#define CHAT(content) "{\"messages\":[{\"role\":\"user\",\"content\":" content "}]}"
#define PICTURE "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}"

// ---- cancelling ----

// Starts a count, lets the loop run so many milliseconds, cancels, and frees the request at once.
static inline void cancel_after(struct bench *b, const char *text, int ms) {
    char *copy = strdup(text);
    struct openai_request request = parse(OPENAI_CHAT, copy);
    struct count_call *call;
    struct wl_err err;
    int n_done = b->n_done;
    assert_int_equal(
        count_start(b->counting, &request, copy, strlen(copy), on_done, b, &call, &err), WL_OK);
    if (ms >= 0) {
        loop_run_for(&b->loop, (uint64_t)ms);
    }
    if (b->n_done == n_done) {
        count_cancel(call);
    }
    openai_request_release(&request);
    free(copy);
    n_done = b->n_done;
    loop_run_for(&b->loop, 20);
    assert_int_equal(b->n_done, n_done);
}

#endif
