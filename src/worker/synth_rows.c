#include "worker/synth_rows.h"

#include <stdlib.h>
#include <string.h>

enum { POOL_VALUES = 1 << 18, MIN_POOL_ROWS = 8, MAX_POOL_ROWS = 256 };
#define WEIGHT_SD 0.02

void synth_rows_init(struct synth_rows *rows, uint64_t seed) {
    *rows = (struct synth_rows){0};
    rng_seed(&rows->rng, seed);
}

void synth_rows_release(struct synth_rows *rows) {
    for (size_t i = 0; i < rows->n_pools; i++) {
        free(rows->pools[i].rows);
    }
    *rows = (struct synth_rows){0};
}

static bool fill_pool(struct synth_pool *pool, struct rng *rng) {
    uint64_t n = pool->n_rows * pool->n_cols;
    float *values = malloc(n * sizeof *values);
    pool->rows = malloc(pool->n_rows * pool->row_bytes);
    if (values && pool->rows) {
        for (uint64_t i = 0; i < n; i++) {
            values[i] = (float)(WEIGHT_SD * rng_normal(rng));
        }
        ggml_quantize_chunk(pool->type, values, pool->rows, 0, (int64_t)pool->n_rows,
                            (int64_t)pool->n_cols, NULL);
    }
    free(values);
    return values && pool->rows;
}

static uint64_t pool_rows(uint64_t n_cols) {
    uint64_t n = POOL_VALUES / n_cols;
    return n < MIN_POOL_ROWS ? MIN_POOL_ROWS : n > MAX_POOL_ROWS ? MAX_POOL_ROWS : n;
}

const struct synth_pool *synth_rows_pool(struct synth_rows *rows, enum ggml_type type,
                                         uint64_t n_cols) {
    for (size_t i = 0; i < rows->n_pools; i++) {
        if (rows->pools[i].type == type && rows->pools[i].n_cols == n_cols) {
            return &rows->pools[i];
        }
    }
    if (rows->n_pools == SYNTH_MAX_POOLS) {
        return NULL;
    }
    struct synth_pool *pool = &rows->pools[rows->n_pools];
    *pool = (struct synth_pool){
        .type = type,
        .n_cols = n_cols,
        .row_bytes = ggml_row_size(type, (int64_t)n_cols),
        .block_bytes = ggml_type_size(type),
        .n_rows = pool_rows(n_cols),
    };
    rows->n_pools++; // released even when filling fails
    return fill_pool(pool, &rows->rng) ? pool : NULL;
}

void synth_pool_copy(const struct synth_pool *pool, uint64_t row, unsigned char *out) {
    const unsigned char *from = pool->rows + row % pool->n_rows * pool->row_bytes;
    // Each pass over the pool rotates its rows by one more block, so that few rows are equal.
    size_t n_blocks = pool->row_bytes / pool->block_bytes;
    size_t turn = (size_t)(row / pool->n_rows) % n_blocks * pool->block_bytes;
    memcpy(out, from + turn, pool->row_bytes - turn);
    memcpy(out + pool->row_bytes - turn, from, turn);
}
