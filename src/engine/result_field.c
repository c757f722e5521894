#include "engine/result_field.h"

#include <string.h>

#include "base/json.h"
#include "base/str.h"

enum wl_status field_protocol(enum wl_status status, struct wl_err *err) {
    if (status != WL_OK && err) {
        err->status = WL_PROTOCOL;
    }
    return status == WL_OK ? WL_OK : WL_PROTOCOL;
}

enum wl_status field_object(const json_t *value, const char *what, struct wl_err *err) {
    return json_is_object(value) ? WL_OK
                                 : wl_err_set(err, WL_PROTOCOL, "'%s': expected an object", what);
}

enum wl_status field_i64(const json_t *object, const char *key, int64_t low, int64_t high,
                         int64_t *out, struct wl_err *err) {
    int64_t value = 0;
    enum wl_status status = field_protocol(wl_json_get_i64(object, key, &value, err), err);
    if (status != WL_OK) {
        return status;
    }
    if (value < low || value > high) {
        return wl_err_set(err, WL_PROTOCOL, "key '%s': expected %lld to %lld, found %lld", key,
                          (long long)low, (long long)high, (long long)value);
    }
    *out = value;
    return WL_OK;
}

enum wl_status field_u32(const json_t *object, const char *key, uint32_t high, uint32_t *out,
                         struct wl_err *err) {
    int64_t value = 0;
    enum wl_status status = field_i64(object, key, 0, high, &value, err);
    if (status == WL_OK) {
        *out = (uint32_t)value;
    }
    return status;
}

enum wl_status field_bool(const json_t *object, const char *key, bool *out, struct wl_err *err) {
    return field_protocol(wl_json_get_bool(object, key, out, err), err);
}

enum wl_status field_copy(const char *key, const char *text, char *out, size_t size,
                          struct wl_err *err) {
    if (!str_copy(out, size, text)) {
        return wl_err_set(err, WL_PROTOCOL, "key '%s': %zu bytes, at most %zu expected", key,
                          strlen(text), size - 1);
    }
    return WL_OK;
}

enum wl_status field_text(const json_t *object, const char *key, char *out, size_t size,
                          struct wl_err *err) {
    const char *text;
    enum wl_status status = field_protocol(wl_json_get_string(object, key, &text, err), err);
    return status == WL_OK ? field_copy(key, text, out, size, err) : status;
}

void field_loose_text(const json_t *object, const char *key, char *out, size_t size) {
    const char *text = wl_json_opt_string(object, key, "");
    size_t len = strlen(text);
    if (len >= size) { // cut between characters
        len = size - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    memcpy(out, text, len);
    out[len] = '\0';
}

enum wl_status field_word(const json_t *object, const char *key, char out[ENGINE_SHORT_BYTES],
                          struct wl_err *err) {
    enum wl_status status = field_text(object, key, out, ENGINE_SHORT_BYTES, err);
    if (status != WL_OK) {
        return status;
    }
    size_t len = strspn(out, "abcdefghijklmnopqrstuvwxyz0123456789_-.");
    if (len == 0 || out[len]) {
        return wl_err_set(err, WL_PROTOCOL, "key '%s': expected a word, found '%s'", key, out);
    }
    return WL_OK;
}

uint64_t field_little_endian(const unsigned char *in, size_t n) {
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        value |= (uint64_t)in[i] << (8 * i);
    }
    return value;
}
