// Parts of narrow.c: behind the last block, how far the made stream is from the original's, and the
// norm before the output matrix, fitted to it.
#ifndef WATTLAW_COMPRESSOR_NARROW_END_H
#define WATTLAW_COMPRESSOR_NARROW_END_H

#include "compressor/narrow_walk.h"

// |z - x|^2 / |x|^2 on held-out text; on_output_norm is told of a norm that is better there.
enum wl_status narrow_end(struct narrow_walk *walk, double *stream_error, struct wl_err *err);

#endif
