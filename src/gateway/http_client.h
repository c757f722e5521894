// HTTP requests to model servers, on the gateway's loop (libcurl's multi interface). Connections
// are kept and used again. One thread; no call of this blocks.
#ifndef WATTLAW_GATEWAY_HTTP_CLIENT_H
#define WATTLAW_GATEWAY_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/err.h"

struct http_client;
struct http_call;

// n_kept: idle connections that stay open. A server with one thread for each connection (as
// llama-server has) is blocked by those that are kept and not used.
enum wl_status http_client_open(uv_loop_t *loop, unsigned n_kept, struct http_client **out,
                                struct wl_err *err);
// Calls that run are cancelled without a word. The loop must run once more before its memory is
// gone.
void http_client_close(struct http_client *client); // NULL is fine

struct http_call_options {
    const char *method;         // "GET", "POST"
    const char *url;            // http:// or https://
    const char *unix_socket;    // path, instead of the URL's host; NULL: none
    const char *const *headers; // "Name: value", NULL at the end; NULL: none
    const void *body;           // must stay until the call ends; NULL: none
    size_t n_body;
    int64_t connect_ms; // until connected; 0: no limit
    int64_t total_ms;   // 0: no limit
    // For addresses that strangers choose: asked for each address that the host's name stands for,
    // before it is connected to; the call fails with PERMISSION when there is no other. It has a
    // connection of its own, which is not kept. NULL: any address.
    bool (*may_connect)(const struct sockaddr *address);

    // The head of the answer. May be NULL.
    void (*on_head)(void *context, struct http_call *call, long status, const char *content_type);
    // Bytes of the body as they come.
    void (*on_data)(void *context, struct http_call *call, const char *bytes, size_t n);
    // Last: OK when the answer is whole; NOT_FOUND (nobody listens there: nothing was sent),
    // TIMEOUT, IO (cut off), INPUT (no HTTP), PERMISSION (may_connect). Not called after
    // http_call_cancel. The call ends with this.
    void (*on_end)(void *context, struct http_call *call, enum wl_status status,
                   const char *message);
    void *context;
};

// All strings are copied. No callback comes from within this. MEMORY.
enum wl_status http_call_start(struct http_client *client, const struct http_call_options *options,
                               struct http_call **out, struct wl_err *err);
long http_call_status(const struct http_call *call); // 0 before the head
// A header of the answer, after on_head; NULL.
const char *http_call_header(struct http_call *call, const char *name);
// No more data until resumed (for a client that is slow). Resuming may call on_data at once.
void http_call_pause(struct http_call *call, bool is_paused);
// Cuts the connection, which a model server takes as the wish to stop. May be called from the
// callbacks of the same call. NULL is fine.
void http_call_cancel(struct http_call *call);

#endif
