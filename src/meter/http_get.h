// GET of a small page from a device on the local network: one connection kept open, everything
// bounded (2 s to connect, 3 s in all, 64 KiB), http and https only, no redirect followed, no
// proxy. Messages name the host and the path, never the query or the password.
#ifndef WATTLAW_METER_HTTP_GET_H
#define WATTLAW_METER_HTTP_GET_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { HTTP_MAX_BODY_BYTES = 65536, HTTP_URL_BYTES = 1536 };

struct http_options {
    // What is sent when the server asks for a password: digest where it can, else basic. "user" and
    // "password" are both set or both NULL.
    const char *user, *password;
    const char *bearer; // sent with every request; NULL: none
};

struct http_reply {
    struct buf body;
    int64_t date_s; // the server's own clock (Date header), seconds since 1970; -1 without
};

struct http_get;

// UNSUPPORTED where libcurl is missing. Nothing is sent yet; the options are copied.
enum wl_status http_get_new(const struct http_options *options, struct http_get **out,
                            struct wl_err *err);
void http_get_free(struct http_get *http); // NULL is fine

// OK for a complete answer with status 200 only. *reply is borrowed until the next call.
// PERMISSION: 401 or 403. NOT_FOUND: 404, or no such host. TIMEOUT. LIMIT: too long. INPUT: any
// other answer. IO: no connection, or it broke.
enum wl_status http_get(struct http_get *http, const char *url, const struct http_reply **reply,
                        struct wl_err *err);

#endif
