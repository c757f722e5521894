#include "image/exif.h"

#include <stdbool.h>
#include <string.h>

#include "image/bytes.h"

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, TYPE_LONG = 4, ENTRY_BYTES = 12 };

struct tiff {
    const unsigned char *data;
    size_t n;
    bool is_big_endian;
};

static uint32_t read16(const struct tiff *tiff, size_t at) {
    return tiff->is_big_endian ? bytes_be16(tiff->data + at) : bytes_le16(tiff->data + at);
}

static uint32_t read32(const struct tiff *tiff, size_t at) {
    return tiff->is_big_endian ? bytes_be32(tiff->data + at) : bytes_le32(tiff->data + at);
}

// Tag, type, count, value: 2 + 2 + 4 + 4 bytes. Some programs write the number as a long one.
static uint32_t entry_value(const struct tiff *tiff, size_t at) {
    uint32_t type = read16(tiff, at + 2);
    if (read32(tiff, at + 4) != 1) {
        return 0;
    }
    return type == TYPE_SHORT ? read16(tiff, at + 8) : type == TYPE_LONG ? read32(tiff, at + 8) : 0;
}

static uint32_t find_orientation(const struct tiff *tiff) {
    size_t at = read32(tiff, 4); // of the first directory
    if (at > tiff->n - 2) {
        return 0;
    }
    uint32_t n_entries = read16(tiff, at);
    at += 2;
    for (; n_entries > 0 && tiff->n - at >= ENTRY_BYTES; n_entries--, at += ENTRY_BYTES) {
        if (read16(tiff, at) == TAG_ORIENTATION) {
            return entry_value(tiff, at);
        }
    }
    return 0;
}

uint8_t exif_orientation(const unsigned char *bytes, size_t n) {
    static const unsigned char prefix[6] = "Exif\0";
    if (n >= sizeof prefix && memcmp(bytes, prefix, sizeof prefix) == 0) {
        bytes += sizeof prefix;
        n -= sizeof prefix;
    }
    if (n < 8 || (memcmp(bytes, "II*\0", 4) != 0 && memcmp(bytes, "MM\0*", 4) != 0)) {
        return 1;
    }
    struct tiff tiff = {bytes, n, bytes[0] == 'M'};
    uint32_t value = find_orientation(&tiff);
    return value >= 1 && value <= 8 ? (uint8_t)value : 1;
}
