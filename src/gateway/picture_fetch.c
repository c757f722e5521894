#include "gateway/picture_fetch.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

struct picture_fetch {
    struct picture_fetch_options options;
    char host[PICTURE_HOST_BYTES];
    struct http_call *call;
    struct buf body;
};

static const char *const HEADERS[] = {"Accept: image/jpeg, image/png, image/webp", NULL};

static void free_fetch(struct picture_fetch *fetch) {
    buf_release(&fetch->body);
    free(fetch);
}

static void fail(struct picture_fetch *fetch, const struct wl_err *err) {
    struct picture_fetch_options options = fetch->options;
    http_call_cancel(fetch->call);
    free_fetch(fetch);
    options.on_done(options.context, err->status, err->message, NULL, 0);
}

static void fail_too_large(struct picture_fetch *fetch) {
    struct wl_err err;
    wl_err_set(&err, WL_LIMIT, "the picture at '%s' has more than %zu bytes", fetch->host,
               fetch->options.max_bytes);
    fail(fetch, &err);
}

static void fail_unexpected(struct picture_fetch *fetch, long status) {
    struct wl_err err;
    const char *next = status >= 300 && status < 400
                           ? "; it is not followed elsewhere, so give the picture's own address"
                           : "";
    wl_err_set(&err, WL_INPUT, "cannot fetch the picture: '%s' answers with HTTP status %ld%s",
               fetch->host, status, next);
    fail(fetch, &err);
}

static void on_head(void *context, struct http_call *call, long status, const char *content_type) {
    struct picture_fetch *fetch = context;
    uint64_t length;
    (void)content_type; // the bytes tell
    if (status != 200) {
        fail_unexpected(fetch, status);
        return;
    }
    const char *text = http_call_header(call, "Content-Length");
    if (text && str_parse_u64(text, &length) && length > fetch->options.max_bytes) {
        fail_too_large(fetch);
    }
}

static void on_data(void *context, struct http_call *call, const char *bytes, size_t n) {
    struct picture_fetch *fetch = context;
    (void)call;
    if (!buf_append(&fetch->body, bytes, n)) {
        fail_too_large(fetch);
    }
}

static void on_end(void *context, struct http_call *call, enum wl_status status,
                   const char *message) {
    struct picture_fetch *fetch = context;
    (void)call;
    fetch->call = NULL;
    if (status || fetch->body.len == 0) {
        struct wl_err err;
        wl_err_set(&err, status == WL_MEMORY ? status : WL_INPUT,
                   "cannot fetch the picture from '%s': %s", fetch->host,
                   status ? message : "the answer is empty");
        fail(fetch, &err);
        return;
    }
    struct picture_fetch_options options = fetch->options;
    size_t n = fetch->body.len;
    char *bytes = buf_detach(&fetch->body);
    free_fetch(fetch);
    options.on_done(options.context, WL_OK, "", (unsigned char *)bytes, n);
}

enum wl_status picture_fetch_start(const struct picture_fetch_options *options,
                                   struct picture_fetch **out, struct wl_err *err) {
    struct picture_fetch *fetch = calloc(1, sizeof *fetch);
    *out = NULL;
    if (!fetch) {
        return wl_err_set(err, WL_MEMORY, "no memory to fetch a picture");
    }
    fetch->options = *options;
    str_copy(fetch->host, sizeof fetch->host, options->url->host);
    buf_init(&fetch->body, options->max_bytes);
    const struct http_call_options call = {.method = "GET",
                                           .url = options->url->text,
                                           .headers = HEADERS,
                                           .connect_ms = options->total_ms,
                                           .total_ms = options->total_ms,
                                           .may_connect = options->may_connect,
                                           .on_head = on_head,
                                           .on_data = on_data,
                                           .on_end = on_end,
                                           .context = fetch};
    enum wl_status status = http_call_start(options->client, &call, &fetch->call, err);
    if (status) {
        free_fetch(fetch);
        return status;
    }
    *out = fetch;
    return WL_OK;
}

void picture_fetch_cancel(struct picture_fetch *fetch) {
    if (fetch) {
        http_call_cancel(fetch->call);
        free_fetch(fetch);
    }
}
