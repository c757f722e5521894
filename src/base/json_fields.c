#include "base/json_fields.h"

#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

static const char *found_text(const json_t *value) {
    static const char *const NAMES[] = {"an object", "a list", "text",  "a whole number",
                                        "a number",  "true",   "false", "null"};
    size_t type = (size_t)json_typeof(value);
    return type < sizeof NAMES / sizeof NAMES[0] ? NAMES[type] : "something else";
}

enum wl_status json_fields_wrong(const char *field, const char *expected, const json_t *value,
                                 struct wl_err *err) {
    if (!value) {
        return wl_err_set(err, WL_INPUT, "field '%s' is missing: expected %s", field, expected);
    }
    return wl_err_set(err, WL_INPUT, "field '%s': expected %s, found %s", field, expected,
                      found_text(value));
}

static bool has(const char *const *list, const char *word) {
    while (*list && strcmp(*list, word) != 0) {
        list++;
    }
    return *list;
}

enum wl_status json_fields_check(json_t *value, const char *expected, const char *const *fields,
                                 struct wl_err *err) {
    if (!json_is_object(value)) {
        return wl_err_set(err, WL_INPUT, "expected %s, found %s", expected,
                          value ? found_text(value) : "nothing");
    }
    const char *name;
    json_t *field;
    json_object_foreach(value, name, field) {
        if (!has(fields, name)) {
            const char *nearest = str_nearest(name, fields);
            return wl_err_set(err, WL_INPUT, "unknown field '%.80s'%s%s%s", name,
                              nearest ? ": did you mean '" : "", nearest ? nearest : "",
                              nearest ? "'?" : "");
        }
    }
    return WL_OK;
}

enum wl_status json_fields_i64(const json_t *object, const char *field, int64_t min, int64_t max,
                               int64_t *out, struct wl_err *err) {
    const json_t *value = json_object_get(object, field);
    if (!value) {
        return WL_OK;
    }
    if (!json_is_integer(value)) {
        return json_fields_wrong(field, "a whole number", value, err);
    }
    int64_t n = json_integer_value(value);
    if (n < min || n > max) {
        return wl_err_set(err, WL_INPUT, "field '%s': expected %lld to %lld, found %lld", field,
                          (long long)min, (long long)max, (long long)n);
    }
    *out = n;
    return WL_OK;
}

enum wl_status json_fields_double(const json_t *object, const char *field, double min, double max,
                                  double *out, struct wl_err *err) {
    const json_t *value = json_object_get(object, field);
    if (!value) {
        return WL_OK;
    }
    if (!json_is_number(value)) {
        return json_fields_wrong(field, "a number", value, err);
    }
    double x = json_number_value(value);
    if (!isfinite(x) || x < min || x > max) {
        return isfinite(max)
                   ? wl_err_set(err, WL_INPUT, "field '%s': expected %g to %g, found %g", field,
                                min, max, x)
                   : wl_err_set(err, WL_INPUT, "field '%s': expected %g or more, found %g", field,
                                min, x);
    }
    *out = x;
    return WL_OK;
}

enum wl_status json_fields_bool(const json_t *object, const char *field, bool *out,
                                struct wl_err *err) {
    const json_t *value = json_object_get(object, field);
    if (!value) {
        return WL_OK;
    }
    if (!json_is_boolean(value)) {
        return json_fields_wrong(field, "true or false", value, err);
    }
    *out = json_is_true(value);
    return WL_OK;
}

enum wl_status json_fields_text(const json_t *object, const char *field, char *out, size_t size,
                                struct wl_err *err) {
    const json_t *value = json_object_get(object, field);
    if (!value) {
        return WL_OK;
    }
    if (!json_is_string(value)) {
        return json_fields_wrong(field, "text", value, err);
    }
    if (!str_copy(out, size, json_string_value(value))) {
        return wl_err_set(err, WL_LIMIT, "field '%s': expected at most %zu bytes, found %zu", field,
                          size - 1, json_string_length(value));
    }
    return WL_OK;
}

enum wl_status json_fields_word(const json_t *object, const char *field, const char *const *words,
                                int *out, struct wl_err *err) {
    const json_t *value = json_object_get(object, field);
    if (!value) {
        return WL_OK;
    }
    struct buf list;
    buf_init(&list, 512);
    for (int i = 0; words[i]; i++) {
        if (json_is_string(value) && strcmp(json_string_value(value), words[i]) == 0) {
            *out = i;
            buf_release(&list);
            return WL_OK;
        }
        buf_printf(&list, "%s'%s'", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
    }
    enum wl_status status =
        json_is_string(value) ? wl_err_set(err, WL_INPUT, "field '%s': expected %s, found '%.80s'",
                                           field, buf_text(&list), json_string_value(value))
                              : json_fields_wrong(field, buf_text(&list), value, err);
    buf_release(&list);
    return status;
}
