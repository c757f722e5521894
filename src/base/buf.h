// A growable byte buffer with a mandatory maximum, always NUL-terminated: outside data hits the
// limit, never the machine's memory. After an append failed the buffer stays as it was and
// `is_failed` is set, so a writer may append many pieces and test once at the end.
#ifndef WATTLAW_BASE_BUF_H
#define WATTLAW_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; // NULL until the first append; buf_text() never returns NULL
    size_t len;
    size_t capacity;
    size_t max_bytes;
    bool is_failed;
};

void buf_init(struct buf *buf, size_t max_bytes);
void buf_release(struct buf *buf); // frees the contents; the struct may be initialised again
void buf_clear(struct buf *buf);   // empties, keeps the memory, clears is_failed
bool buf_append(struct buf *buf, const void *data, size_t len);
bool buf_puts(struct buf *buf, const char *text);
bool buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *buf, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
const char *buf_text(const struct buf *buf);
// Hands the NUL-terminated contents to the caller (free() it); the buffer is empty afterwards.
char *buf_detach(struct buf *buf);

#endif
