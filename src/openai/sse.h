// Server-sent events out of bytes as they come (WHATWG: events end with a blank line, lines with
// LF, CR or CR LF). What an event was made of is kept as it came, so that it can be passed on
// unchanged. PURE.
#ifndef WATTLAW_OPENAI_SSE_H
#define WATTLAW_OPENAI_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct sse_event {
    const char *raw; // all its bytes with the blank line; borrowed until the next call
    size_t n_raw;
    const char *data; // the data lines joined by LF, NUL-terminated; NULL for comments (pings)
    size_t n_data;
    const char *name; // of the `event` field; "" without
};

struct sse {
    struct buf raw;  // of the event that is not whole yet
    struct buf data; // of the event given last
    size_t taken;    // bytes of `raw` that were given out
    char name[32];
};

void sse_init(struct sse *sse, size_t max_event_bytes);
void sse_release(struct sse *sse); // zeroed ones are fine
// LIMIT when an event is larger than the bound.
enum wl_status sse_feed(struct sse *sse, const char *bytes, size_t n, struct wl_err *err);
// The next whole event; false when more bytes are needed.
bool sse_next(struct sse *sse, struct sse_event *out);
// What is left when the stream ended in the middle of an event: bytes, 0 for a clean end.
size_t sse_rest(const struct sse *sse, const char **bytes);
// Appends "data: <text>" and the blank line; `text` may have several lines.
void sse_write(struct buf *buf, const char *text, size_t n);

#endif
