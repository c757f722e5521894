// Attention of one sequence, backwards: weights are computed again, a tile at a time.
//
//   out = P v, P = softmax(s), s = scale q k^T
//   dP = dout v^T, ds = P * (dP - sum over keys of P * dP); the sum is that of out * dout too
#include <cblas.h>

#include "compress/back_parts.h"

size_t back_heads_floats(size_t n) {
    return 2 * BLOCK_QUERIES * n;
}

// Rows of one head.
struct head {
    const float *q, *k, *v, *out, *dout;
    float *dq, *dk, *dv;
    int width, kv_width; // from a row to the next
};

static void scores_gradient(const struct block_tile *tile, const struct head *head, size_t head_dim,
                            const float *weights, float *gradient) {
    for (size_t i = 0; i < tile->n_queries; i++) {
        size_t at = (tile->first_query + i) * (size_t)head->width;
        const float *w = weights + i * tile->n_keys;
        float *g = gradient + i * tile->n_keys;
        float mean = cblas_sdot((int)head_dim, head->out + at, 1, head->dout + at, 1);
        for (size_t key = 0; key < tile->n_keys; key++) {
            g[key] = w[key] * (g[key] - mean);
        }
    }
}

static void attend_tile(const struct block_shape *shape, const struct block_tile *tile,
                        const struct head *head, float *scratch) {
    int n_queries = (int)tile->n_queries, n_keys = (int)tile->n_keys, dim = (int)shape->head_dim;
    size_t query = tile->first_query * (size_t)head->width;
    size_t key = tile->first_key * (size_t)head->kv_width;
    float scale = block_attention_scale(shape);
    float *weights = scratch, *gradient = scratch + tile->n_queries * tile->n_keys;
    block_tile_attend(shape, tile, head->q, head->k, weights);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n_keys, dim, n_queries, 1, weights, n_keys,
                head->dout + query, head->width, 1, head->dv + key, head->kv_width);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n_queries, n_keys, dim, 1,
                head->dout + query, head->width, head->v + key, head->kv_width, 0, gradient,
                n_keys);
    scores_gradient(tile, head, shape->head_dim, weights, gradient);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n_queries, dim, n_keys, scale, gradient,
                n_keys, head->k + key, head->kv_width, 0, head->dq + query, head->width);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n_keys, dim, n_queries, scale, gradient,
                n_keys, head->q + query, head->width, 1, head->dk + key, head->kv_width);
}

void back_heads_attend(const struct block_shape *shape, size_t n, const struct back_states *states,
                       size_t first_token, const float *dout, float *scratch, float *dq, float *dk,
                       float *dv) {
    size_t width = (size_t)shape->n_head * shape->head_dim;
    size_t kv_width = (size_t)shape->n_head_kv * shape->head_dim;
    size_t heads_per_group = shape->n_head / shape->n_head_kv;
    for (size_t i = 0; i < shape->n_head; i++) {
        size_t at = first_token * width + i * shape->head_dim;
        size_t at_kv = first_token * kv_width + i / heads_per_group * shape->head_dim;
        struct head head = {.q = states->q + at,
                            .k = states->k + at_kv,
                            .v = states->v + at_kv,
                            .out = states->heads + at,
                            .dout = dout + at,
                            .dq = dq + at,
                            .dk = dk + at_kv,
                            .dv = dv + at_kv,
                            .width = (int)width,
                            .kv_width = (int)kv_width};
        for (size_t query = 0; query < n; query += BLOCK_QUERIES) {
            struct block_tile tile = block_tile_at(shape, n, query);
            attend_tile(shape, &tile, &head, scratch);
        }
    }
}
