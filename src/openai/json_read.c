// Reads JSON that is as it should be. Whatever is not (and a few rare forms that are) is left to
// jansson: it reads it, or says what is wrong with it.
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "openai/json_scan.h"
#include "openai/json_text.h"

enum {
    KEY_BYTES = 128,     // longer keys are left to jansson
    MAX_INT_DIGITS = 18, // fit into 64 bits whatever they are
    MAX_UTF8_BYTES = 4,
};

struct reader {
    const char *at, *end;
    size_t depth;
    size_t n_values;    // counted as wl_json_parse counts them
    struct buf scratch; // of a string with escapes
};

static json_t *read_value(struct reader *r);

// The next character that is no white space, not taken; '\0' at the end.
static char next_char(struct reader *r) {
    while (r->at < r->end &&
           (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r')) {
        r->at++;
    }
    return r->at < r->end ? *r->at : '\0';
}

// ---- strings

static size_t utf8_len(const struct reader *r) {
    size_t n_left = (size_t)(r->end - r->at);
    if (n_left >= MAX_UTF8_BYTES) {
        return str_utf8_len(r->at);
    }
    char rest[MAX_UTF8_BYTES + 1] = {0}; // str_utf8_len must not look behind the end
    memcpy(rest, r->at, n_left);
    return str_utf8_len(rest);
}

// To the next quote or backslash.
static bool skip_plain(struct reader *r) {
    for (;;) {
        r->at += json_plain_run(r->at, (size_t)(r->end - r->at), true);
        if (r->at == r->end) {
            return false;
        }
        if (*r->at == '"' || *r->at == '\\') {
            return true;
        }
        size_t len = (unsigned char)*r->at < 0x20 ? 0 : utf8_len(r);
        if (len == 0) {
            return false;
        }
        r->at += len;
    }
}

// The four digits behind \u; -1.
static int32_t read_hex(struct reader *r) {
    if (r->end - r->at < 4) {
        return -1;
    }
    int32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = *r->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return -1;
        }
        code = code * 16 + digit;
    }
    return code;
}

static void append_utf8(struct buf *buf, int32_t code) {
    char text[MAX_UTF8_BYTES];
    size_t n = 0;
    if (code < 0x80) {
        text[n++] = (char)code;
    } else if (code < 0x800) {
        text[n++] = (char)(0xc0 | code >> 6);
    } else if (code < 0x10000) {
        text[n++] = (char)(0xe0 | code >> 12);
        text[n++] = (char)(0x80 | (code >> 6 & 0x3f));
    } else {
        text[n++] = (char)(0xf0 | code >> 18);
        text[n++] = (char)(0x80 | (code >> 12 & 0x3f));
        text[n++] = (char)(0x80 | (code >> 6 & 0x3f));
    }
    if (code >= 0x80) {
        text[n++] = (char)(0x80 | (code & 0x3f));
    }
    buf_append(buf, text, n);
}

// Behind \u. U+0000 and halves of surrogate pairs are refused, as jansson does.
static bool read_unicode(struct reader *r) {
    int32_t code = read_hex(r);
    if (code <= 0 || (code >= 0xdc00 && code <= 0xdfff)) {
        return false;
    }
    if (code >= 0xd800 && code <= 0xdbff) {
        if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u') {
            return false;
        }
        r->at += 2;
        int32_t low = read_hex(r);
        if (low < 0xdc00 || low > 0xdfff) {
            return false;
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(&r->scratch, code);
    return true;
}

static bool read_escape(struct reader *r) {
    static const char NAMES[] = "\"\\/bfnrt", MEANINGS[] = "\"\\/\b\f\n\r\t";
    r->at++;
    char name = r->at < r->end ? *r->at++ : '\0';
    if (name == 'u') {
        return read_unicode(r);
    }
    const char *found = name ? strchr(NAMES, name) : NULL;
    return found && buf_append(&r->scratch, &MEANINGS[found - NAMES], 1);
}

// *text lies in the text that is read, or in the scratch buffer until the next string.
static bool read_string(struct reader *r, const char **text, size_t *n) {
    const char *begin = ++r->at;
    if (!skip_plain(r)) {
        return false;
    }
    if (*r->at == '"') {
        *text = begin;
        *n = (size_t)(r->at++ - begin);
        return true;
    }
    buf_clear(&r->scratch);
    while (*r->at != '"') {
        buf_append(&r->scratch, begin, (size_t)(r->at - begin));
        if (!read_escape(r)) {
            return false;
        }
        begin = r->at;
        if (!skip_plain(r)) {
            return false;
        }
    }
    buf_append(&r->scratch, begin, (size_t)(r->at++ - begin));
    *text = buf_text(&r->scratch);
    *n = r->scratch.len;
    return !r->scratch.is_failed;
}

// ---- numbers and words

static bool is_digit(const struct reader *r) {
    return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

static size_t skip_digits(struct reader *r) {
    const char *begin = r->at;
    while (is_digit(r)) {
        r->at++;
    }
    return (size_t)(r->at - begin);
}

// Behind the digits of a real number; false when there is none.
static bool skip_fraction(struct reader *r) {
    bool is_real = false;
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        skip_digits(r);
        is_real = true;
    }
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        r->at++;
        r->at += r->at < r->end && (*r->at == '+' || *r->at == '-');
        skip_digits(r);
        is_real = true;
    }
    return is_real;
}

static json_t *read_number(struct reader *r) {
    const char *begin = r->at;
    bool is_negative = *r->at == '-';
    r->at += is_negative;
    const char *digits = r->at;
    size_t n_digits = skip_digits(r);
    bool has_zero = n_digits > 1 && digits[0] == '0';
    if (skip_fraction(r) || n_digits == 0 || n_digits > MAX_INT_DIGITS || has_zero) {
        return json_loadb(begin, (size_t)(r->at - begin), JSON_DECODE_ANY, NULL);
    }
    json_int_t value = 0;
    for (size_t i = 0; i < n_digits; i++) {
        value = value * 10 + (digits[i] - '0');
    }
    return json_integer(is_negative ? -value : value);
}

static bool take_word(struct reader *r, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0) {
        return false;
    }
    r->at += n;
    return true;
}

// ---- objects and lists

static bool read_member(struct reader *r, json_t *object) {
    char key[KEY_BYTES];
    const char *text;
    size_t n;
    if (next_char(r) != '"' || !read_string(r, &text, &n) || n >= sizeof key) {
        return false;
    }
    memcpy(key, text, n);
    key[n] = '\0';
    if (next_char(r) != ':') {
        return false;
    }
    r->at++;
    r->n_values++;
    size_t n_before = json_object_size(object);
    json_t *value = read_value(r);
    // A key that was there already is refused: then nothing has been added.
    return value && json_object_set_new_nocheck(object, key, value) == 0 &&
           json_object_size(object) > n_before;
}

static bool read_element(struct reader *r, json_t *list) {
    json_t *value = read_value(r);
    return value && json_array_append_new(list, value) == 0;
}

// The members between two brackets.
static json_t *read_members(struct reader *r, json_t *whole, char close,
                            bool (*read_one)(struct reader *, json_t *)) {
    r->at++;
    r->n_values++;
    r->depth++;
    bool is_fine = whole && r->depth <= WL_JSON_MAX_DEPTH;
    bool is_end = is_fine && next_char(r) == close;
    while (is_fine && !is_end) {
        is_fine = read_one(r, whole);
        char c = is_fine ? next_char(r) : '\0';
        is_end = c == close;
        if (c == ',') {
            r->at++;
            r->n_values++;
        } else if (!is_end) {
            is_fine = false;
        }
    }
    if (!is_fine) {
        json_decref(whole);
        return NULL;
    }
    r->at++;
    r->depth--;
    return whole;
}

static json_t *read_value(struct reader *r) {
    const char *text;
    size_t n;
    if (r->n_values > WL_JSON_MAX_VALUES) {
        return NULL;
    }
    switch (next_char(r)) {
    case '{': return read_members(r, json_object(), '}', read_member);
    case '[': return read_members(r, json_array(), ']', read_element);
    case '"': return read_string(r, &text, &n) ? json_stringn_nocheck(text, n) : NULL;
    case 't': return take_word(r, "true") ? json_true() : NULL;
    case 'f': return take_word(r, "false") ? json_false() : NULL;
    case 'n': return take_word(r, "null") ? json_null() : NULL;
    default: return is_digit(r) || (r->at < r->end && *r->at == '-') ? read_number(r) : NULL;
    }
}

enum wl_status openai_json_parse(const char *text, size_t n, json_t **out, struct wl_err *err) {
    if (!text || n == 0) {
        *out = NULL;
        return wl_err_set(err, WL_INPUT, "expected JSON, found nothing");
    }
    struct reader r = {.at = text, .end = text + n, .n_values = 1};
    buf_init(&r.scratch, n);
    *out = read_value(&r);
    bool is_whole =
        *out && next_char(&r) == '\0' && r.at == r.end && r.n_values <= WL_JSON_MAX_VALUES;
    buf_release(&r.scratch);
    if (is_whole) {
        return WL_OK;
    }
    json_decref(*out);
    return wl_json_parse(text, n, out, err);
}
