// Inside source*.c only: which tensors a file may have, and their shapes.
#ifndef WATTLAW_COMPRESSOR_SOURCE_TENSORS_H
#define WATTLAW_COMPRESSOR_SOURCE_TENSORS_H

#include "compressor/source.h"

// Every tensor is known, there once, of the shape that the keys say, stored in a way that can be
// read and, unless `force`, in Q6_K or more. Needs all of the source but rope_factors.
enum wl_status source_check_tensors(const struct compress_source *source, enum compress_force force,
                                    struct wl_err *err);
// As compress_source_rows, and INPUT when a value is not finite.
enum wl_status source_read_rows(const struct compress_source *source,
                                const struct gguf_tensor *tensor, uint64_t first, uint64_t n_rows,
                                float *out, struct wl_err *err);

#endif
