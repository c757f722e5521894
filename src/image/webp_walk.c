#include "image/webp_walk.h"

#include <string.h>

#include "image/bytes.h"
#include "image/exif.h"

enum {
    RIFF_BYTES = 12,       // "RIFF", length, "WEBP"
    CHUNK_BYTES = 8,       // name, length
    LOSSY_BYTES = 10,      // frame tag, start code, sides
    LOSSLESS_BYTES = 5,    // signature, sides
    EXTENDED_BYTES = 10,   // flags, sides
    FRAME_BYTES = 16,      // place, sides, duration, flags
    FLAG_ANIMATION = 0x02, // of VP8X
};

struct chunk {
    const unsigned char *name;
    struct image_bytes bytes;
};

bool webp_walk_is_mine(struct image_bytes file) {
    return file.n >= RIFF_BYTES && memcmp(file.data, "RIFF", 4) == 0 &&
           memcmp(file.data + 8, "WEBP", 4) == 0;
}

static bool is_named(const struct chunk *chunk, const char *name) {
    return memcmp(chunk->name, name, 4) == 0;
}

static enum wl_status damaged(struct wl_err *err, const char *what) {
    return wl_err_set(err, WL_INPUT, "damaged WebP picture: %s", what);
}

// False at the end. A chunk that reaches beyond it does not count.
static bool next_chunk(struct image_bytes file, size_t *at, struct chunk *out) {
    if (file.n - *at < CHUNK_BYTES) {
        return false;
    }
    const unsigned char *start = file.data + *at;
    uint32_t n = bytes_le32(start + 4);
    if (n > file.n - *at - CHUNK_BYTES) {
        return false;
    }
    *out = (struct chunk){start, {start + CHUNK_BYTES, n}};
    *at += CHUNK_BYTES + n;
    *at += n % 2 && *at < file.n ? 1 : 0; // padded to an even length
    return true;
}

// Sides are 14 bits each; the two bits above those of a lossy picture ask for stretching, which no
// decoder does.
static bool read_lossy(struct image_bytes bytes, struct webp_layout *out) {
    static const unsigned char start_code[3] = {0x9d, 0x01, 0x2a};
    if (bytes.n < LOSSY_BYTES || memcmp(bytes.data + 3, start_code, sizeof start_code) != 0) {
        return false;
    }
    out->width = bytes_le16(bytes.data + 6) & 0x3fff;
    out->height = bytes_le16(bytes.data + 8) & 0x3fff;
    return true;
}

static bool read_lossless(struct image_bytes bytes, struct webp_layout *out) {
    if (bytes.n < LOSSLESS_BYTES || bytes.data[0] != 0x2f) {
        return false;
    }
    uint32_t bits = bytes_le32(bytes.data + 1);
    out->width = (bits & 0x3fff) + 1;
    out->height = (bits >> 14 & 0x3fff) + 1;
    return true;
}

static enum wl_status read_first_frame(struct image_bytes file, size_t at, struct webp_layout *out,
                                       struct wl_err *err) {
    struct chunk chunk;
    while (next_chunk(file, &at, &chunk)) {
        if (!is_named(&chunk, "ANMF")) {
            continue;
        }
        if (chunk.bytes.n <= FRAME_BYTES) {
            break;
        }
        const unsigned char *data = chunk.bytes.data;
        struct webp_frame frame = {
            .bytes = {data + FRAME_BYTES, chunk.bytes.n - FRAME_BYTES},
            .x = bytes_le24(data) * 2,
            .y = bytes_le24(data + 3) * 2,
            .width = bytes_le24(data + 6) + 1,
            .height = bytes_le24(data + 9) + 1,
        };
        if (frame.x + frame.width > out->width || frame.y + frame.height > out->height) {
            return damaged(err, "a frame reaches beyond the picture");
        }
        out->frame = frame;
        return WL_OK;
    }
    return damaged(err, "an animation without a frame");
}

static uint8_t find_orientation(struct image_bytes file, size_t at) {
    struct chunk chunk;
    while (next_chunk(file, &at, &chunk)) {
        if (is_named(&chunk, "EXIF")) {
            return exif_orientation(chunk.bytes.data, chunk.bytes.n);
        }
    }
    return 1;
}

static enum wl_status read_extended(struct image_bytes file, size_t at,
                                    const struct image_bytes *header, struct webp_layout *out,
                                    struct wl_err *err) {
    if (header->n < EXTENDED_BYTES) {
        return damaged(err, "its header is too short");
    }
    out->width = bytes_le24(header->data + 4) + 1;
    out->height = bytes_le24(header->data + 7) + 1;
    out->orientation = find_orientation(file, at);
    if (header->data[0] & FLAG_ANIMATION) {
        return read_first_frame(file, at, out, err);
    }
    return WL_OK;
}

enum wl_status webp_walk(struct image_bytes file, struct webp_layout *out, struct wl_err *err) {
    *out = (struct webp_layout){.orientation = 1};
    uint64_t n = (uint64_t)bytes_le32(file.data + 4) + 8;
    if (n > file.n) {
        return wl_err_set(err, WL_INPUT,
                          "damaged WebP picture: the file ends early, after %zu of %llu bytes",
                          file.n, (unsigned long long)n);
    }
    file.n = n > RIFF_BYTES ? (size_t)n : RIFF_BYTES; // what follows is none of it
    size_t at = RIFF_BYTES;
    struct chunk first;
    if (!next_chunk(file, &at, &first)) {
        return damaged(err, "its first chunk is cut");
    }
    enum wl_status status = WL_OK;
    if (is_named(&first, "VP8X")) {
        status = read_extended(file, at, &first.bytes, out, err);
    } else if (!(is_named(&first, "VP8 ") && read_lossy(first.bytes, out)) &&
               !(is_named(&first, "VP8L") && read_lossless(first.bytes, out))) {
        status = damaged(err, "it does not start with a header");
    }
    if (!status && !out->frame.bytes.data) {
        out->frame = (struct webp_frame){file, 0, 0, out->width, out->height};
    }
    return status;
}
