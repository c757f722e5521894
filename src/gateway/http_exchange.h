// Parts of http_server.c: one request and its answer as libmicrohttpd sees them.
#ifndef WATTLAW_GATEWAY_HTTP_EXCHANGE_H
#define WATTLAW_GATEWAY_HTTP_EXCHANGE_H

#include <microhttpd.h>

#include "gateway/http_server.h"

enum http_answer {
    HTTP_NO_ANSWER,
    HTTP_REPLY,  // `out` is all of it
    HTTP_STREAM, // `out` is what waits; more comes
    HTTP_WHOLE,  // a stream to which nothing comes any more
    HTTP_CUT,    // the connection is to be cut
};

// Tells when a client leaves while its connection is suspended: libmicrohttpd does not look then.
// Outlives its exchange until the loop has closed it.
struct http_watch {
    uv_poll_t poll;
    struct http_exchange *exchange; // NULL: its exchange has ended
};

struct http_exchange {
    struct http_server *server;
    struct MHD_Connection *connection;
    char *method, *path;
    struct buf body;
    struct buf out;
    size_t n_taken;                // bytes of `out` that went to the client's socket
    struct MHD_Response *response; // made, not queued
    unsigned status;
    enum http_answer answer;
    bool is_whole;   // the request is: on_request was called
    bool is_refused; // answered before its body: what comes of it is thrown away
    bool is_queued;  // libmicrohttpd has the response
    bool is_suspended;
    bool is_gone, was_full;
    int64_t since_ns; // it waits
    struct http_watch *watch;
    char **headers; // name, value, name, value...
    size_t n_headers;
    void *state;
    struct http_exchange *previous, *next;
};

struct http_server {
    uv_loop_t *loop;
    struct MHD_Daemon *daemon;
    int listen_fd;
    char *socket_path; // of a Unix socket, to be removed
    uint16_t port;
    struct http_limits limits;
    const struct http_handlers *handlers;
    void *context;
    uv_poll_t poll;       // of libmicrohttpd's own epoll descriptor
    uv_prepare_t prepare; // runs it before the loop sleeps, when something has changed
    uv_timer_t timer;     // its timeouts
    uv_timer_t look;      // for clients that have left
    bool is_run_wanted;
    int n_handles; // not closed yet
    struct http_exchange *first;
    size_t n_exchanges;
};

// The callbacks that libmicrohttpd gets.
enum MHD_Result http_exchange_access(void *server, struct MHD_Connection *connection,
                                     const char *url, const char *method, const char *version,
                                     const char *data, size_t *n_data, void **exchange);
void http_exchange_completed(void *server, struct MHD_Connection *connection, void **exchange,
                             enum MHD_RequestTerminationCode code);
// A client of this exchange has left: tells the handlers, once, and lets the connection end.
void http_exchange_lost(struct http_exchange *exchange);
// Begins to look whether the client is still there.
void http_exchange_watch(struct http_exchange *exchange);

#endif
