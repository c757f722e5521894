// Every parser of str.h on the same text: what it takes is in range, what it refuses is left alone.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sweep(const char *text) {
    uint32_t values[16];
    size_t n = 0;
    if (str_parse_sweep(text, values, 16, &n)) {
        for (size_t i = 0; i < n; i++) {
            if (values[i] == 0 || (i > 0 && values[i] <= values[i - 1])) {
                abort();
            }
        }
        if (n == 0 || n > 16) {
            abort();
        }
    }
}

// A message with this text in it must be good UTF-8 from end to end.
static void check_message(const char *text) {
    struct wl_err err;
    wl_err_set(&err, WL_INPUT, "<%s>", text);
    for (const char *p = err.message; *p; p += str_utf8_len(p)) {
        if (str_utf8_len(p) == 0 || *p == '\x1b') {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const WORDS[] = {"study", "run", "serve", "quantisation", NULL};
    char *text = malloc(size + 1), out[16];
    memcpy(text, data, size);
    text[size] = '\0';
    uint64_t u = 7;
    int64_t i = 7;
    double d = 7, s = 7;
    if ((!str_parse_u64(text, &u) && u != 7) || (!str_parse_i64(text, &i) && i != 7) ||
        (!str_parse_double(text, &d) && d != 7) || !isfinite(d) ||
        (!str_parse_seconds(text, &s) && s != 7) || !(s >= 0 && s < 1e9)) {
        abort();
    }
    str_parse_bytes(text, &u);
    check_sweep(text);
    check_message(text);
    str_nearest(text, WORDS);
    str_copy(out, sizeof out, text);
    str_trim(text);
    free(text);
    return 0;
}
