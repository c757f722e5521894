// Numbers in a file's bytes, whatever this machine's byte order. The caller has checked that the
// bytes are there.
#ifndef WATTLAW_IMAGE_BYTES_H
#define WATTLAW_IMAGE_BYTES_H

#include <stdint.h>

static inline uint32_t bytes_be16(const unsigned char *at) {
    return (uint32_t)at[0] << 8 | at[1];
}

static inline uint32_t bytes_be32(const unsigned char *at) {
    return bytes_be16(at) << 16 | bytes_be16(at + 2);
}

static inline uint32_t bytes_le16(const unsigned char *at) {
    return (uint32_t)at[1] << 8 | at[0];
}

static inline uint32_t bytes_le24(const unsigned char *at) {
    return (uint32_t)at[2] << 16 | bytes_le16(at);
}

static inline uint32_t bytes_le32(const unsigned char *at) {
    return bytes_le16(at + 2) << 16 | bytes_le16(at);
}

#endif
