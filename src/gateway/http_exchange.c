#include "gateway/http_exchange.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/str.h"
#include "os/clock.h"

enum { STREAM_BLOCK_BYTES = 4096 };

// ---- suspending: while there is nothing to do libmicrohttpd leaves the connection alone ----

static void suspend(struct http_exchange *exchange) {
    if (!exchange->is_suspended) {
        exchange->is_suspended = true;
        exchange->since_ns = os_now_ns();
        MHD_suspend_connection(exchange->connection);
    }
}

static void unwatch(struct http_exchange *exchange) {
    if (exchange->watch) {
        exchange->watch->exchange = NULL;
        uv_close((uv_handle_t *)&exchange->watch->poll, (uv_close_cb)free);
        exchange->watch = NULL;
    }
}

static void resume(struct http_exchange *exchange) {
    if (exchange->is_suspended) {
        exchange->is_suspended = false;
        unwatch(exchange);
        MHD_resume_connection(exchange->connection);
        exchange->server->is_run_wanted = true;
    }
}

void http_exchange_lost(struct http_exchange *exchange) {
    if (!exchange->is_gone) {
        exchange->is_gone = true;
        exchange->answer = HTTP_CUT;
        exchange->server->handlers->on_gone(exchange->server->context, exchange);
    }
    resume(exchange);
}

static void on_watch(uv_poll_t *poll, int status, int events) {
    struct http_watch *watch = (struct http_watch *)poll;
    (void)status; // a failure of the watch is one of the socket
    (void)events;
    if (watch->exchange) {
        http_exchange_lost(watch->exchange);
    }
}

void http_exchange_watch(struct http_exchange *exchange) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct http_watch *watch = info && !exchange->watch ? calloc(1, sizeof *watch) : NULL;
    if (!watch) {
        return; // asked again at the next look
    }
    if (uv_poll_init(exchange->server->loop, &watch->poll, info->connect_fd) != 0) {
        free(watch);
        return;
    }
    watch->exchange = exchange;
    exchange->watch = watch;
    uv_poll_start(&watch->poll, UV_DISCONNECT, on_watch);
}

// ---- libmicrohttpd's callbacks ----

static ssize_t read_stream(void *context, uint64_t position, char *out, size_t room) {
    struct http_exchange *exchange = context;
    (void)position;
    size_t n = exchange->out.len - exchange->n_taken;
    if (n == 0) {
        if (exchange->answer == HTTP_WHOLE) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (exchange->answer == HTTP_CUT) {
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        suspend(exchange);
        return 0;
    }
    n = n < room ? n : room;
    memcpy(out, exchange->out.data + exchange->n_taken, n);
    exchange->n_taken += n;
    if (exchange->n_taken == exchange->out.len) {
        buf_clear(&exchange->out);
        exchange->n_taken = 0;
    }
    if (exchange->was_full &&
        exchange->out.len - exchange->n_taken <= exchange->server->limits.waiting_bytes / 4) {
        exchange->was_full = false;
        exchange->server->handlers->on_drained(exchange->server->context, exchange);
    }
    return (ssize_t)n;
}

static struct MHD_Response *make_response(struct http_exchange *exchange) {
    struct MHD_Response *response =
        exchange->answer == HTTP_REPLY
            ? MHD_create_response_from_buffer(exchange->out.len, (void *)buf_text(&exchange->out),
                                              MHD_RESPMEM_PERSISTENT)
            : MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream,
                                                exchange, NULL);
    for (size_t i = 0; response && i < exchange->n_headers; i += 2) {
        MHD_add_response_header(response, exchange->headers[i], exchange->headers[i + 1]);
    }
    return response;
}

// Only when libmicrohttpd asks: before the body was read, or behind it.
static enum MHD_Result queue(struct http_exchange *exchange) {
    struct MHD_Response *response = make_response(exchange);
    if (!response) {
        return MHD_NO;
    }
    exchange->is_queued = true;
    enum MHD_Result result = MHD_queue_response(exchange->connection, exchange->status, response);
    MHD_destroy_response(response);
    return result;
}

static struct http_exchange *begin(struct http_server *server, struct MHD_Connection *connection,
                                   const char *url, const char *method) {
    struct http_exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange) {
        return NULL;
    }
    *exchange = (struct http_exchange){.server = server,
                                       .connection = connection,
                                       .method = strdup(method),
                                       .path = strdup(url),
                                       .next = server->first};
    buf_init(&exchange->body, server->limits.body_bytes);
    buf_init(&exchange->out, SIZE_MAX);
    if (!exchange->method || !exchange->path) {
        free(exchange->method);
        free(exchange->path);
        free(exchange);
        return NULL;
    }
    if (server->first) {
        server->first->previous = exchange;
    }
    server->first = exchange;
    server->n_exchanges++;
    return exchange;
}

// What the client says that will come; 0 when it says nothing.
static uint64_t stated_length(struct http_exchange *exchange) {
    const char *text = http_exchange_header(exchange, "Content-Length");
    uint64_t n = 0;
    return text && str_parse_u64(text, &n) ? n : 0;
}

struct framing {
    unsigned n;
    bool is_known;
};

static enum MHD_Result note_framing(void *context, enum MHD_ValueKind kind, const char *name,
                                    const char *value) {
    struct framing *framing = context;
    (void)kind;
    if (strcasecmp(name, "Content-Length") == 0) {
        framing->n++;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        framing->n++;
        framing->is_known = framing->is_known && value && strcasecmp(value, "chunked") == 0;
    }
    return MHD_YES;
}

// A proxy in front of us may believe the other one, or know a coding that we do not, and see
// another request than we do (RFC 9112, 6.3: such a request ought to be refused).
static bool is_end_unclear(struct http_exchange *exchange) {
    struct framing framing = {.is_known = true};
    MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, note_framing, &framing);
    return framing.n > 1 || !framing.is_known;
}

static enum MHD_Result refuse_framing(struct http_exchange *exchange) {
    struct buf body;
    buf_init(&body, 256);
    buf_puts(&body, "expected one Content-Length, or Transfer-Encoding: chunked, found both, or "
                    "something else\n");
    http_exchange_add_header(exchange, "Connection", "close");
    http_reply(exchange, 400, "text/plain", &body);
    return queue(exchange);
}

static enum MHD_Result take_headers(struct http_exchange *exchange) {
    struct http_server *server = exchange->server;
    if (is_end_unclear(exchange)) {
        return refuse_framing(exchange);
    }
    if (stated_length(exchange) > server->limits.body_bytes) {
        http_exchange_add_header(exchange, "Connection", "close");
        server->handlers->on_too_large(server->context, exchange);
        return exchange->answer == HTTP_REPLY ? queue(exchange) : MHD_NO;
    }
    server->handlers->on_headers(server->context, exchange);
    exchange->is_refused = exchange->answer != HTTP_NO_ANSWER;
    return MHD_YES;
}

// A body without a stated length that becomes too long cannot be answered in the middle.
static enum MHD_Result take_body(struct http_exchange *exchange, const char *data, size_t *n) {
    bool is_taken = exchange->is_refused || buf_append(&exchange->body, data, *n);
    *n = 0;
    return is_taken ? MHD_YES : MHD_NO;
}

enum MHD_Result http_exchange_access(void *context, struct MHD_Connection *connection,
                                     const char *url, const char *method, const char *version,
                                     const char *data, size_t *n_data, void **state) {
    struct http_exchange *exchange = *state;
    (void)version;
    if (!exchange) {
        *state = exchange = begin(context, connection, url, method);
        return exchange ? take_headers(exchange) : MHD_NO;
    }
    if (*n_data > 0) {
        return take_body(exchange, data, n_data);
    }
    if (!exchange->is_whole) {
        exchange->is_whole = true;
        if (!exchange->is_refused) {
            exchange->server->handlers->on_request(exchange->server->context, exchange);
        }
    }
    if (exchange->answer == HTTP_CUT) {
        return MHD_NO;
    }
    if (exchange->answer == HTTP_NO_ANSWER) {
        suspend(exchange);
        return MHD_YES;
    }
    return exchange->is_queued ? MHD_YES : queue(exchange);
}

static void release(struct http_exchange *exchange) {
    for (size_t i = 0; i < exchange->n_headers; i++) {
        free(exchange->headers[i]);
    }
    free(exchange->headers);
    free(exchange->method);
    free(exchange->path);
    buf_release(&exchange->body);
    buf_release(&exchange->out);
    free(exchange);
}

void http_exchange_completed(void *context, struct MHD_Connection *connection, void **state,
                             enum MHD_RequestTerminationCode code) {
    struct http_server *server = context;
    struct http_exchange *exchange = *state;
    (void)connection;
    if (!exchange) {
        return;
    }
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK && !exchange->is_gone) {
        exchange->is_gone = true;
        server->handlers->on_gone(server->context, exchange);
    }
    unwatch(exchange);
    server->handlers->on_end(server->context, exchange);
    *(exchange->previous ? &exchange->previous->next : &server->first) = exchange->next;
    if (exchange->next) {
        exchange->next->previous = exchange->previous;
    }
    server->n_exchanges--;
    release(exchange);
    *state = NULL;
}

// ---- the request ----

const char *http_exchange_method(const struct http_exchange *exchange) {
    return exchange->method;
}

const char *http_exchange_path(const struct http_exchange *exchange) {
    return exchange->path;
}

const char *http_exchange_query(struct http_exchange *exchange, const char *name) {
    return MHD_lookup_connection_value(exchange->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_exchange_header(struct http_exchange *exchange, const char *name) {
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

const char *http_exchange_body(const struct http_exchange *exchange, size_t *n) {
    *n = exchange->body.len;
    return buf_text(&exchange->body);
}

char *http_exchange_client(struct http_exchange *exchange, char *out, size_t size) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    const void *from = NULL;
    if (address && address->sa_family == AF_INET) {
        from = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    } else if (address && address->sa_family == AF_INET6) {
        from = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    }
    if (!from || !inet_ntop(address->sa_family, from, out, (socklen_t)size)) {
        str_copy(out, size, "local");
    }
    return out;
}

bool http_exchange_is_gone(const struct http_exchange *exchange) {
    return exchange->is_gone;
}

void http_exchange_set_state(struct http_exchange *exchange, void *state) {
    exchange->state = state;
}

void *http_exchange_state(const struct http_exchange *exchange) {
    return exchange->state;
}

// ---- the answer ----

static bool is_header_text(const char *text) {
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 127) {
            return false;
        }
    }
    return true;
}

void http_exchange_add_header(struct http_exchange *exchange, const char *name, const char *value) {
    if (!is_header_text(value)) {
        return;
    }
    char **more = realloc(exchange->headers, (exchange->n_headers + 2) * sizeof *more);
    char *name_copy = strdup(name), *value_copy = strdup(value);
    exchange->headers = more ? more : exchange->headers;
    if (!more || !name_copy || !value_copy) { // a header less is no reason to fail
        free(name_copy);
        free(value_copy);
        return;
    }
    exchange->headers[exchange->n_headers++] = name_copy;
    exchange->headers[exchange->n_headers++] = value_copy;
}

static bool answer(struct http_exchange *exchange, enum http_answer kind, unsigned status,
                   const char *content_type) {
    if (exchange->is_gone || exchange->answer != HTTP_NO_ANSWER) {
        return false;
    }
    exchange->answer = kind;
    exchange->status = status;
    if (content_type) {
        http_exchange_add_header(exchange, "Content-Type", content_type);
    }
    resume(exchange);
    return true;
}

void http_reply(struct http_exchange *exchange, unsigned status, const char *content_type,
                struct buf *body) {
    if (answer(exchange, HTTP_REPLY, status, content_type) && body) {
        buf_release(&exchange->out);
        exchange->out = *body;
        buf_init(body, body->max_bytes);
    } else if (body) {
        buf_release(body);
    }
}

void http_stream_begin(struct http_exchange *exchange, unsigned status, const char *content_type) {
    if (answer(exchange, HTTP_STREAM, status, content_type)) {
        buf_release(&exchange->out);
        buf_init(&exchange->out, exchange->server->limits.waiting_bytes);
    }
}

// What was taken makes room for what comes.
static void close_ranks(struct http_exchange *exchange) {
    if (exchange->n_taken > 0) {
        exchange->out.len -= exchange->n_taken;
        memmove(exchange->out.data, exchange->out.data + exchange->n_taken, exchange->out.len + 1);
        exchange->n_taken = 0;
    }
}

bool http_stream_write(struct http_exchange *exchange, const void *bytes, size_t n) {
    if (exchange->answer != HTTP_STREAM) {
        return false;
    }
    close_ranks(exchange);
    if (!buf_append(&exchange->out, bytes, n)) {
        http_exchange_lost(exchange);
        return false;
    }
    exchange->was_full = exchange->was_full || http_stream_is_full(exchange);
    resume(exchange);
    return true;
}

bool http_stream_is_full(const struct http_exchange *exchange) {
    return exchange->out.len - exchange->n_taken > exchange->server->limits.waiting_bytes / 2;
}

void http_stream_end(struct http_exchange *exchange) {
    if (exchange->answer == HTTP_STREAM) {
        exchange->answer = HTTP_WHOLE;
        resume(exchange);
    }
}

void http_stream_abort(struct http_exchange *exchange) {
    if (exchange->answer == HTTP_STREAM) {
        exchange->answer = HTTP_CUT;
        resume(exchange);
    }
}
