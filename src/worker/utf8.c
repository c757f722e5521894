#include "worker/utf8.h"

#include <stdbool.h>
#include <string.h>

static const char REPLACEMENT[] = "\xEF\xBF\xBD";

// Bytes of the character that `lead` begins; 0 when no character begins so (or it is NUL).
static size_t expected_bytes(unsigned char lead) {
    if (lead >= 0x01 && lead <= 0x7F) {
        return 1;
    }
    if (lead >= 0xC2 && lead <= 0xDF) {
        return 2;
    }
    if (lead >= 0xE0 && lead <= 0xEF) {
        return 3;
    }
    return lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
}

// Whether `byte` may follow as byte number `at` (1..3): continuation, no overlong, no surrogate.
static bool may_follow(const unsigned char *start, size_t at, unsigned char byte) {
    if (byte < 0x80 || byte > 0xBF) {
        return false;
    }
    if (at > 1) {
        return true;
    }
    switch (start[0]) {
    case 0xE0: return byte >= 0xA0;
    case 0xED: return byte <= 0x9F;
    case 0xF0: return byte >= 0x90;
    case 0xF4: return byte <= 0x8F;
    default: return true;
    }
}

static void drop_pending(struct utf8_stream *stream, struct buf *out) {
    if (stream->n_pending > 0) {
        buf_puts(out, REPLACEMENT);
        stream->n_pending = 0;
    }
}

static void push_byte(struct utf8_stream *stream, unsigned char byte, struct buf *out) {
    if (stream->n_pending > 0 && !may_follow(stream->pending, stream->n_pending, byte)) {
        drop_pending(stream, out);
    }
    if (stream->n_pending == 0 && expected_bytes(byte) == 0) {
        buf_puts(out, REPLACEMENT);
        return;
    }
    stream->pending[stream->n_pending++] = byte;
    if (stream->n_pending == expected_bytes(stream->pending[0])) {
        buf_append(out, stream->pending, stream->n_pending);
        stream->n_pending = 0;
    }
}

void utf8_push(struct utf8_stream *stream, const char *bytes, size_t len, struct buf *out) {
    for (size_t i = 0; i < len; i++) {
        push_byte(stream, (unsigned char)bytes[i], out);
    }
}

void utf8_finish(struct utf8_stream *stream, struct buf *out) {
    drop_pending(stream, out);
}

json_t *json_text(const char *text) {
    json_t *value = json_string(text);
    if (value) {
        return value;
    }
    struct buf clean;
    buf_init(&clean, 3 * strlen(text) + 4);
    struct utf8_stream stream = {0};
    utf8_push(&stream, text, strlen(text), &clean);
    utf8_finish(&stream, &clean);
    value = json_string(buf_text(&clean));
    buf_release(&clean);
    return value;
}
