#include "base/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *buf, size_t max_bytes) {
    *buf = (struct buf){.max_bytes = max_bytes};
}

void buf_release(struct buf *buf) {
    free(buf->data);
    buf_init(buf, buf->max_bytes);
}

void buf_clear(struct buf *buf) {
    buf->len = 0;
    buf->is_failed = false;
    if (buf->data) {
        buf->data[0] = '\0';
    }
}

// Makes room for `extra` more bytes and the NUL.
static bool reserve(struct buf *buf, size_t extra) {
    // Lengths above half the address space are a caller's wrapped subtraction, whatever the
    // maximum.
    size_t max_bytes = buf->max_bytes < SIZE_MAX / 2 - 1 ? buf->max_bytes : SIZE_MAX / 2 - 1;
    if (buf->is_failed || extra > max_bytes - buf->len) {
        buf->is_failed = true;
        return false;
    }
    size_t wanted = buf->len + extra + 1;
    if (wanted <= buf->capacity) {
        return true;
    }
    size_t capacity = buf->capacity ? buf->capacity : 64;
    while (capacity < wanted) {
        capacity *= 2;
    }
    char *data = realloc(buf->data, capacity);
    if (!data) {
        buf->is_failed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

bool buf_append(struct buf *buf, const void *data, size_t len) {
    if (!reserve(buf, len)) {
        return false;
    }
    if (len) {
        memcpy(buf->data + buf->len, data, len);
    }
    buf->len += len;
    buf->data[buf->len] = '\0';
    return true;
}

bool buf_puts(struct buf *buf, const char *text) {
    return buf_append(buf, text, strlen(text));
}

bool buf_vprintf(struct buf *buf, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    bool is_done = len >= 0 && reserve(buf, (size_t)len);
    if (is_done) {
        vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
    return is_done;
}

bool buf_printf(struct buf *buf, const char *format, ...) {
    va_list args;
    va_start(args, format);
    bool is_done = buf_vprintf(buf, format, args);
    va_end(args);
    return is_done;
}

const char *buf_text(const struct buf *buf) {
    return buf->data ? buf->data : "";
}

char *buf_detach(struct buf *buf) {
    char *data = buf->data ? buf->data : calloc(1, 1);
    buf->data = NULL;
    buf->len = buf->capacity = 0;
    return data;
}
