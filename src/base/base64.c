#include "base/base64.h"

// Three bytes become four characters.
enum { GROUPS_AT_ONCE = 1024 };

static void encode_group(const unsigned char *in, size_t n, char out[4]) {
    static const char ALPHABET[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits =
        (unsigned)in[0] << 16 | (n > 1 ? (unsigned)in[1] << 8 : 0) | (n > 2 ? in[2] : 0);
    out[0] = ALPHABET[bits >> 18];
    out[1] = ALPHABET[bits >> 12 & 63];
    out[2] = n > 1 ? ALPHABET[bits >> 6 & 63] : '=';
    out[3] = n > 2 ? ALPHABET[bits & 63] : '=';
}

bool base64_append(struct buf *out, const void *bytes, size_t n) {
    const unsigned char *in = bytes;
    char text[GROUPS_AT_ONCE * 4];
    while (n > 0 && !out->is_failed) {
        size_t n_text = 0;
        for (size_t i = 0; i < GROUPS_AT_ONCE && n > 0; i++) {
            size_t n_group = n < 3 ? n : 3;
            encode_group(in, n_group, text + n_text);
            in += n_group;
            n -= n_group;
            n_text += 4;
        }
        buf_append(out, text, n_text);
    }
    return !out->is_failed;
}
