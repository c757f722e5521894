// JSON text to jansson's trees and back, many times as fast as jansson itself where it matters: a
// request with pictures is megabytes of strings, and every piece of every stream is read. PURE.
#ifndef WATTLAW_OPENAI_JSON_TEXT_H
#define WATTLAW_OPENAI_JSON_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

// The tree that wl_json_parse gives, or its refusal. *out is a new reference.
enum wl_status openai_json_parse(const char *text, size_t n, json_t **out, struct wl_err *err);
// Appends the text that wl_json_write gives, but reals with as few digits as make the same number:
// 0.7 stays 0.7. False (and the end of `buf` undefined) when it is full, or without memory.
bool openai_json_write(struct buf *buf, const json_t *value);
// Appends one string with its quotes; `text` must be UTF-8.
bool openai_json_write_string(struct buf *buf, const char *text, size_t n);

#endif
