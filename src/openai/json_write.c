#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "openai/json_scan.h"
#include "openai/json_text.h"

enum {
    MAX_DEPTH = 64, // what was read has at most WL_JSON_MAX_DEPTH, what is put around it a few
    MIN_REAL_DIGITS = 15,
    MAX_REAL_DIGITS = 17, // always give the same number back
    NUMBER_BYTES = 64,
};

static bool write_escape(struct buf *buf, char c) {
    static const char MEANINGS[] = "\"\\\b\f\n\r\t", NAMES[] = "\"\\bfnrt";
    const char *found = c ? strchr(MEANINGS, c) : NULL;
    if (!found) {
        return buf_printf(buf, "\\u%04X", (unsigned)(unsigned char)c);
    }
    const char escape[2] = {'\\', NAMES[found - MEANINGS]};
    return buf_append(buf, escape, sizeof escape);
}

bool openai_json_write_string(struct buf *buf, const char *text, size_t n) {
    buf_append(buf, "\"", 1);
    for (size_t at = 0; at < n; at++) {
        size_t run = json_plain_run(text + at, n - at, false);
        buf_append(buf, text + at, run);
        at += run;
        if (at < n) {
            write_escape(buf, text[at]);
        }
    }
    return buf_append(buf, "\"", 1);
}

static bool write_real(struct buf *buf, const json_t *value) {
    char text[NUMBER_BYTES];
    size_t n = 0;
    double again = 0;
    for (size_t digits = MIN_REAL_DIGITS; digits <= MAX_REAL_DIGITS; digits++) {
        n = json_dumpb(value, text, sizeof text - 1, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        if (n == 0 || n >= sizeof text) {
            return false;
        }
        text[n] = '\0';
        if (str_parse_double(text, &again) && again == json_real_value(value)) {
            break;
        }
    }
    return buf_append(buf, text, n);
}

static bool write_integer(struct buf *buf, const json_t *value) {
    char text[NUMBER_BYTES];
    int n = snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return n > 0 && buf_append(buf, text, (size_t)n);
}

static bool write_value(struct buf *buf, const json_t *value, size_t depth);

static bool write_object(struct buf *buf, json_t *object, size_t depth) {
    bool is_fine = buf_append(buf, "{", 1);
    void *first = json_object_iter(object);
    for (void *i = first; i && is_fine; i = json_object_iter_next(object, i)) {
        const char *key = json_object_iter_key(i);
        is_fine = (i == first || buf_append(buf, ",", 1)) &&
                  openai_json_write_string(buf, key, strlen(key)) && buf_append(buf, ":", 1) &&
                  write_value(buf, json_object_iter_value(i), depth);
    }
    return is_fine && buf_append(buf, "}", 1);
}

static bool write_list(struct buf *buf, const json_t *list, size_t depth) {
    bool is_fine = buf_append(buf, "[", 1);
    for (size_t i = 0; i < json_array_size(list) && is_fine; i++) {
        is_fine =
            (i == 0 || buf_append(buf, ",", 1)) && write_value(buf, json_array_get(list, i), depth);
    }
    return is_fine && buf_append(buf, "]", 1);
}

static bool write_value(struct buf *buf, const json_t *value, size_t depth) {
    if (!value || depth > MAX_DEPTH) {
        return false;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: return write_object(buf, (json_t *)value, depth + 1);
    case JSON_ARRAY: return write_list(buf, value, depth + 1);
    case JSON_STRING:
        return openai_json_write_string(buf, json_string_value(value), json_string_length(value));
    case JSON_INTEGER: return write_integer(buf, value);
    case JSON_REAL: return write_real(buf, value);
    case JSON_TRUE: return buf_append(buf, "true", 4);
    case JSON_FALSE: return buf_append(buf, "false", 5);
    case JSON_NULL: return buf_append(buf, "null", 4);
    }
    return false;
}

bool openai_json_write(struct buf *buf, const json_t *value) {
    return write_value(buf, value, 0) && !buf->is_failed;
}
