// What we ask of JSON beyond jansson: bounded input, duplicate keys refused, depth limited, and
// getters that say which key is wrong. jansson's own functions are used directly for the rest.
#ifndef WATTLAW_BASE_JSON_H
#define WATTLAW_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    WL_JSON_MAX_DEPTH = 32,
    WL_JSON_MAX_VALUES = 1048576, // about 100 MB of memory: two bytes of text can make a value
};

// Parses one JSON value that fills the whole text. *out is a new reference.
enum wl_status wl_json_parse(const char *text, size_t len, json_t **out, struct wl_err *err);
// Appends the compact text of `value`; reals with 17 significant digits, NaN never occurs
// (use wl_json_real, which maps it to null).
bool wl_json_write(struct buf *buf, const json_t *value);
bool wl_json_write_pretty(struct buf *buf, const json_t *value);
json_t *wl_json_real(double value); // null for NaN and infinities

// Getters: INPUT with the key's name, expected and found type when absent or of another type.
enum wl_status wl_json_get_i64(const json_t *object, const char *key, int64_t *out,
                               struct wl_err *err);
enum wl_status wl_json_get_double(const json_t *object, const char *key, double *out,
                                  struct wl_err *err); // null gives NaN
enum wl_status wl_json_get_bool(const json_t *object, const char *key, bool *out,
                                struct wl_err *err);
// Borrowed from the object.
enum wl_status wl_json_get_string(const json_t *object, const char *key, const char **out,
                                  struct wl_err *err);
// Optional forms: the fallback when absent, null or of another type.
int64_t wl_json_opt_i64(const json_t *object, const char *key, int64_t fallback);
double wl_json_opt_double(const json_t *object, const char *key, double fallback);
bool wl_json_opt_bool(const json_t *object, const char *key, bool fallback);
const char *wl_json_opt_string(const json_t *object, const char *key, const char *fallback);

#endif
