// A bounded reader over the bytes of a GGUF header, with a small window so that memory does not
// depend on the file. PURE. Each function either moves forward over bytes that exist or fails with
// the offset; after a failure the cursor is not used again.
#ifndef WATTLAW_CATALOG_GGUF_CURSOR_H
#define WATTLAW_CATALOG_GGUF_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/gguf_peek.h"

enum { GGUF_WINDOW_BYTES = 32768 };

struct gguf_cursor {
    const struct gguf_bytes *bytes;
    uint64_t at;  // next byte
    uint64_t end; // of what may be read: the file or GGUF_MAX_HEADER_BYTES, whichever is smaller
    uint64_t window_at;
    size_t window_len;
    unsigned char window[GGUF_WINDOW_BYTES];
    struct wl_err *err;
};

void gguf_cursor_init(struct gguf_cursor *cursor, const struct gguf_bytes *bytes,
                      struct wl_err *err);
uint64_t gguf_cursor_left(const struct gguf_cursor *cursor);
// `what` names the field in messages.
enum wl_status gguf_cursor_u32(struct gguf_cursor *cursor, const char *what, uint32_t *out);
enum wl_status gguf_cursor_u64(struct gguf_cursor *cursor, const char *what, uint64_t *out);
// An unsigned little-endian number of 1, 2, 4 or 8 bytes.
enum wl_status gguf_cursor_number(struct gguf_cursor *cursor, const char *what, size_t width,
                                  uint64_t *out);
enum wl_status gguf_cursor_skip(struct gguf_cursor *cursor, const char *what, uint64_t len);
// A length-prefixed string: at most size-1 bytes are kept, NUL-terminated; *len (may be NULL) is
// the length in the file, which may be larger. `out` may be NULL to skip it.
enum wl_status gguf_cursor_string(struct gguf_cursor *cursor, const char *what, uint64_t max_bytes,
                                  char *out, size_t size, uint64_t *len);

#endif
