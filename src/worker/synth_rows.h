// Random rows in any tensor type, made once per (type, length) and repeated with rotation, so that
// a file is written at the speed of the disk.
#ifndef WATTLAW_WORKER_SYNTH_ROWS_H
#define WATTLAW_WORKER_SYNTH_ROWS_H

#include <ggml.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

enum { SYNTH_MAX_POOLS = 64 };

struct synth_pool {
    enum ggml_type type;
    uint64_t n_cols;
    size_t row_bytes;
    size_t block_bytes;
    uint64_t n_rows;
    unsigned char *rows;
};

struct synth_rows {
    struct rng rng;
    struct synth_pool pools[SYNTH_MAX_POOLS];
    size_t n_pools;
};

void synth_rows_init(struct synth_rows *rows, uint64_t seed);
void synth_rows_release(struct synth_rows *rows);
// The pool for a type and length; NULL when out of memory.
const struct synth_pool *synth_rows_pool(struct synth_rows *rows, enum ggml_type type,
                                         uint64_t n_cols);
// Copies row number `row` of a tensor (any number) into `out` (row_bytes).
void synth_pool_copy(const struct synth_pool *pool, uint64_t row, unsigned char *out);

#endif
