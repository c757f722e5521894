// The gateway's HTTP server and client, against each other and against clients that misbehave.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/http_client.h"
#include "gateway/http_server.h"
#include "loop.h"

static const struct http_limits LIMITS = {.header_bytes = 8192,
                                          .body_bytes = 100000,
                                          .waiting_bytes = 65536,
                                          .n_connections = 64,
                                          .silence_seconds = 2};

struct bench {
    uv_loop_t loop;
    struct http_server *server;
    struct http_client *client;
    // What the server saw.
    struct http_exchange *exchange; // that is under way
    char body[256];
    size_t n_body;
    int n_requests, n_gone, n_drained, n_ends, n_too_large;
    bool has_request, is_gone, has_ended, has_drained;
    bool is_held; // requests are left waiting
    // What the client saw.
    struct buf reply;
    long status;
    int n_heads, n_data;
    bool has_end;
    enum wl_status end;
};

// ---- the server's side: answers by path ----

static void reply_text(struct http_exchange *exchange, unsigned status, const char *text) {
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_puts(&body, text);
    http_reply(exchange, status, "text/plain", &body);
}

static void on_headers(void *context, struct http_exchange *exchange) {
    (void)context;
    if (strcmp(http_exchange_path(exchange), "/forbidden") == 0) {
        reply_text(exchange, 403, "no");
    }
}

static void on_too_large(void *context, struct http_exchange *exchange) {
    struct bench *b = context;
    b->n_too_large++;
    reply_text(exchange, 413, "too large");
}

static void on_request(void *context, struct http_exchange *exchange) {
    struct bench *b = context;
    const char *body = http_exchange_body(exchange, &b->n_body);
    snprintf(b->body, sizeof b->body, "%s", body);
    b->n_requests++;
    b->has_request = true;
    b->exchange = exchange;
    if (b->is_held) {
        return;
    }
    if (strcmp(http_exchange_path(exchange), "/stream") == 0) {
        http_stream_begin(exchange, 200, "text/event-stream");
        return;
    }
    http_exchange_add_header(exchange, "X-Test", "yes");
    http_exchange_add_header(exchange, "X-Bad", "two\r\nlines");
    reply_text(exchange, 200, http_exchange_method(exchange));
}

static void on_gone(void *context, struct http_exchange *exchange) {
    struct bench *b = context;
    assert_true(!b->exchange || exchange == b->exchange); // may leave before it has asked
    b->n_gone++;
    b->is_gone = true;
}

static void on_drained(void *context, struct http_exchange *exchange) {
    struct bench *b = context;
    (void)exchange;
    b->n_drained++;
    b->has_drained = true;
}

static void on_end(void *context, struct http_exchange *exchange) {
    struct bench *b = context;
    b->n_ends++;
    b->has_ended = true;
    if (b->exchange == exchange) {
        b->exchange = NULL;
    }
}

static const struct http_handlers HANDLERS = {.on_headers = on_headers,
                                              .on_too_large = on_too_large,
                                              .on_request = on_request,
                                              .on_gone = on_gone,
                                              .on_drained = on_drained,
                                              .on_end = on_end};

// ---- the client's side ----

static void on_head(void *context, struct http_call *call, long status, const char *type) {
    struct bench *b = context;
    (void)call;
    (void)type;
    b->n_heads++;
    b->status = status;
}

static void on_data(void *context, struct http_call *call, const char *bytes, size_t n) {
    struct bench *b = context;
    (void)call;
    b->n_data++;
    buf_append(&b->reply, bytes, n);
}

static void on_call_end(void *context, struct http_call *call, enum wl_status status,
                        const char *message) {
    struct bench *b = context;
    (void)call;
    (void)message;
    b->end = status;
    b->has_end = true;
}

static struct http_call *ask(struct bench *b, const char *path, const char *body, size_t n_body) {
    char url[128];
    struct http_call *call;
    struct wl_err err;
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", http_server_port(b->server), path);
    b->has_end = b->has_request = b->has_ended = b->is_gone = false;
    b->n_heads = 0;
    buf_clear(&b->reply);
    struct http_call_options options = {.method = body ? "POST" : "GET",
                                        .url = url,
                                        .body = body,
                                        .n_body = n_body,
                                        .connect_ms = 5000,
                                        .on_head = on_head,
                                        .on_data = on_data,
                                        .on_end = on_call_end,
                                        .context = b};
    assert_int_equal(http_call_start(b->client, &options, &call, &err), WL_OK);
    return call;
}

static void open_bench(struct bench *b) {
    struct wl_err err;
    memset(b, 0, sizeof *b);
    uv_loop_init(&b->loop);
    buf_init(&b->reply, 1 << 24);
    if (http_server_open(&b->loop, &(struct http_listen){"127.0.0.1", 0}, &LIMITS, &HANDLERS, b,
                         &b->server, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(http_client_open(&b->loop, 4, &b->client, &err), WL_OK);
}

static void close_bench(struct bench *b) {
    http_client_close(b->client);
    http_server_close(b->server);
    assert_true(loop_is_empty(&b->loop));
    buf_release(&b->reply);
}

// ---- tests ----

static void test_requests_and_replies(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    ask(&b, "/hello", NULL, 0);
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_equal(b.end, WL_OK);
    assert_int_equal(b.status, 200);
    assert_string_equal(buf_text(&b.reply), "GET");
    for (int i = 0; i < 5; i++) {
        ask(&b, "/hello", "{\"a\":1}", 7);
        assert_true(loop_until(&b.loop, &b.has_end));
        assert_string_equal(b.body, "{\"a\":1}");
        assert_string_equal(buf_text(&b.reply), "POST");
        assert_int_equal(b.n_heads, 1);
    }
    assert_int_equal(b.n_requests, 6);
    assert_int_equal(b.n_gone, 0);
    close_bench(&b);
    assert_int_equal(b.n_ends, 6);
}

static void test_refused_before_the_body(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    char *body = calloc(1, 90000);
    memset(body, 'x', 90000);
    ask(&b, "/forbidden", body, 90000);
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_equal(b.end, WL_OK);
    assert_int_equal(b.status, 403);
    assert_int_equal(b.n_requests, 0);
    free(body);
    close_bench(&b);
}

static void test_too_large(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    char *body = calloc(1, 100001);
    memset(body, 'x', 100001);
    ask(&b, "/hello", body, 100001);
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_equal(b.n_too_large, 1);
    assert_int_equal(b.n_requests, 0);
    ask(&b, "/hello", body, 100000); // exactly the limit
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_equal(b.status, 200);
    assert_int_equal(b.n_body, 100000);
    free(body);
    close_bench(&b);
}

static void test_a_stream_comes_piece_by_piece(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    ask(&b, "/stream", "{}", 2);
    assert_true(loop_until(&b.loop, &b.has_request));
    for (int i = 0; i < 20; i++) {
        size_t before = b.reply.len;
        assert_true(http_stream_write(b.exchange, "data: x\n\n", 9));
        for (int k = 0; k < 1000 && b.reply.len == before; k++) {
            uv_run(&b.loop, UV_RUN_NOWAIT);
        }
        assert_int_equal(b.reply.len, before + 9); // nothing waits for what comes later
    }
    http_stream_end(b.exchange);
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_equal(b.end, WL_OK);
    assert_int_equal(b.n_gone, 0);
    close_bench(&b);
}

static void test_a_cut_stream_is_not_whole(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    ask(&b, "/stream", "{}", 2);
    assert_true(loop_until(&b.loop, &b.has_request));
    http_stream_write(b.exchange, "data: x\n\n", 9);
    loop_run_for(&b.loop, 20);
    http_stream_abort(b.exchange);
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_equal(b.end, WL_IO);
    close_bench(&b);
}

static void test_a_client_that_leaves_is_noticed(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    b.is_held = true; // nothing is sent, so nothing can fail: it must be looked for
    struct http_call *call = ask(&b, "/hello", "{}", 2);
    assert_true(loop_until(&b.loop, &b.has_request));
    loop_run_for(&b.loop, 150);
    assert_int_equal(b.n_gone, 0);
    http_call_cancel(call);
    assert_true(loop_until(&b.loop, &b.is_gone));
    assert_true(loop_until(&b.loop, &b.has_ended));
    assert_int_equal(b.n_gone, 1);
    assert_false(b.has_end); // cancelled calls are not told
    close_bench(&b);
    assert_int_equal(b.n_ends, 1);
}

static void test_a_slow_client_is_cut_off(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    struct http_call *call = ask(&b, "/stream", "{}", 2);
    assert_true(loop_until(&b.loop, &b.has_request));
    char piece[1024];
    memset(piece, 'x', sizeof piece);
    http_stream_write(b.exchange, piece, sizeof piece);
    loop_run_for(&b.loop, 50);
    http_call_pause(call, true);
    bool was_full = false;
    while (b.exchange && http_stream_write(b.exchange, piece, sizeof piece)) {
        was_full = was_full || http_stream_is_full(b.exchange);
        uv_run(&b.loop, UV_RUN_NOWAIT);
    }
    assert_true(was_full); // said so before
    assert_int_equal(b.n_gone, 1);
    http_call_cancel(call);
    close_bench(&b);
    assert_int_equal(b.n_ends, 1);
}

static void test_a_full_stream_drains(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    struct http_call *call = ask(&b, "/stream", "{}", 2);
    assert_true(loop_until(&b.loop, &b.has_request));
    char piece[1024];
    memset(piece, 'x', sizeof piece);
    http_stream_write(b.exchange, piece, sizeof piece);
    loop_run_for(&b.loop, 50);
    http_call_pause(call, true);
    size_t n = 1;
    while (!http_stream_is_full(b.exchange)) {
        http_stream_write(b.exchange, piece, sizeof piece);
        uv_run(&b.loop, UV_RUN_NOWAIT);
        n++;
    }
    assert_int_equal(b.n_drained, 0);
    http_call_pause(call, false);
    assert_true(loop_until(&b.loop, &b.has_drained));
    http_stream_end(b.exchange);
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_equal(b.reply.len, n * sizeof piece);
    close_bench(&b);
}

static int connect_raw(const struct bench *b) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(b->server)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void test_a_silent_client_is_cut_off(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    int fd = connect_raw(&b);
    const char half[] = "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    assert_int_equal(write(fd, half, sizeof half - 1), sizeof half - 1);
    loop_run_for(&b.loop, 200);
    assert_int_equal(b.n_ends, 0);
    assert_true(loop_until(&b.loop, &b.has_ended));
    assert_int_equal(b.n_requests, 0);
    char c;
    assert_true(recv(fd, &c, 1, 0) <= 0);
    close(fd);
    close_bench(&b);
}

static void test_an_endless_body_is_cut_off(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    int fd = connect_raw(&b);
    const char head[] = "POST /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    char chunk[1100];
    int n = snprintf(chunk, sizeof chunk, "400\r\n%01024d\r\n", 0);
    assert_int_equal(write(fd, head, sizeof head - 1), sizeof head - 1);
    for (int i = 0; i < 200 && !b.has_ended; i++) {
        if (send(fd, chunk, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
            break;
        }
        uv_run(&b.loop, UV_RUN_NOWAIT);
    }
    assert_true(loop_until(&b.loop, &b.has_ended));
    assert_int_equal(b.n_requests, 0);
    close(fd);
    close_bench(&b);
}

static void test_nonsense_is_refused(void **state) {
    static const char *const NONSENSE[] = {
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: "
        "chunked\r\n\r\n0\r\n\r\n"};
    struct bench b;
    (void)state;
    open_bench(&b);
    b.is_held = true; // an answer is no nonsense
    for (size_t i = 0; i < sizeof NONSENSE / sizeof *NONSENSE; i++) {
        int fd = connect_raw(&b);
        send(fd, NONSENSE[i], strlen(NONSENSE[i]), MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        loop_run_for(&b.loop, 150);
        close(fd);
        loop_run_for(&b.loop, 150);
    }
    assert_int_equal(http_server_n_exchanges(b.server), 0);
    close_bench(&b);
    assert_int_equal(b.n_gone, b.n_requests);
}

static void test_a_refused_connection(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    struct http_call_options options = {.method = "GET",
                                        .url = "http://127.0.0.1:1/",
                                        .connect_ms = 2000,
                                        .on_data = on_data,
                                        .on_end = on_call_end,
                                        .context = &b};
    struct http_call *call;
    struct wl_err err;
    assert_int_equal(http_call_start(b.client, &options, &call, &err), WL_OK);
    assert_false(b.has_end); // not from within the start
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_equal(b.end, WL_NOT_FOUND);
    options.url = "gopher://127.0.0.1/";
    b.has_end = false;
    if (http_call_start(b.client, &options, &call, &err) == WL_OK) {
        assert_true(loop_until(&b.loop, &b.has_end));
        assert_int_equal(b.end, WL_INPUT);
    }
    close_bench(&b);
}

// A server that is there and takes no connection: its queue is full.
struct full_server {
    int fds[8];
    char url[64];
};

static void open_full(struct full_server *full) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof address;
    full->fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(full->fds[0], (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(full->fds[0], 0), 0);
    assert_int_equal(getsockname(full->fds[0], (struct sockaddr *)&address, &n), 0);
    for (int i = 1; i < 8; i++) {
        full->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(full->fds[i], (struct sockaddr *)&address, sizeof address);
    }
    snprintf(full->url, sizeof full->url, "http://127.0.0.1:%u/", ntohs(address.sin_port));
}

// libcurl closes the socket of such an attempt without a word; its number comes again at once.
static void test_an_attempt_that_is_given_up_leaves_nothing(void **state) {
    struct full_server full;
    struct bench b;
    (void)state;
    open_bench(&b);
    open_full(&full);
    for (int i = 0; i < 6; i++) {
        bool is_cancelled = i % 2 == 0;
        struct http_call *call;
        struct wl_err err;
        struct http_call_options options = {.method = "GET",
                                            .url = full.url,
                                            .connect_ms = is_cancelled ? 5000 : 30,
                                            .on_data = on_data,
                                            .on_end = on_call_end,
                                            .context = &b};
        b.has_end = false;
        assert_int_equal(http_call_start(b.client, &options, &call, &err), WL_OK);
        if (is_cancelled) {
            loop_run_for(&b.loop, i == 2 ? 0 : 20);
            http_call_cancel(call);
        } else {
            assert_true(loop_until(&b.loop, &b.has_end));
            assert_int_equal(b.end, WL_TIMEOUT);
        }
        ask(&b, "/hello", NULL, 0);
        assert_true(loop_until(&b.loop, &b.has_end));
        assert_int_equal(b.end, WL_OK);
    }
    for (int i = 0; i < 8; i++) {
        close(full.fds[i]);
    }
    close_bench(&b);
}

static void test_a_time_limit(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    b.is_held = true;
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", http_server_port(b.server));
    struct http_call_options options = {.method = "GET",
                                        .url = url,
                                        .total_ms = 200,
                                        .on_data = on_data,
                                        .on_end = on_call_end,
                                        .context = &b};
    struct http_call *call;
    struct wl_err err;
    assert_int_equal(http_call_start(b.client, &options, &call, &err), WL_OK);
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_equal(b.end, WL_TIMEOUT);
    close_bench(&b);
}

static int n_addresses;

static bool count_and_allow(const struct sockaddr *address) {
    n_addresses += address->sa_family == AF_INET || address->sa_family == AF_INET6;
    return true;
}

static bool allow_none(const struct sockaddr *address) {
    (void)address;
    return false;
}

static void test_addresses_are_asked_about(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%u/hello", http_server_port(b.server));
    struct http_call_options options = {.method = "GET",
                                        .url = url,
                                        .on_head = on_head,
                                        .on_data = on_data,
                                        .on_end = on_call_end,
                                        .context = &b};
    struct http_call *call;
    struct wl_err err;
    bool (*const GUARDS[])(const struct sockaddr *) = {NULL, count_and_allow, count_and_allow,
                                                       allow_none, NULL};
    static const int SEEN[] = {0, 1, 2, 2, 2}; // at least: each call has a connection of its own
    for (size_t i = 0; i < sizeof GUARDS / sizeof *GUARDS; i++) {
        options.may_connect = GUARDS[i];
        b.has_end = false;
        assert_int_equal(http_call_start(b.client, &options, &call, &err), WL_OK);
        assert_true(loop_until(&b.loop, &b.has_end));
        assert_int_equal(b.end, GUARDS[i] == allow_none ? WL_PERMISSION : WL_OK);
        assert_in_range(n_addresses, SEEN[i], SEEN[i] * 2);
    }
    assert_int_equal(b.n_requests, 4);
    close_bench(&b);
}

// The machine's own name, known to somebody or not: curl looks for it through sockets of its own,
// of which nothing may be left.
static void test_a_name_is_looked_for(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    char host[128] = "", url[256];
    gethostname(host, sizeof host - 1);
    snprintf(url, sizeof url, "http://%s:%u/hello", host, http_server_port(b.server));
    struct http_call_options options = {.method = "GET",
                                        .url = url,
                                        .total_ms = 3000,
                                        .may_connect = allow_none,
                                        .on_data = on_data,
                                        .on_end = on_call_end,
                                        .context = &b};
    struct http_call *call;
    assert_int_equal(http_call_start(b.client, &options, &call, NULL), WL_OK);
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_not_equal(b.end, WL_OK);
    options.may_connect = NULL;
    b.has_end = false;
    assert_int_equal(http_call_start(b.client, &options, &call, NULL), WL_OK);
    uv_run(&b.loop, UV_RUN_NOWAIT);
    http_call_cancel(b.has_end ? NULL : call); // while it is looked for, perhaps
    ask(&b, "/hello", NULL, 0);
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_int_equal(b.end, WL_OK);
    close_bench(&b);
}

static void test_a_unix_socket(void **state) {
    struct bench b = {0};
    struct wl_err err;
    struct stat info;
    (void)state;
    char folder[] = "/tmp/wattlaw-gateway-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    uv_loop_init(&b.loop);
    buf_init(&b.reply, 1 << 20);
    assert_int_equal(http_client_open(&b.loop, 4, &b.client, &err), WL_OK);
    // One that a killed gateway left is taken over.
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    struct http_listen where = {path, 0};
    assert_int_equal(http_server_open(&b.loop, &where, &LIMITS, &HANDLERS, &b, &b.server, &err),
                     WL_OK);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    struct http_server *second;
    assert_int_equal(http_server_open(&b.loop, &where, &LIMITS, &HANDLERS, &b, &second, &err),
                     WL_BUSY);
    struct http_call_options options = {.method = "GET",
                                        .url = "http://model/hello",
                                        .unix_socket = path,
                                        .on_head = on_head,
                                        .on_data = on_data,
                                        .on_end = on_call_end,
                                        .context = &b};
    struct http_call *call;
    assert_int_equal(http_call_start(b.client, &options, &call, &err), WL_OK);
    assert_true(loop_until(&b.loop, &b.has_end));
    assert_string_equal(buf_text(&b.reply), "GET");
    close_bench(&b);
    assert_int_not_equal(stat(path, &info), 0);
    rmdir(folder);
}

static void test_bad_addresses(void **state) {
    uv_loop_t loop;
    struct http_server *server;
    struct wl_err err;
    (void)state;
    uv_loop_init(&loop);
    struct http_listen where = {"somewhere", 0};
    assert_int_equal(http_server_open(&loop, &where, &LIMITS, &HANDLERS, NULL, &server, &err),
                     WL_INPUT);
    assert_non_null(strstr(err.message, "somewhere"));
    char longest[200];
    memset(longest, '/', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    where.host = longest;
    assert_int_equal(http_server_open(&loop, &where, &LIMITS, &HANDLERS, NULL, &server, &err),
                     WL_INPUT);
    assert_true(loop_is_empty(&loop));
}

static void test_closing_with_requests_under_way(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b);
    b.is_held = true;
    ask(&b, "/hello", "{}", 2);
    assert_true(loop_until(&b.loop, &b.has_request));
    http_server_stop_listening(b.server);
    assert_int_equal(http_server_n_exchanges(b.server), 1);
    close_bench(&b);
    assert_int_equal(b.n_gone, 1);
    assert_int_equal(b.n_ends, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_and_replies),
        cmocka_unit_test(test_refused_before_the_body),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_a_stream_comes_piece_by_piece),
        cmocka_unit_test(test_a_cut_stream_is_not_whole),
        cmocka_unit_test(test_a_client_that_leaves_is_noticed),
        cmocka_unit_test(test_a_slow_client_is_cut_off),
        cmocka_unit_test(test_a_full_stream_drains),
        cmocka_unit_test(test_a_silent_client_is_cut_off),
        cmocka_unit_test(test_an_endless_body_is_cut_off),
        cmocka_unit_test(test_nonsense_is_refused),
        cmocka_unit_test(test_a_refused_connection),
        cmocka_unit_test(test_an_attempt_that_is_given_up_leaves_nothing),
        cmocka_unit_test(test_a_time_limit),
        cmocka_unit_test(test_addresses_are_asked_about),
        cmocka_unit_test(test_a_name_is_looked_for),
        cmocka_unit_test(test_a_unix_socket),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_closing_with_requests_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
