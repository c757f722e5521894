#include "gateway/json_clean.h"

#include <stdbool.h>
#include <string.h>

#include "base/str.h"

json_t *json_clean(const char *text) {
    char out[JSON_CLEAN_BYTES + 8];
    size_t n = 0;
    if (!text) {
        return json_null();
    }
    while (*text && n < JSON_CLEAN_BYTES) {
        size_t len = str_utf8_len(text);
        bool is_good = len > 1 || (len == 1 && (unsigned char)*text >= 0x20 && *text != 0x7f);
        if (is_good) {
            memcpy(out + n, text, len);
        } else {
            out[n] = '?';
        }
        n += is_good ? len : 1;
        text += len > 0 ? len : 1;
    }
    return json_stringn(out, n);
}
