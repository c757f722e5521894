// "data:image/png;base64,iVBORw0..." (RFC 2397) with base64 as RFC 4648 demands it of a decoder:
// the standard alphabet, padded to a multiple of four, unused bits zero, and nothing else: no white
// space, no line breaks, no %-escapes. The scheme and the words before the comma may be in
// capitals, and parameters may stand between the type and "base64".
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

enum { MAX_HEAD_BYTES = 256, NOT_BASE64 = 64 };

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_word(const char *text, size_t n, const char *word) {
    size_t len = strlen(word);
    for (size_t i = 0; i < len; i++) {
        if (i >= n || lower(text[i]) != word[i]) {
            return false;
        }
    }
    return true;
}

// A picture is a million characters: one look-up for each is many times as fast as comparing.
// Values are one more than the digit, so that 0 is what is none.
// clang-format off
static const unsigned char DIGITS[256] = {
    ['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    ['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
    ['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
    ['+'] = 63, ['/'] = 64,
};
// clang-format on

// What is none has the bit NOT_BASE64 (and all others).
static unsigned digit(unsigned char c) {
    return DIGITS[c] - 1u;
}

// The data behind the comma, or NULL.
static const char *find_data(const char *uri, size_t n) {
    static const char start[] = "data:image/", end[] = ";base64";
    if (!is_word(uri, n, start)) {
        return NULL;
    }
    const char *comma = memchr(uri, ',', n < MAX_HEAD_BYTES ? n : MAX_HEAD_BYTES);
    size_t head = comma ? (size_t)(comma - uri) : 0;
    size_t n_end = sizeof end - 1;
    if (head < sizeof start - 1 + n_end || !is_word(comma - n_end, n_end, end)) {
        return NULL;
    }
    return comma + 1;
}

static enum wl_status refuse_character(const char *text, size_t n, size_t at, struct wl_err *err) {
    while (at < n && !(digit((unsigned char)text[at]) & NOT_BASE64)) {
        at++;
    }
    unsigned char c = (unsigned char)text[at];
    bool is_break = c == '\n' || c == '\r' || c == ' ';
    return wl_err_set(err, WL_INPUT,
                      "the base64 of the picture is damaged: character %zu of %zu is 0x%02x%s", at,
                      n, c, is_break ? "; it must be in one piece (base64 -w 0)" : "");
}

// All of `text` but its last four characters, in fours.
static enum wl_status decode_body(const char *text, size_t n, unsigned char *out,
                                  struct wl_err *err) {
    const unsigned char *in = (const unsigned char *)text;
    for (size_t i = 0; i + 4 < n; i += 4, out += 3) {
        unsigned a = digit(in[i]), b = digit(in[i + 1]), c = digit(in[i + 2]), d = digit(in[i + 3]);
        if ((a | b | c | d) & NOT_BASE64) {
            return refuse_character(text, n, i, err);
        }
        out[0] = (unsigned char)(a << 2 | b >> 4);
        out[1] = (unsigned char)(b << 4 | c >> 2);
        out[2] = (unsigned char)(c << 6 | d);
    }
    return WL_OK;
}

static enum wl_status decode_last_four(const char *text, size_t n, size_t n_padding,
                                       unsigned char *out, struct wl_err *err) {
    unsigned bits = 0;
    for (size_t i = 0; i < 4; i++) {
        unsigned value = i < 4 - n_padding ? digit((unsigned char)text[n - 4 + i]) : 0;
        if (value & NOT_BASE64) {
            return refuse_character(text, n, n - 4 + i, err);
        }
        bits = bits << 6 | value;
    }
    if (bits & ((1u << 8 * n_padding) - 1)) {
        return wl_err_set(err, WL_INPUT,
                          "the base64 of the picture is damaged: bits behind its last byte");
    }
    for (size_t i = 0; i < 3 - n_padding; i++) {
        out[i] = (unsigned char)(bits >> (16 - 8 * i));
    }
    return WL_OK;
}

static size_t count_padding(const char *text, size_t n) {
    return text[n - 1] != '=' ? 0 : text[n - 2] != '=' ? 1 : 2;
}

static enum wl_status decode_base64(const char *text, size_t n, size_t max_bytes,
                                    unsigned char **bytes, size_t *n_bytes, struct wl_err *err) {
    if (n == 0 || n % 4 != 0) {
        return wl_err_set(err, WL_INPUT,
                          "the base64 of the picture is damaged: %zu characters are no multiple "
                          "of 4 (is its padding missing?)",
                          n);
    }
    size_t n_padding = count_padding(text, n);
    size_t n_out = n / 4 * 3 - n_padding;
    if (n_out > max_bytes) {
        return wl_err_set(err, WL_LIMIT, "the picture's file has %zu bytes; %zu are the most",
                          n_out, max_bytes);
    }
    unsigned char *out = malloc(n_out);
    if (!out) {
        return wl_err_set(err, WL_MEMORY, "no memory for a picture of %zu bytes", n_out);
    }
    enum wl_status status = decode_body(text, n, out, err);
    if (!status) {
        status = decode_last_four(text, n, n_padding, out + (n / 4 - 1) * 3, err);
    }
    if (status) {
        free(out);
        return status;
    }
    *bytes = out;
    *n_bytes = n_out;
    return WL_OK;
}

enum wl_status image_from_data_uri(const char *uri, size_t n_uri, const struct image_limits *limits,
                                   unsigned char **bytes, size_t *n, struct wl_err *err) {
    *bytes = NULL;
    *n = 0;
    const char *data = find_data(uri, n_uri);
    if (!data) {
        return wl_err_set(err, WL_INPUT,
                          "not a picture's data URI: it must start like "
                          "'data:image/png;base64,'");
    }
    limits = limits ? limits : &IMAGE_LIMITS;
    return decode_base64(data, n_uri - (size_t)(data - uri), limits->max_bytes, bytes, n, err);
}
