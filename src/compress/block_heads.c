// Softmax attention of one sequence, a head and some rows of queries at a time: what lies after the
// last query, or before the first one's window, is never computed.
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "compress/block_parts.h"

static size_t first_visible(const struct block_shape *shape, size_t query) {
    return shape->window && query >= shape->window ? query - shape->window + 1 : 0;
}

struct block_tile block_tile_at(const struct block_shape *shape, size_t n, size_t first_query) {
    size_t left = n - first_query;
    struct block_tile tile = {.first_query = first_query,
                              .n_queries = left < BLOCK_QUERIES ? left : BLOCK_QUERIES,
                              .first_key = first_visible(shape, first_query)};
    tile.n_keys = first_query + tile.n_queries - tile.first_key;
    return tile;
}

// Eight side by side, which the compiler computes at once.
enum { LANES = 8 };

static float greatest(const float *x, size_t n) {
    float max[LANES], most = x[0];
    size_t i = 0;
    for (size_t k = 0; k < LANES; k++) {
        max[k] = x[0];
    }
    for (; i + LANES <= n; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            max[k] = x[i + k] > max[k] ? x[i + k] : max[k];
        }
    }
    for (; i < n; i++) {
        most = x[i] > most ? x[i] : most;
    }
    for (size_t k = 0; k < LANES; k++) {
        most = max[k] > most ? max[k] : most;
    }
    return most;
}

static double total(const float *x, size_t n) {
    double sums[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            sums[k] += (double)x[i + k];
        }
    }
    for (; i < n; i++) {
        sum += (double)x[i];
    }
    for (size_t k = 0; k < LANES; k++) {
        sum += sums[k];
    }
    return sum;
}

// row [n_keys]: weights that add up to 1 from `first` to `last`, 0 elsewhere.
static void softmax(float *row, size_t n_keys, size_t first, size_t last) {
    size_t n = last - first + 1;
    float max = greatest(row + first, n);
    memset(row, 0, first * sizeof *row);
    memset(row + last + 1, 0, (n_keys - last - 1) * sizeof *row);
    row += first;
    for (size_t key = 0; key < n; key++) {
        row[key] = block_exp(row[key] - max);
    }
    float scale = (float)(1 / total(row, n));
    for (size_t key = 0; key < n; key++) {
        row[key] *= scale;
    }
}

static void softmax_tile(const struct block_shape *shape, const struct block_tile *tile,
                         float *scores) {
    for (size_t i = 0; i < tile->n_queries; i++) {
        size_t query = tile->first_query + i;
        softmax(scores + i * tile->n_keys, tile->n_keys,
                first_visible(shape, query) - tile->first_key, query - tile->first_key);
    }
}

float block_attention_scale(const struct block_shape *shape) {
    return shape->attention_scale != 0 ? shape->attention_scale
                                       : (float)(1 / sqrt((double)shape->head_dim));
}

void block_tile_attend(const struct block_shape *shape, const struct block_tile *tile,
                       const float *q, const float *k, float *weights) {
    int head_dim = (int)shape->head_dim, n_keys = (int)tile->n_keys;
    size_t width = (size_t)shape->n_head * shape->head_dim;
    size_t kv_width = (size_t)shape->n_head_kv * shape->head_dim;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)tile->n_queries, n_keys, head_dim,
                block_attention_scale(shape), q + tile->first_query * width, (int)width,
                k + tile->first_key * kv_width, (int)kv_width, 0, weights, n_keys);
    softmax_tile(shape, tile, weights);
}

// q and out of the query head, k and v of its group, all from the sequence's first token on.
static void attend_tile(const struct block_shape *shape, const struct block_tile *tile,
                        const float *q, const float *k, const float *v, float *scores, float *out) {
    int head_dim = (int)shape->head_dim, n_keys = (int)tile->n_keys;
    size_t width = (size_t)shape->n_head * shape->head_dim;
    size_t kv_width = (size_t)shape->n_head_kv * shape->head_dim;
    block_tile_attend(shape, tile, q, k, scores);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)tile->n_queries, head_dim, n_keys,
                1, scores, n_keys, v + tile->first_key * kv_width, (int)kv_width, 0,
                out + tile->first_query * width, (int)width);
}

void block_heads_attend(const struct block_shape *shape, size_t n, const float *q, const float *k,
                        const float *v, float *scores, float *out) {
    size_t heads_per_group = shape->n_head / shape->n_head_kv;
    for (size_t head = 0; head < shape->n_head; head++) {
        size_t from = head * shape->head_dim;
        size_t from_kv = head / heads_per_group * shape->head_dim;
        for (size_t query = 0; query < n; query += BLOCK_QUERIES) {
            struct block_tile tile = block_tile_at(shape, n, query);
            attend_tile(shape, &tile, q + from, k + from_kv, v + from_kv, scores, out + from);
        }
    }
}
