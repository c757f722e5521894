#include "image/png_walk.h"

#include <string.h>

#include "image/bytes.h"
#include "image/exif.h"

enum {
    CHUNK_AROUND = 12, // length and name before the data, a checksum after it
    IHDR_BYTES = 13,
};

bool png_walk_is_mine(struct image_bytes file) {
    return file.n >= PNG_WALK_SIGNATURE_BYTES &&
           memcmp(file.data, "\x89PNG\r\n\x1a\n", PNG_WALK_SIGNATURE_BYTES) == 0;
}

// A file that was cut has no more chunks; whether it holds the pixels is the decoder's question.
static uint8_t find_orientation(struct image_bytes file) {
    size_t at = PNG_WALK_SIGNATURE_BYTES;
    while (file.n - at >= CHUNK_AROUND) {
        uint32_t n = bytes_be32(file.data + at);
        if (n > file.n - at - CHUNK_AROUND) {
            break;
        }
        if (memcmp(file.data + at + 4, "eXIf", 4) == 0) {
            return exif_orientation(file.data + at + 8, n);
        }
        at += (size_t)n + CHUNK_AROUND;
    }
    return 1;
}

enum wl_status png_walk_header(struct image_bytes file, struct codec_header *out,
                               struct wl_err *err) {
    if (file.n < PNG_WALK_SIGNATURE_BYTES + CHUNK_AROUND + IHDR_BYTES) {
        return wl_err_set(err, WL_INPUT,
                          "damaged PNG picture: the file ends early, after %zu bytes", file.n);
    }
    const unsigned char *ihdr = file.data + PNG_WALK_SIGNATURE_BYTES;
    if (bytes_be32(ihdr) != IHDR_BYTES || memcmp(ihdr + 4, "IHDR", 4) != 0) {
        return wl_err_set(err, WL_INPUT, "damaged PNG picture: it does not start with its header");
    }
    out->width = bytes_be32(ihdr + 8);
    out->height = bytes_be32(ihdr + 12);
    out->orientation = find_orientation(file);
    return WL_OK;
}
