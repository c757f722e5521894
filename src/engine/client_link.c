#include "engine/client_link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/json.h"
#include "base/units.h"
#include "engine/result.h"
#include "os/clock.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 // systems without it ignore SIGPIPE in os_catch_interrupts()
#endif

enum { KEPT_FRAME_BYTES = 1048576 }; // a larger frame's memory is given back
static const int64_t CANCEL_CHECK_NS = 100000000;

// The state of one link_exchange().
struct exchange {
    struct link *link;
    struct link_request *request;
    int64_t total_deadline_ns, silence_deadline_ns, cancel_deadline_ns; // INT64_MAX: none
    bool is_done;                                                       // RESULT or ERROR was read
    bool is_lost;                                                       // the connection broke
};

static int64_t after(int64_t now_ns, int64_t span_ns) {
    return span_ns > 0 && span_ns < INT64_MAX - now_ns ? now_ns + span_ns : INT64_MAX;
}

static bool queue_frame(struct link *link, uint16_t type, const char *payload, size_t len) {
    unsigned char header[ENGINE_HEADER_BYTES];
    engine_header_encode(&(struct engine_header){.type = type,
                                                 .request_id = link->last_id,
                                                 .payload_bytes = (uint32_t)len},
                         header);
    return buf_append(&link->out, header, sizeof header) && buf_append(&link->out, payload, len);
}

static void forget_sent(struct link *link) {
    if (link->out.capacity > KEPT_FRAME_BYTES) {
        buf_release(&link->out);
    }
    buf_clear(&link->out);
    link->n_sent = 0;
}

// LIMIT before anything is sent, so that the engine stays usable.
static enum wl_status queue_request(struct link *link, const struct link_request *request,
                                    struct wl_err *err) {
    struct buf json;
    uint32_t max_bytes = engine_frame_max_bytes(request->type);
    buf_init(&json, max_bytes);
    const struct buf *payload = request->bytes ? request->bytes : &json;
    bool is_written =
        (request->bytes || wl_json_write(&json, request->body)) && payload->len <= max_bytes;
    forget_sent(link);
    link->last_id++;
    is_written = is_written && queue_frame(link, request->type, payload->data, payload->len);
    buf_release(&json);
    return is_written ? WL_OK
                      : wl_err_set(err, WL_LIMIT,
                                   "%s: the '%s' request is longer than the %u bytes allowed",
                                   request->doing, engine_frame_name(request->type), max_bytes);
}

static bool has_unsent(const struct link *link) {
    return link->n_sent < link->out.len;
}

static void send_some(struct exchange *x) {
    struct link *link = x->link;
    ssize_t n = send(link->socket_fd, link->out.data + link->n_sent, link->out.len - link->n_sent,
                     MSG_NOSIGNAL);
    if (n > 0) {
        link->n_sent += (size_t)n;
    } else if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        // The other side is gone, but what it said before (an ERROR) is still to be read.
        link->n_sent = link->out.len;
    }
}

static enum wl_status parse_payload(const struct link *link, json_t **out, struct wl_err *err) {
    const char *payload = link->in.data + ENGINE_HEADER_BYTES;
    enum wl_status status = wl_json_parse(payload, link->header.payload_bytes, out, err);
    if (status == WL_OK && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        status = wl_err_set(err, WL_PROTOCOL, "expected a JSON object");
    }
    if (status != WL_OK) {
        err->status = WL_PROTOCOL;
        return wl_err_prefix(err, "frame '%s'", engine_frame_name(link->header.type));
    }
    return WL_OK;
}

// The engine's own refusal; only PROTOCOL means that it has to be stopped.
static enum wl_status take_error(struct exchange *x, struct wl_err *err) {
    json_t *error;
    enum wl_status status = parse_payload(x->link, &error, err);
    if (status == WL_OK) {
        x->is_done = true;
        status = engine_error_decode(error, err);
        json_decref(error);
    }
    return status;
}

static enum wl_status take_frame(struct exchange *x, struct wl_err *err) {
    struct link *link = x->link;
    struct link_request *request = x->request;
    uint16_t type = link->header.type;
    if (has_unsent(link) && !request->was_cancelled) { // the rest would be read as the next request
        return wl_err_set(err, WL_PROTOCOL, "a '%s' frame before the whole request was read",
                          engine_frame_name(type));
    }
    if (type == ENGINE_ERROR) {
        return take_error(x, err);
    }
    if (type == (request->type ? ENGINE_RESULT : ENGINE_HELLO)) {
        x->is_done = true;
        return parse_payload(link, &request->result, err);
    }
    if (!request->on_event || type == ENGINE_RESULT || type == ENGINE_HELLO) {
        return wl_err_set(err, WL_PROTOCOL, "a '%s' frame where none belongs",
                          engine_frame_name(type));
    }
    return request->on_event(request->context, type, link->in.data + ENGINE_HEADER_BYTES,
                             link->header.payload_bytes, err);
}

static enum wl_status check_header(struct link *link, const struct link_request *request,
                                   struct wl_err *err) {
    const unsigned char *bytes = (const unsigned char *)link->in.data;
    enum wl_status status = engine_header_decode(bytes, 'e', &link->header, err);
    if (status == WL_OK && request->type && link->header.request_id != link->last_id) {
        status = wl_err_set(err, WL_PROTOCOL, "frame '%s': expected request id %u, found %u",
                            engine_frame_name(link->header.type), link->last_id,
                            link->header.request_id);
    }
    return status;
}

// How many bytes the arriving frame still lacks, as far as known.
static size_t n_missing(const struct link *link) {
    size_t wanted = link->in.len < ENGINE_HEADER_BYTES
                        ? ENGINE_HEADER_BYTES
                        : ENGINE_HEADER_BYTES + (size_t)link->header.payload_bytes;
    return wanted - link->in.len;
}

static void forget_frame(struct link *link) {
    if (link->in.capacity > KEPT_FRAME_BYTES) {
        buf_release(&link->in);
    }
    buf_clear(&link->in);
}

// Reads once. Memory grows with the bytes that arrive, not with the length that was announced.
static enum wl_status receive_some(struct exchange *x, struct wl_err *err) {
    struct link *link = x->link;
    char chunk[65536];
    size_t wanted = n_missing(link);
    bool is_header = link->in.len < ENGINE_HEADER_BYTES;
    ssize_t n = recv(link->socket_fd, chunk, wanted < sizeof chunk ? wanted : sizeof chunk, 0);
    if (n <= 0) {
        x->is_lost = n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
        return WL_OK;
    }
    if (!buf_append(&link->in, chunk, (size_t)n)) {
        return wl_err_set(err, WL_PROTOCOL, "no memory for a frame of %u bytes",
                          link->header.payload_bytes);
    }
    enum wl_status status = WL_OK;
    if (is_header && link->in.len == ENGINE_HEADER_BYTES) {
        status = check_header(link, x->request, err);
    }
    if (status == WL_OK && link->in.len >= ENGINE_HEADER_BYTES && n_missing(link) == 0) {
        x->request->t1_ns = os_now_ns();
        x->silence_deadline_ns = after(x->request->t1_ns, x->request->silence_ns);
        status = take_frame(x, err);
        forget_frame(link);
    }
    return status;
}

static bool wants_cancel(const struct link_request *request) {
    return request->is_cancelled && request->is_cancelled(request->cancel_context);
}

// INTERRUPTED when the request cannot be cancelled in a civil way.
static enum wl_status check_cancel(struct exchange *x, int64_t now_ns, struct wl_err *err) {
    struct link_request *request = x->request;
    if (now_ns >= x->cancel_deadline_ns) {
        return wl_err_set(err, WL_INTERRUPTED,
                          "interrupted while %.400s; the engine did not stop and was killed",
                          request->doing);
    }
    if (request->was_cancelled || !wants_cancel(request)) {
        return WL_OK;
    }
    if (!request->is_cancellable || has_unsent(x->link) ||
        !queue_frame(x->link, ENGINE_CANCEL, "{}", 2)) {
        return wl_err_set(err, WL_INTERRUPTED, "interrupted while %.400s", request->doing);
    }
    request->was_cancelled = true;
    x->cancel_deadline_ns = after(now_ns, request->cancel_grace_ns);
    return WL_OK;
}

static enum wl_status check_waits(struct exchange *x, struct wl_err *err) {
    const struct link_request *request = x->request;
    int64_t now_ns = os_now_ns();
    char span[UNITS_TEXT_BYTES];
    if (now_ns >= x->total_deadline_ns) {
        units_seconds(span, (double)request->total_ns / 1e9);
        return wl_err_set(err, WL_TIMEOUT,
                          "the engine was not done after %s while %.300s, and was stopped", span,
                          request->doing);
    }
    if (now_ns >= x->silence_deadline_ns) {
        units_seconds(span, (double)request->silence_ns / 1e9);
        return wl_err_set(err, WL_TIMEOUT,
                          "the engine said nothing for %s while %.300s, and was stopped", span,
                          request->doing);
    }
    return check_cancel(x, now_ns, err);
}

// Milliseconds until the next thing to check, rounded up; -1 for none.
static int poll_timeout_ms(const struct exchange *x) {
    int64_t now_ns = os_now_ns();
    int64_t next_ns = x->total_deadline_ns < x->silence_deadline_ns ? x->total_deadline_ns
                                                                    : x->silence_deadline_ns;
    next_ns = x->cancel_deadline_ns < next_ns ? x->cancel_deadline_ns : next_ns;
    if (x->request->is_cancelled && next_ns > now_ns + CANCEL_CHECK_NS) {
        next_ns = now_ns + CANCEL_CHECK_NS;
    }
    if (next_ns == INT64_MAX) {
        return -1;
    }
    int64_t ms = next_ns > now_ns ? (next_ns - now_ns + 999999) / 1000000 : 0;
    return ms < 3600000 ? (int)ms : 3600000;
}

static enum wl_status pump_once(struct exchange *x, struct wl_err *err) {
    struct link *link = x->link;
    struct pollfd fds[2] = {
        {.fd = link->socket_fd, .events = POLLIN},
        {.fd = link->log_fd, .events = POLLIN}, // a negative one is skipped
    };
    if (has_unsent(link)) {
        fds[0].events |= POLLOUT;
    }
    if (poll(fds, 2, poll_timeout_ms(x)) <= 0) {
        return WL_OK; // a deadline or a signal: check_waits() looks
    }
    if (fds[1].revents) {
        link_drain_log(link);
    }
    if (fds[0].revents & POLLOUT) {
        send_some(x);
    }
    return fds[0].revents & ~POLLOUT ? receive_some(x, err) : WL_OK;
}

// Every failure but the engine's own ERROR ends the process.
static enum wl_status stop_after(struct exchange *x, enum wl_status status, struct wl_err *err) {
    link_close(x->link, 0);
    json_decref(x->request->result);
    x->request->result = NULL;
    if (status == WL_PROTOCOL) {
        char detail[WL_ERR_MESSAGE_BYTES];
        memcpy(detail, err->message, sizeof detail);
        wl_err_set(err, WL_PROTOCOL,
                   "the engine answered wrongly while %.220s, and was stopped: %.460s",
                   x->request->doing, detail);
    }
    return status;
}

enum wl_status link_exchange(struct link *link, struct link_request *request, struct wl_err *err) {
    struct wl_err local;
    err = err ? err : &local;
    request->result = NULL;
    request->was_cancelled = false;
    if (request->type) {
        enum wl_status status = queue_request(link, request, err);
        if (status == WL_OK && wants_cancel(request)) { // nothing sent: the engine may live on
            status = wl_err_set(err, WL_INTERRUPTED, "interrupted before %.400s", request->doing);
        }
        if (status != WL_OK) {
            return status;
        }
    }
    request->t0_ns = request->t1_ns = os_now_ns();
    struct exchange x = {.link = link,
                         .request = request,
                         .total_deadline_ns = after(request->t0_ns, request->total_ns),
                         .silence_deadline_ns = after(request->t0_ns, request->silence_ns),
                         .cancel_deadline_ns = INT64_MAX};
    while (!x.is_done) {
        enum wl_status status = check_waits(&x, err);
        if (status == WL_OK) {
            status = pump_once(&x, err);
        }
        if (x.is_lost) {
            return link_post_mortem(link, request, err);
        }
        if (status != WL_OK) {
            return x.is_done && status != WL_PROTOCOL ? status : stop_after(&x, status, err);
        }
    }
    return WL_OK;
}
