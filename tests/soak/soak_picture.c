// Pictures as data: addresses, whole ones and broken ones.
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "image/image.h"
#include "soak.h"

static bool make(struct rng *rng, unsigned char **bytes, size_t *n) {
    enum image_format format = (enum image_format)rng_below(rng, 3);
    struct image image = {.width = 1 + rng_below(rng, 300), .height = 1 + rng_below(rng, 300)};
    size_t size = (size_t)image.width * image.height * 3;
    image.rgb = malloc(size);
    if (!image.rgb) {
        return false;
    }
    unsigned char step = (unsigned char)rng_below(rng, 256);
    for (size_t i = 0; i < size; i++) {
        image.rgb[i] = (unsigned char)(i / 64 * step);
    }
    bool is_made = image_encode(&image, format, 80, bytes, n, NULL) == WL_OK;
    free(image.rgb);
    return is_made;
}

static void damage(struct rng *rng, unsigned char *bytes, size_t *n) {
    switch (rng_below(rng, 4)) {
    case 0: *n = rng_below(rng, (uint32_t)*n); break;
    case 1: // a side of billions, in a PNG
        memset(bytes + (*n > 24 ? 16 : 0), 0x7f, *n > 24 ? 8 : 1);
        break;
    default:
        for (uint32_t i = 1 + rng_below(rng, 20); i > 0; i--) {
            bytes[rng_below(rng, (uint32_t)*n)] ^= (unsigned char)(1 + rng_below(rng, 255));
        }
    }
}

static void put_bad_address(struct rng *rng, struct buf *out) {
    static const char *const ADDRESSES[] = {"http://127.0.0.1:1/a.png",
                                            "http://localhost/a.png",
                                            "https://[::1]/a.png",
                                            "file:///etc/passwd",
                                            "data:image/png;base64,",
                                            "data:image/png;base64,####",
                                            "data:,",
                                            "data:image/svg+xml;base64,PHN2Zy8+",
                                            "a.png",
                                            " "};
    buf_puts(out, ADDRESSES[rng_below(rng, 10)]);
}

void soak_picture(struct rng *rng, bool is_bad, struct buf *out) {
    unsigned char *bytes = NULL;
    size_t n = 0;
    if ((is_bad && rng_below(rng, 3) == 0) || !make(rng, &bytes, &n)) {
        put_bad_address(rng, out);
        return;
    }
    if (is_bad) {
        damage(rng, bytes, &n);
    }
    buf_puts(out, "data:image/png;base64,"); // the media type is not believed
    base64_append(out, bytes, n);
    free(bytes);
}
