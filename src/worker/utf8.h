// Valid UTF-8 out of token pieces, which may end in the middle of a character. PURE.
#ifndef WATTLAW_WORKER_UTF8_H
#define WATTLAW_WORKER_UTF8_H

#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"

struct utf8_stream {
    unsigned char pending[4]; // the beginning of a character
    size_t n_pending;
};

// Appends the complete characters of `bytes` to `out`; broken bytes and NUL become U+FFFD, an
// incomplete tail waits for the next call.
void utf8_push(struct utf8_stream *stream, const char *bytes, size_t len, struct buf *out);
// A tail that nothing completed becomes one U+FFFD.
void utf8_finish(struct utf8_stream *stream, struct buf *out);

// A JSON string of text that may be broken UTF-8 (names in a model file, log lines).
json_t *json_text(const char *text);

#endif
