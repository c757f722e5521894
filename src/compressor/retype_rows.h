// Rows of a matrix in another type: read from the mapped file, put in another order, rounded, and
// read back to see what was lost. Only for retype*.c.
#ifndef WATTLAW_COMPRESSOR_RETYPE_ROWS_H
#define WATTLAW_COMPRESSOR_RETYPE_ROWS_H

#include "compressor/retype_types.h"
#include "compressor/source.h"

struct retype_matrix {
    const struct gguf_tensor *tensor;
    enum retype_part part;
    int32_t layer;           // -1: of the whole model
    enum ggml_type type;     // the new one
    const float *importance; // [columns]: mean square of the inputs; NULL: all alike
    const uint32_t *columns; // old numbers in the new order; NULL: as they are
    const uint32_t *rows;    // the same
    double sensitivity;      // what an error of this matrix does, as a share of the stream
    double off, size;        // sums over the rows made so far of E|w x - w' x|^2 and E|w x|^2
};

struct retype_error {
    double off, size;
};

// Rows `first` to `first + n_rows` of the new order in the new type, [n_rows][row bytes]; `out` may
// be NULL: only the error counts, which is added to. More than one thread where there is much.
enum wl_status retype_rows(const struct compress_source *source, const struct retype_matrix *matrix,
                           uint64_t first, uint64_t n_rows, void *out, struct retype_error *error,
                           struct wl_err *err);

// The error of the matrix in its type as a share, from rows evenly spread over it.
enum wl_status retype_sample_error(const struct compress_source *source,
                                   const struct retype_matrix *matrix, double *out,
                                   struct wl_err *err);

// The tensor's pages need not stay in memory: it will not be read soon.
void retype_forget(const struct compress_source *source, const struct gguf_tensor *tensor);

#endif
