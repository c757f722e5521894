#include "report/clean.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

// 0 and *code untouched when the bytes are no valid UTF-8 (RFC 3629: no overlong forms, no
// surrogates, at most U+10FFFF).
static size_t decode(const char *text, uint32_t *code) {
    const unsigned char *p = (const unsigned char *)text;
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;
    if (len == 0 || p[0] > 0xf4) {
        return 0;
    }
    uint32_t value = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0; // also stops at the terminating NUL
        }
        value = value << 6 | (p[i] & 0x3fu);
    }
    bool is_surrogate = value >= 0xd800 && value <= 0xdfff;
    if (value < SMALLEST[len] || value > 0x10ffff || is_surrogate) {
        return 0;
    }
    *code = value;
    return len;
}

// Characters that reorder what is shown, so that a name could read as another one.
static bool is_direction_override(uint32_t code) {
    return (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) ||
           code == 0x200e || code == 0x200f || code == 0x2028 || code == 0x2029 || code == 0xfeff;
}

size_t clean_char_length(const char *text) {
    uint32_t code;
    size_t len = decode(text, &code);
    bool is_control = len > 0 && (code < 0x20 || (code >= 0x7f && code < 0xa0));
    return len == 0 || is_control || is_direction_override(code) ? 0 : len;
}

size_t clean_skip_length(const char *text) {
    uint32_t code;
    size_t len = decode(text, &code);
    return len == 0 ? 1 : len;
}

void clean_text(char *text) {
    char *out = text;
    while (*text) {
        size_t len = clean_char_length(text);
        if (len > 0) {
            memmove(out, text, len);
            out += len;
            text += len;
        } else {
            size_t skip = clean_skip_length(text); // before the byte is overwritten
            *out++ = strchr("\t\n\r\v\f", *text) ? ' ' : '?';
            text += skip;
        }
    }
    *out = '\0';
}

struct range {
    uint32_t first, last;
};

static bool is_in(uint32_t code, const struct range *ranges, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (code >= ranges[i].first && code <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

// The blocks that terminals draw wide or on top of the previous character; good enough for names.
int clean_char_columns(const char *text, size_t len) {
    static const struct range WIDE[] = {{0x1100, 0x115f}, {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},
                                        {0xf900, 0xfaff}, {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                                        {0xffe0, 0xffe6}, {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};
    static const struct range NONE[] = {
        {0x300, 0x36f}, {0x200b, 0x200d}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}};
    uint32_t code = 0;
    if (len < 2 || decode(text, &code) == 0) {
        return 1;
    }
    if (is_in(code, NONE, sizeof NONE / sizeof NONE[0])) {
        return 0;
    }
    return is_in(code, WIDE, sizeof WIDE / sizeof WIDE[0]) ? 2 : 1;
}
