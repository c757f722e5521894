// Looks at strings of JSON eight bytes at a time: pictures in them are long and need nothing else.
#ifndef WATTLAW_OPENAI_JSON_SCAN_H
#define WATTLAW_OPENAI_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define JSON_EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

// The highest bit of a byte is set where it is 0. Above the first such byte others may be set,
// too: good enough for a question about all eight.
static inline uint64_t json_zero_bytes(uint64_t word) {
    return (word - JSON_EACH_BYTE(0x01)) & ~word & JSON_EACH_BYTE(0x80);
}

// 0 when no byte of the eight is a quote, a backslash, a control character or one of `others`
// (their highest bits).
static inline uint64_t json_special_bytes(uint64_t word, uint64_t others) {
    uint64_t controls = (word - JSON_EACH_BYTE(0x20)) & ~word & JSON_EACH_BYTE(0x80);
    return controls | json_zero_bytes(word ^ JSON_EACH_BYTE('"')) |
           json_zero_bytes(word ^ JSON_EACH_BYTE('\\')) | (word & others);
}

// Bytes at the beginning of `text` that stand for themselves in a string of JSON. What is not ASCII
// is no such byte when is_ascii_only.
static inline size_t json_plain_run(const char *text, size_t n, bool is_ascii_only) {
    const uint64_t others = is_ascii_only ? JSON_EACH_BYTE(0x80) : 0;
    const unsigned char limit = is_ascii_only ? 0x7f : 0xff;
    size_t i = 0;
    for (;;) {
        uint64_t word = 0;
        for (; n - i >= sizeof word; i += sizeof word) {
            memcpy(&word, text + i, sizeof word);
            if (json_special_bytes(word, others)) {
                break;
            }
        }
        size_t stop = n - i < sizeof word ? n : i + sizeof word;
        for (; i < stop; i++) {
            unsigned char c = (unsigned char)text[i];
            if (c < 0x20 || c == '"' || c == '\\' || c > limit) {
                return i;
            }
        }
        if (i == n) {
            return n;
        }
    }
}

#endif
