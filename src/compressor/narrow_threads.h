// Parts of narrow.c: a chunk of a stream on several threads, each with tokens of its own and BLAS
// on one thread. BLAS's own threads share every small product and wait for each other by spinning,
// which on a busy machine takes many times as long as the work.
#ifndef WATTLAW_COMPRESSOR_NARROW_THREADS_H
#define WATTLAW_COMPRESSOR_NARROW_THREADS_H

#include <stddef.h>

#include "base/err.h"

enum { NARROW_MAX_THREADS = 16 };

// As many as BLAS would use, at most NARROW_MAX_THREADS.
size_t narrow_threads(void);

typedef enum wl_status narrow_part_fn(void *context, size_t part, struct wl_err *err);
// Parts 0 to n - 1 at once, the first of them in the calling thread; the first failure is returned.
enum wl_status narrow_in_parts(size_t n, narrow_part_fn *work, void *context, struct wl_err *err);

// Between begin and end BLAS has one thread when matrices of so many elements are not worth more.
int narrow_calm_begin(size_t n_elements);
void narrow_calm_end(int usual);

#endif
