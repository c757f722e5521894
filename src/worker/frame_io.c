#include "worker/frame_io.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "worker/utf8.h"

enum { MAX_PAYLOAD_BYTES = (1 << 26) + 4 }; // the largest of ENGINE_FRAME_LIST

// Bytes read: `len`, or fewer at end of file; -1 on an error.
static ssize_t read_full(int fd, void *out, size_t len) {
    size_t at = 0;
    while (at < len) {
        ssize_t n = recv(fd, (char *)out + at, len - at, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        if (n == 0) {
            break;
        }
        at += (size_t)n;
    }
    return (ssize_t)at;
}

static bool write_full(int fd, const void *data, size_t len) {
    size_t at = 0;
    while (at < len) {
        ssize_t n = send(fd, (const char *)data + at, len - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

static bool read_payload(struct frame_io *io, uint32_t len, struct buf *payload,
                         struct wl_err *err) {
    buf_clear(payload);
    char chunk[16384];
    while (payload->len < len) {
        size_t want = len - payload->len < sizeof chunk ? len - payload->len : sizeof chunk;
        if (read_full(io->fd, chunk, want) != (ssize_t)want) {
            wl_err_set(err, WL_PROTOCOL,
                       "the stream ended inside a frame: expected %u bytes, "
                       "found %zu",
                       len, payload->len);
            return false;
        }
        if (!buf_append(payload, chunk, want)) {
            wl_err_set(err, WL_MEMORY, "no memory for a frame of %u bytes", len);
            return false;
        }
    }
    return true;
}

bool frame_read(struct frame_io *io, struct engine_header *header, struct buf *payload,
                struct wl_err *err) {
    unsigned char bytes[ENGINE_HEADER_BYTES];
    ssize_t n = read_full(io->fd, bytes, sizeof bytes);
    bool is_ok = n == (ssize_t)sizeof bytes;
    if (n < 0) {
        wl_err_errno(err, errno, "cannot read from the client");
    } else if (n == 0) {
        wl_err_set(err, WL_OK, "end of file");
    } else if (!is_ok) {
        wl_err_set(err, WL_PROTOCOL, "the stream ended inside a frame header");
    }
    is_ok = is_ok && engine_header_decode(bytes, 'c', header, err) == WL_OK &&
            read_payload(io, header->payload_bytes, payload, err);
    io->is_closed = io->is_closed || !is_ok;
    return is_ok;
}

bool frame_write(struct frame_io *io, uint16_t type, uint32_t request_id, const void *payload,
                 size_t len) {
    unsigned char bytes[ENGINE_HEADER_BYTES];
    struct engine_header header = {
        .type = type, .request_id = request_id, .payload_bytes = (uint32_t)len};
    engine_header_encode(&header, bytes);
    if (io->is_closed || !write_full(io->fd, bytes, sizeof bytes) ||
        !write_full(io->fd, payload, len)) {
        io->is_closed = true;
    }
    return !io->is_closed;
}

bool frame_write_json(struct frame_io *io, uint16_t type, uint32_t request_id, json_t *value) {
    struct buf text;
    buf_init(&text, engine_frame_max_bytes(type));
    bool is_whole = value && wl_json_write(&text, value);
    json_decref(value);
    bool is_ok;
    if (is_whole) {
        is_ok = frame_write(io, type, request_id, text.data, text.len);
    } else if (type == ENGINE_RESULT) {
        struct wl_err err;
        wl_err_set(&err, WL_LIMIT, "the result does not fit a frame of %u bytes",
                   engine_frame_max_bytes(type));
        is_ok = frame_write_error(io, request_id, &err);
    } else {
        is_ok = frame_write(io, type, request_id, "{}", 2);
    }
    buf_release(&text);
    return is_ok;
}

bool frame_write_error(struct frame_io *io, uint32_t request_id, const struct wl_err *err) {
    // The message may quote bytes of a broken file, which JSON cannot carry.
    json_t *value = json_object();
    json_object_set_new(value, "status", json_string(wl_status_name(err->status)));
    json_object_set_new(value, "message", json_text(err->message));
    return frame_write_json(io, ENGINE_ERROR, request_id, value);
}

static bool has_input(int fd) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    return poll(&entry, 1, 0) > 0;
}

void frame_poll_control(struct frame_io *io) {
    struct buf payload;
    buf_init(&payload, MAX_PAYLOAD_BYTES);
    while (!io->is_closed && has_input(io->fd)) {
        struct engine_header header;
        struct wl_err err;
        if (!frame_read(io, &header, &payload, &err)) {
            break;
        }
        if (header.type == ENGINE_CANCEL) {
            io->is_cancelled = io->is_active;
            continue;
        }
        wl_err_set(&err, WL_BUSY, "request %u (%s): the engine is still working on request %u",
                   header.request_id, engine_frame_name(header.type), io->active_id);
        frame_write_error(io, header.request_id, &err);
    }
    buf_release(&payload);
}

bool reply_progress(const struct reply *reply, const char *what, double done) {
    json_t *event = json_pack("{s:s, s:f}", "what", what, "done", done);
    return frame_write_json(reply->io, ENGINE_PROGRESS, reply->request_id, event);
}
