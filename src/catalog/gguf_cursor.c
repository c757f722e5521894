#include "catalog/gguf_cursor.h"

#include <inttypes.h>
#include <string.h>

void gguf_cursor_init(struct gguf_cursor *cursor, const struct gguf_bytes *bytes,
                      struct wl_err *err) {
    cursor->bytes = bytes;
    cursor->at = 0;
    cursor->end =
        bytes->file_bytes < GGUF_MAX_HEADER_BYTES ? bytes->file_bytes : GGUF_MAX_HEADER_BYTES;
    cursor->window_at = 0;
    cursor->window_len = 0;
    cursor->err = err;
}

uint64_t gguf_cursor_left(const struct gguf_cursor *cursor) {
    return cursor->end - cursor->at;
}

static enum wl_status too_short(struct gguf_cursor *cursor, const char *what, uint64_t len) {
    if (cursor->end < cursor->bytes->file_bytes) {
        return wl_err_set(cursor->err, WL_LIMIT,
                          "%s at byte %" PRIu64 " takes %" PRIu64
                          " bytes and would end above the %d MiB allowed for a header",
                          what, cursor->at, len, GGUF_MAX_HEADER_BYTES >> 20);
    }
    return wl_err_set(cursor->err, WL_INPUT,
                      "%s at byte %" PRIu64 " takes %" PRIu64
                      " bytes but the file ends at byte %" PRIu64,
                      what, cursor->at, len, cursor->end);
}

// Makes [at, at + len) lie in the window; len <= GGUF_WINDOW_BYTES.
static enum wl_status fill(struct gguf_cursor *cursor, size_t len) {
    uint64_t at = cursor->at;
    if (at >= cursor->window_at && at - cursor->window_at <= cursor->window_len &&
        cursor->window_len - (at - cursor->window_at) >= len) {
        return WL_OK;
    }
    uint64_t left = cursor->end - at;
    size_t wanted = left < GGUF_WINDOW_BYTES ? (size_t)left : GGUF_WINDOW_BYTES;
    cursor->window_len = 0;
    enum wl_status status =
        cursor->bytes->read(cursor->bytes->context, at, cursor->window, wanted, cursor->err);
    if (status == WL_OK) {
        cursor->window_at = at;
        cursor->window_len = wanted;
    }
    return status;
}

enum wl_status gguf_cursor_skip(struct gguf_cursor *cursor, const char *what, uint64_t len) {
    if (len > gguf_cursor_left(cursor)) {
        return too_short(cursor, what, len);
    }
    cursor->at += len;
    return WL_OK;
}

static enum wl_status copy(struct gguf_cursor *cursor, const char *what, void *out, size_t len) {
    if (len > gguf_cursor_left(cursor)) {
        return too_short(cursor, what, len);
    }
    for (size_t done = 0; done < len;) {
        size_t piece = len - done < GGUF_WINDOW_BYTES ? len - done : GGUF_WINDOW_BYTES;
        enum wl_status status = fill(cursor, piece);
        if (status != WL_OK) {
            return status;
        }
        memcpy((char *)out + done, cursor->window + (cursor->at - cursor->window_at), piece);
        cursor->at += piece;
        done += piece;
    }
    return WL_OK;
}

enum wl_status gguf_cursor_number(struct gguf_cursor *cursor, const char *what, size_t width,
                                  uint64_t *out) {
    unsigned char raw[8] = {0};
    enum wl_status status = copy(cursor, what, raw, width);
    if (status != WL_OK) {
        return status;
    }
    uint64_t value = 0;
    for (size_t i = width; i-- > 0;) {
        value = value << 8 | raw[i];
    }
    *out = value;
    return WL_OK;
}

enum wl_status gguf_cursor_u64(struct gguf_cursor *cursor, const char *what, uint64_t *out) {
    return gguf_cursor_number(cursor, what, 8, out);
}

enum wl_status gguf_cursor_u32(struct gguf_cursor *cursor, const char *what, uint32_t *out) {
    uint64_t value;
    enum wl_status status = gguf_cursor_number(cursor, what, 4, &value);
    if (status == WL_OK) {
        *out = (uint32_t)value;
    }
    return status;
}

enum wl_status gguf_cursor_string(struct gguf_cursor *cursor, const char *what, uint64_t max_bytes,
                                  char *out, size_t size, uint64_t *len) {
    uint64_t start = cursor->at, n;
    enum wl_status status = gguf_cursor_u64(cursor, what, &n);
    if (status != WL_OK) {
        return status;
    }
    if (n > max_bytes) {
        return wl_err_set(cursor->err, n > gguf_cursor_left(cursor) ? WL_INPUT : WL_LIMIT,
                          "%s at byte %" PRIu64 ": expected a length of at most %" PRIu64
                          ", found %" PRIu64,
                          what, start, max_bytes, n);
    }
    size_t kept = !out ? 0 : n < size ? (size_t)n : size - 1;
    if (out) {
        if (n > gguf_cursor_left(cursor)) {
            return too_short(cursor, what, n);
        }
        status = copy(cursor, what, out, kept);
        out[status == WL_OK ? kept : 0] = '\0';
    }
    if (len) {
        *len = n;
    }
    return status == WL_OK ? gguf_cursor_skip(cursor, what, n - kept) : status;
}
