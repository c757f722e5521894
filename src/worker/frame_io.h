// Reads and writes whole frames on the socket to the client. A RUN looks for CANCEL here without
// blocking, so that a request can be stopped while the engine computes.
#ifndef WATTLAW_WORKER_FRAME_IO_H
#define WATTLAW_WORKER_FRAME_IO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "engine/protocol.h"

struct frame_io {
    int fd;
    bool is_closed;     // end of file or a broken stream: the engine must quit
    bool is_cancelled;  // a CANCEL for the active request arrived
    bool is_active;     // a request is being worked on
    uint32_t active_id; // of the active request
};

// Blocks for the next frame; the payload replaces the contents of `payload`. False when the stream
// ended (err->status OK) or is broken (err says how); `is_closed` is set then.
bool frame_read(struct frame_io *io, struct engine_header *header, struct buf *payload,
                struct wl_err *err);
// False when the client is gone; `is_closed` is set then.
bool frame_write(struct frame_io *io, uint16_t type, uint32_t request_id, const void *payload,
                 size_t len);
// Takes over the reference to `value`; NULL (out of memory) is sent as {}.
bool frame_write_json(struct frame_io *io, uint16_t type, uint32_t request_id, json_t *value);
bool frame_write_error(struct frame_io *io, uint32_t request_id, const struct wl_err *err);
// Handles what has arrived during a request, without blocking: CANCEL sets is_cancelled, anything
// else is answered with BUSY, end of file sets is_closed.
void frame_poll_control(struct frame_io *io);

// Where a request's events and answer go.
struct reply {
    struct frame_io *io;
    uint32_t request_id;
};

bool reply_progress(const struct reply *reply, const char *what, double done);

#endif
