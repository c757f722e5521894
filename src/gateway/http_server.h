// HTTP/1.1 from clients, on the gateway's loop (libmicrohttpd behind a small interface: what it
// cannot do is done here, what it does is not repeated). Everything is bounded: headers, bodies,
// connections, what waits for a slow client. One thread; no call of this blocks.
#ifndef WATTLAW_GATEWAY_HTTP_SERVER_H
#define WATTLAW_GATEWAY_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"

struct http_limits {
    size_t header_bytes;      // request line and headers
    size_t body_bytes;        // 413 beyond
    size_t waiting_bytes;     // written to a stream but not yet taken by its client
    unsigned n_connections;   // further ones wait in the kernel's queue
    unsigned silence_seconds; // of a client that should send or take something; then it is cut off
};

// One request and its answer.
struct http_exchange;

// `context` is that of the server.
struct http_handlers {
    // The headers are there, a body may follow. A reply given here refuses the request before its
    // body is read.
    void (*on_headers)(void *context, struct http_exchange *exchange);
    // The body will be longer than the limit: to be answered at once; the connection ends then.
    void (*on_too_large)(void *context, struct http_exchange *exchange);
    // How long the body is, is said twice or in a way that is not known: who reads it otherwise
    // would find another request in it. To be answered at once; the connection ends then.
    void (*on_unclear)(void *context, struct http_exchange *exchange);
    // The request is whole; the reply may come at once or at any later time.
    void (*on_request)(void *context, struct http_exchange *exchange);
    // The client has left, or fell silent, before its answer was whole. Nothing can be sent any
    // more; on_end follows.
    void (*on_gone)(void *context, struct http_exchange *exchange);
    // A stream that was full can take more.
    void (*on_drained)(void *context, struct http_exchange *exchange);
    // Last: the answer is sent or lost; the exchange ends with this call.
    void (*on_end)(void *context, struct http_exchange *exchange);
};

struct http_server;

struct http_listen {
    const char *host; // an address, or a path that begins with '/': a Unix socket (mode 0600)
    uint16_t port;    // 0: any; http_server_port tells
};

// `loop`, `handlers` and `context` must outlive the server. BUSY when the address is taken; INPUT
// when it is none; PERMISSION; IO.
enum wl_status http_server_open(uv_loop_t *loop, const struct http_listen *where,
                                const struct http_limits *limits,
                                const struct http_handlers *handlers, void *context,
                                struct http_server **out, struct wl_err *err);
uint16_t http_server_port(const struct http_server *server);
// Takes no new connections from now on; those that are there go on.
void http_server_stop_listening(struct http_server *server);
size_t http_server_n_exchanges(const struct http_server *server); // that are not at their end
// Ends what is left (on_gone, on_end). The loop must run once more before its memory is gone.
void http_server_close(struct http_server *server); // NULL is fine

// ---- the request ----

const char *http_exchange_method(const struct http_exchange *exchange); // "POST"
const char *http_exchange_path(const struct http_exchange *exchange);   // "/v1/models", decoded
const char *http_exchange_query(struct http_exchange *exchange, const char *name);  // NULL
const char *http_exchange_header(struct http_exchange *exchange, const char *name); // NULL
const char *http_exchange_body(const struct http_exchange *exchange, size_t *n);
char *http_exchange_client(struct http_exchange *exchange, char *out, size_t size); // "127.0.0.1"
bool http_exchange_is_gone(const struct http_exchange *exchange);
// Yours; NULL at first.
void http_exchange_set_state(struct http_exchange *exchange, void *state);
void *http_exchange_state(const struct http_exchange *exchange);

// ---- the answer: one reply, or one stream ----

// Before http_reply or http_stream_begin. Values with control characters are left out.
void http_exchange_add_header(struct http_exchange *exchange, const char *name, const char *value);
// The contents of `body` are taken over; it is empty afterwards. NULL: no body.
void http_reply(struct http_exchange *exchange, unsigned status, const char *content_type,
                struct buf *body);
void http_stream_begin(struct http_exchange *exchange, unsigned status, const char *content_type);
// False when the client was too slow: more than `waiting_bytes` wait; it is cut off then.
bool http_stream_write(struct http_exchange *exchange, const void *bytes, size_t n);
// Half of `waiting_bytes` wait: the sender should pause until on_drained.
bool http_stream_is_full(const struct http_exchange *exchange);
void http_stream_end(struct http_exchange *exchange);
// The connection is cut, so that the client sees that its answer is not whole.
void http_stream_abort(struct http_exchange *exchange);

#endif
