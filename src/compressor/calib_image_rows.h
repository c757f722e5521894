// What the image encoder gave for each picture, kept once however many questions are about it. A
// sequence under work has -1 - row in place of a token; in the end each row is copied to where it
// stands, with its position.
#ifndef WATTLAW_COMPRESSOR_CALIB_IMAGE_ROWS_H
#define WATTLAW_COMPRESSOR_CALIB_IMAGE_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/calib.h"

struct calib_place { // M-RoPE's, from the first row of the view
    int32_t time, row, column;
};

struct calib_view { // rows that follow each other: a picture, or a tile of one
    size_t first, n;
    int32_t n_positions; // by how much the text behind it is moved on
};

struct calib_rows {
    size_t n_embd;
    float *values;              // [n][n_embd]
    struct calib_place *places; // [n]
    uint32_t *view_of;          // [n]
    size_t n, capacity;
    struct calib_view *views;
    size_t n_views, views_capacity;
};

void calib_rows_release(struct calib_rows *rows); // zeroed ones are fine
// Room for the n rows of one more view, which the caller fills: those from (*view)->first on. The
// view is valid until the next one.
enum wl_status calib_rows_add(struct calib_rows *rows, size_t n, struct calib_view **view,
                              struct wl_err *err);

static inline int32_t calib_row_token(size_t row) {
    return -1 - (int32_t)row;
}

// Positions and embeddings of a part that has pictures; COMPRESS_IMAGE_TOKEN for their tokens.
enum wl_status calib_rows_place(const struct calib_rows *rows, struct calib_part *part,
                                struct wl_err *err);

#endif
