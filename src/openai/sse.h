// Server-sent events out of bytes as they come (WHATWG: events end with a blank line, lines with
// LF, CR or CR LF). What an event was made of is kept as it came, so that it can be passed on
// unchanged. PURE.
#ifndef WATTLAW_OPENAI_SSE_H
#define WATTLAW_OPENAI_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { SSE_NAME_BYTES = 32 };

struct sse_event {
    const char *raw; // all its bytes with the blank line; borrowed until the next call
    size_t n_raw;
    const char *data; // the data lines joined by LF, NUL-terminated; NULL for comments (pings)
    size_t n_data;
    const char *name; // of the `event` field, cut where it is too long; "" without
};

struct sse {
    struct buf raw;  // what was fed and not given out
    struct buf data; // of the event given last
    size_t max_event_bytes;
    size_t taken;   // bytes of `raw` that were given out
    size_t n_whole; // events in `raw` that can be given
    // Of the event that is not whole yet.
    size_t n_event; // bytes
    bool is_in_line;
    bool is_after_cr; // an LF now is the second half of a line's end
    // Of the event given last.
    bool has_given_cr; // an LF now is the rest of its blank line
    bool has_begun;    // there was one: no byte order mark from here on
    char name[SSE_NAME_BYTES];
};

void sse_init(struct sse *sse, size_t max_event_bytes);
void sse_release(struct sse *sse); // zeroed ones are fine
// All events must have been taken out since the last call: memory is bounded by the largest event
// and `n`. LIMIT when an event is larger than the bound; MEMORY. Nothing was taken in then.
enum wl_status sse_feed(struct sse *sse, const char *bytes, size_t n, struct wl_err *err);
// The next whole event; false when more bytes are needed. Every byte is in the raw text of one
// event: what is between two events (more blank lines, the LF of a CR LF that came apart) is given
// as one without data.
bool sse_next(struct sse *sse, struct sse_event *out);
// What is left when the stream ended in the middle of an event: bytes, 0 for a clean end.
size_t sse_rest(const struct sse *sse, const char **bytes);
// Appends "data: <text>" and the blank line; `text` may have several lines (CR and CR LF come out
// as LF).
void sse_write(struct buf *buf, const char *text, size_t n);

#endif
