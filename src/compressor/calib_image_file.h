// The pictures that questions are about: files, each one once whatever its names are.
#ifndef WATTLAW_COMPRESSOR_CALIB_IMAGE_FILE_H
#define WATTLAW_COMPRESSOR_CALIB_IMAGE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { CALIB_MAX_PICTURES = 10000 };

struct calib_picture {
    char *path;
    uint64_t path_hash, hash, n_bytes; // of the file, when it was looked into
    uint32_t width, height;            // upright
    uint32_t same_as;                  // number of the first one with these bytes; often its own
};

struct calib_pictures {
    struct calib_picture *items;
    size_t n, capacity;
    bool is_looked_into; // set by the caller: else only the names count
};

// *number of the picture. INPUT: no picture; NOT_FOUND, LIMIT.
enum wl_status calib_pictures_find(struct calib_pictures *pictures, const char *path,
                                   uint32_t *number, struct wl_err *err);
// Its bytes again. INPUT when they are not what they were.
enum wl_status calib_picture_read(const struct calib_picture *picture, struct buf *bytes,
                                  struct wl_err *err);
void calib_pictures_release(struct calib_pictures *pictures); // zeroed ones are fine

#endif
