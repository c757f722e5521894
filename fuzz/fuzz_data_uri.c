// image_from_data_uri on arbitrary bytes: what is accepted is exactly what encoding gives back.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(int is_true) {
    if (!is_true) {
        abort();
    }
}

static char encoded_at(const unsigned char *bytes, size_t n, size_t i) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t bit = i * 6, byte = i / 4 * 3;
    if (bit >= n * 8) {
        return '=';
    }
    unsigned group = 0;
    for (size_t k = 0; k < 3; k++) {
        group = group << 8 | (byte + k < n ? bytes[byte + k] : 0);
    }
    return alphabet[group >> (18 - 6 * (i % 4)) & 63];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    const struct image_limits limits = {.max_bytes = 64, .max_pixels = 1, .max_side = 1};
    unsigned char *bytes;
    size_t n;
    struct wl_err err = {0};
    enum wl_status status = image_from_data_uri((const char *)data, len, &limits, &bytes, &n, &err);
    if (status) {
        require(status == WL_INPUT || status == WL_LIMIT);
        require(!bytes && n == 0 && err.status == status && err.message[0]);
        return 0;
    }
    const uint8_t *comma = memchr(data, ',', len);
    require(comma && n >= 1 && n <= limits.max_bytes);
    size_t n_text = len - (size_t)(comma + 1 - data);
    require(n_text == (n + 2) / 3 * 4);
    for (size_t i = 0; i < n_text; i++) {
        require((char)comma[1 + i] == encoded_at(bytes, n, i));
    }
    free(bytes);
    return 0;
}
