// One picture from the network: within bounds, without redirects, from public addresses only. On
// the gateway's loop.
#ifndef WATTLAW_GATEWAY_PICTURE_FETCH_H
#define WATTLAW_GATEWAY_PICTURE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/http_client.h"
#include "gateway/picture_url.h"

struct picture_fetch;

struct picture_fetch_options {
    struct http_client *client;
    const struct picture_url *url; // borrowed for the start only
    size_t max_bytes;
    int64_t total_ms;
    bool (*may_connect)(const struct sockaddr *address); // http_call_options
    // Never from within the start, but perhaps from within a callback of the client: start no call
    // in it. OK: the bytes are the receiver's, to be freed. LIMIT: more than max_bytes; MEMORY;
    // else INPUT, which says what came instead.
    void (*on_done)(void *context, enum wl_status status, const char *message, unsigned char *bytes,
                    size_t n);
    void *context;
};
enum wl_status picture_fetch_start(const struct picture_fetch_options *options,
                                   struct picture_fetch **out, struct wl_err *err);
void picture_fetch_cancel(struct picture_fetch *fetch); // no on_done. NULL is fine

#endif
