#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct extent {
    size_t depth;    // deepest nesting
    size_t n_values; // at most; members of objects count twice
};

// jansson has a compile-time depth of 2048 and no other limit; ours are checked before parsing.
static struct extent measure(const char *text, size_t len) {
    struct extent extent = {0, 1};
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
            extent.n_values++;
            extent.depth = depth > extent.depth ? depth : extent.depth;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        } else if (c == ',' || c == ':') {
            extent.n_values++;
        }
    }
    return extent;
}

enum wl_status wl_json_parse(const char *text, size_t len, json_t **out, struct wl_err *err) {
    *out = NULL;
    struct extent extent = measure(text, len);
    if (extent.depth > WL_JSON_MAX_DEPTH) {
        return wl_err_set(err, WL_INPUT, "JSON is nested deeper than %d levels", WL_JSON_MAX_DEPTH);
    }
    if (extent.n_values > WL_JSON_MAX_VALUES) {
        return wl_err_set(err, WL_INPUT, "JSON has more than %d values", WL_JSON_MAX_VALUES);
    }
    json_error_t error;
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!*out) {
        return wl_err_set(err, WL_INPUT, "bad JSON at line %d column %d: %s", error.line,
                          error.column, error.text);
    }
    return WL_OK;
}

static int append_chunk(const char *data, size_t len, void *context) {
    return buf_append(context, data, len) ? 0 : -1;
}

bool wl_json_write(struct buf *buf, const json_t *value) {
    return json_dump_callback(value, append_chunk, buf,
                              JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) == 0;
}

bool wl_json_write_pretty(struct buf *buf, const json_t *value) {
    return json_dump_callback(value, append_chunk, buf,
                              JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12)) == 0;
}

json_t *wl_json_real(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static const char *type_name(const json_t *value) {
    static const char *const NAMES[] = {"an object", "an array", "a string", "an integer",
                                        "a number",  "true",     "false",    "null"};
    size_t type = (size_t)json_typeof(value);
    return type < sizeof NAMES / sizeof NAMES[0] ? NAMES[type] : "something else";
}

static enum wl_status wrong_type(const json_t *object, const char *key, const char *expected,
                                 struct wl_err *err) {
    const json_t *value = json_object_get(object, key);
    if (!value) {
        return wl_err_set(err, WL_INPUT, "key '%s' is missing (expected %s)", key, expected);
    }
    return wl_err_set(err, WL_INPUT, "key '%s': expected %s, found %s", key, expected,
                      type_name(value));
}

enum wl_status wl_json_get_i64(const json_t *object, const char *key, int64_t *out,
                               struct wl_err *err) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value)) {
        return wrong_type(object, key, "an integer", err);
    }
    *out = json_integer_value(value);
    return WL_OK;
}

enum wl_status wl_json_get_double(const json_t *object, const char *key, double *out,
                                  struct wl_err *err) {
    const json_t *value = json_object_get(object, key);
    if (json_is_null(value)) {
        *out = NAN;
        return WL_OK;
    }
    if (!json_is_number(value)) {
        return wrong_type(object, key, "a number", err);
    }
    *out = json_number_value(value);
    return WL_OK;
}

enum wl_status wl_json_get_bool(const json_t *object, const char *key, bool *out,
                                struct wl_err *err) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_boolean(value)) {
        return wrong_type(object, key, "true or false", err);
    }
    *out = json_is_true(value);
    return WL_OK;
}

enum wl_status wl_json_get_string(const json_t *object, const char *key, const char **out,
                                  struct wl_err *err) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) {
        return wrong_type(object, key, "a string", err);
    }
    *out = json_string_value(value);
    return WL_OK;
}

int64_t wl_json_opt_i64(const json_t *object, const char *key, int64_t fallback) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

double wl_json_opt_double(const json_t *object, const char *key, double fallback) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

bool wl_json_opt_bool(const json_t *object, const char *key, bool fallback) {
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

const char *wl_json_opt_string(const json_t *object, const char *key, const char *fallback) {
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) ? json_string_value(value) : fallback;
}
