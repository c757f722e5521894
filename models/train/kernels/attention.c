/*
 * Attention as a whole, forward and backward. Activations are bf16 (uint16_t here), the
 * residual stream, norms and gradients of parameters are f32; one CPU core. ops.py describes each
 * operation by its plain twin.
 */
#include "vectors.h"

enum {
    HEAD = 32,        /* the only head size that attention knows: two vectors */
    PAIRS = HEAD / 2, /* a bf16 row of one head is this many 32-bit pairs */
    ROWS = 8,         /* rows of one register block of a product */
    KEYS = 32,        /* columns of one register block */
    TILE = 64,        /* queries and keys of one block of the backward pass */
};

/*
 * The one product of attention: acc[ROWS][32] += a b. Step s of row r takes the bf16 pair
 * a[r * row_stride + s * step_stride] times the pairs b[2 * s], b[2 * s + 1] (32 columns).
 */
INLINE void multiply(vf acc[ROWS][2], const uint32_t *a, long row_stride, long step_stride,
                     const vu *b, long steps) {
    for (long s = 0; s < steps; s++, a += step_stride, b += 2) {
        vu b0 = b[0];
        vu b1 = b[1];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            vu pair = a[r * row_stride] - (vu){0};
            acc[r][0] = dot_pairs(acc[r][0], pair, b0);
            acc[r][1] = dot_pairs(acc[r][1], pair, b1);
        }
    }
}

INLINE void clear_block(vf acc[ROWS][2]) {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        acc[r][0] = acc[r][1] = (vf){0};
    }
}

/* out[ROWS][HEAD] += a b, where out lies in memory */
INLINE void multiply_into(float *out, const uint32_t *a, long row_stride, long step_stride,
                          const vu *b, long steps) {
    vf acc[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        acc[r][0] = *(const vf_any *)(out + r * HEAD);
        acc[r][1] = *(const vf_any *)(out + r * HEAD + LANES);
    }
    multiply(acc, a, row_stride, step_stride, b, steps);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        *(vf_any *)(out + r * HEAD) = acc[r][0];
        *(vf_any *)(out + r * HEAD + LANES) = acc[r][1];
    }
}

/* 16x16 transpose: four rounds of interleaving the upper with the lower half */
INLINE void transpose(vu m[LANES]) {
    const vu low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
    const vu high = low + 8;
    vu next[LANES];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = __builtin_shuffle(m[i], m[i + LANES / 2], low);
            next[2 * i + 1] = __builtin_shuffle(m[i], m[i + LANES / 2], high);
        }
        memcpy(m, next, sizeof next);
    }
}

static long round_up(long n, long step) {
    return (n + step - 1) / step * step;
}

/* rows[n][HEAD] -> per 32 rows: [PAIRS][32] pairs of neighbouring dimensions; zeros after n */
static void pack_dims(const uint16_t *rows, long n, long n_padded, vu *out) {
    for (long block = 0; block < n_padded; block += LANES) {
        vu m[LANES];
        for (int i = 0; i < LANES; i++) {
            m[i] = (vu){0};
            if (block + i < n) {
                m[i] = *(const vu_any *)(rows + (block + i) * HEAD);
            }
        }
        transpose(m);
        vu *to = out + block / KEYS * (2 * PAIRS) + block % KEYS / LANES;
        for (int i = 0; i < PAIRS; i++) {
            to[2 * i] = m[i];
        }
    }
}

/* rows[n][HEAD] -> [n_padded / 2][HEAD] pairs of neighbouring rows; zeros after n */
static void pack_rows(const uint16_t *rows, long n, long n_padded, vu *out) {
    for (long row = 0; row < n_padded; row += 2, out += 2) {
        for (int half = 0; half < 2; half++) {
            const uint16_t *p = rows + row * HEAD + half * LANES;
            vu low = row < n ? __builtin_convertvector(*(const vh_any *)p, vu) : (vu){0};
            vu high =
                row + 1 < n ? __builtin_convertvector(*(const vh_any *)(p + HEAD), vu) : (vu){0};
            out[half] = low | (high << 16);
        }
    }
}

/* What both passes share; pointers of the forward pass's results included. */
struct attention {
    const uint16_t *qkv; /* [batch][n][(heads + 2 * kv_heads) * HEAD], before bias */
    const float *bias;   /* [(heads + 2 * kv_heads) * HEAD] */
    const float *cos;    /* [n][LANES] */
    const float *sin;
    uint16_t *q;    /* [batch][heads][n][HEAD], turned and scaled for exp2 */
    uint16_t *k;    /* [batch][kv_heads][n][HEAD], turned */
    uint16_t *v;    /* the same */
    uint16_t *out;  /* [batch][n][heads * HEAD] */
    float *log_sum; /* [batch][heads][n], base 2 */
    long batch, n;
    int heads, kv_heads, causal;
};

static float query_scale(void) {
    return LOG2_E / sqrtf((float)HEAD);
}

/* bias and turn one head's row: x -> out */
INLINE void turn_row(const uint16_t *x, const float *bias, const float *cos, const float *sin,
                     float scale, uint16_t *out) {
    vf first = load_bf16(x) + *(const vf_any *)bias;
    vf second = load_bf16(x + LANES) + *(const vf_any *)(bias + LANES);
    vf c = *(const vf_any *)cos * scale;
    vf s = *(const vf_any *)sin * scale;
    store_bf16(out, first * c - second * s);
    store_bf16(out + LANES, second * c + first * s);
}

static void split_heads(const struct attention *t) {
    const int width = (t->heads + 2 * t->kv_heads) * HEAD;
    const float scale = query_scale();
    for (long row = 0; row < t->batch * t->n; row++) {
        const uint16_t *x = t->qkv + row * width;
        const float *bias = t->bias;
        const long b = row / t->n;
        const long i = row % t->n;
        const float *cos = t->cos + i * LANES;
        const float *sin = t->sin + i * LANES;
        for (int h = 0; h < t->heads; h++, x += HEAD, bias += HEAD) {
            turn_row(x, bias, cos, sin, scale, t->q + ((b * t->heads + h) * t->n + i) * HEAD);
        }
        for (int h = 0; h < t->kv_heads; h++, x += HEAD, bias += HEAD) {
            turn_row(x, bias, cos, sin, 1, t->k + ((b * t->kv_heads + h) * t->n + i) * HEAD);
        }
        for (int h = 0; h < t->kv_heads; h++, x += HEAD, bias += HEAD) {
            uint16_t *v = t->v + ((b * t->kv_heads + h) * t->n + i) * HEAD;
            store_bf16(v, load_bf16(x) + *(const vf_any *)bias);
            store_bf16(v + LANES, load_bf16(x + LANES) + *(const vf_any *)(bias + LANES));
        }
    }
}

static const vu COUNT = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const float NEVER = -1e30F;

/* scores of keys from `limit` on become NEVER; x holds the keys key .. key + 15 */
INLINE vf hide(vf x, long key, long limit) {
    vu hidden = (vu)(COUNT + (uint32_t)key >= (uint32_t)limit);
    return (vf)((hidden & (vu)splat(NEVER)) | (~hidden & (vu)x));
}

INLINE long key_limit(const struct attention *t, long query) {
    return t->causal && query + 1 < t->n ? query + 1 : t->n;
}

struct forward_scratch {
    vu *k_dims;      /* [n_padded / KEYS][PAIRS][2] */
    vu *v_rows;      /* [n_padded / 2][2] */
    float *scores;   /* [ROWS][n_padded] */
    uint16_t *share; /* [ROWS][n_padded] */
    long n_padded;
};

/* scores of one row -> exp2(score - largest) as bf16; returns their sum and the largest score */
INLINE float soften_row(float *scores, uint16_t *share, long n_keys, long limit, float *largest) {
    for (long key = limit / LANES * LANES; key < n_keys; key += LANES) {
        *(vf_any *)(scores + key) = hide(*(vf_any *)(scores + key), key, limit);
    }
    vf most = splat(NEVER);
    for (long key = 0; key < n_keys; key += LANES) {
        most = larger(most, *(vf_any *)(scores + key));
    }
    *largest = largest_lane(most);
    vf sum = {0};
    for (long key = 0; key < n_keys; key += LANES) {
        vf e = exp2_lanes(*(vf_any *)(scores + key) - *largest);
        sum += e;
        store_bf16(share + key, e);
    }
    return sum_lanes(sum);
}

/* queries first .. first + ROWS - 1 of one head */
static void attend_rows(const struct attention *t, struct forward_scratch *s, long b, int head,
                        long first) {
    const long n = t->n;
    const long n_rows = n - first < ROWS ? n - first : ROWS;
    const long n_keys = round_up(key_limit(t, first + ROWS - 1), KEYS);
    const long head_row = (b * t->heads + head) * n + first;
    uint32_t q[ROWS * PAIRS] = {0};
    memcpy(q, t->q + head_row * HEAD, (size_t)n_rows * HEAD * 2);

    for (long key = 0; key < n_keys; key += KEYS) {
        vf acc[ROWS][2];
        clear_block(acc);
        multiply(acc, q, PAIRS, 1, s->k_dims + key / KEYS * (2 * PAIRS), PAIRS);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            *(vf_any *)(s->scores + r * s->n_padded + key) = acc[r][0];
            *(vf_any *)(s->scores + r * s->n_padded + key + LANES) = acc[r][1];
        }
    }
    float scale[ROWS] = {0};
    for (int r = 0; r < n_rows; r++) {
        float largest;
        float sum = soften_row(s->scores + r * s->n_padded, s->share + r * s->n_padded, n_keys,
                               key_limit(t, first + r), &largest);
        t->log_sum[head_row + r] = largest + log2f(sum);
        scale[r] = 1.0F / sum;
    }
    vf acc[ROWS][2];
    clear_block(acc);
    multiply(acc, (const uint32_t *)(const void *)s->share, s->n_padded / 2, 1, s->v_rows,
             n_keys / 2);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        if (r < n_rows) {
            uint16_t *out = t->out + (((b * n) + first + r) * t->heads + head) * HEAD;
            store_bf16(out, acc[r][0] * scale[r]);
            store_bf16(out + LANES, acc[r][1] * scale[r]);
        }
    }
}

static void *scratch(size_t bytes) {
    void *p = aligned_alloc(64, (size_t)round_up((long)bytes, 64));
    if (!p) {
        abort();
    }
    return p;
}

void attention_forward(const struct attention *t) {
    struct forward_scratch s;
    const int group = t->heads / t->kv_heads;
    s.n_padded = round_up(t->n, KEYS);
    s.k_dims = scratch((size_t)s.n_padded * HEAD * 2);
    s.v_rows = scratch((size_t)s.n_padded * HEAD * 2);
    s.scores = scratch((size_t)s.n_padded * ROWS * sizeof(float));
    s.share = scratch((size_t)s.n_padded * ROWS * 2);
    memset(s.share, 0, (size_t)s.n_padded * ROWS * 2);

    split_heads(t);
    for (long b = 0; b < t->batch; b++) {
        for (int kv = 0; kv < t->kv_heads; kv++) {
            const long start = (b * t->kv_heads + kv) * t->n * HEAD;
            pack_dims(t->k + start, t->n, s.n_padded, s.k_dims);
            pack_rows(t->v + start, t->n, s.n_padded, s.v_rows);
            for (int head = kv * group; head < (kv + 1) * group; head++) {
                for (long first = 0; first < t->n; first += ROWS) {
                    attend_rows(t, &s, b, head, first);
                }
            }
        }
    }
    free(s.k_dims);
    free(s.v_rows);
    free(s.scores);
    free(s.share);
}

struct backward_scratch {
    vu *k_dims, *v_dims; /* [n_padded / KEYS][PAIRS][2] */
    vu *k_rows;          /* [n_padded / 2][2] */
    float *dk, *dv;      /* [n_padded][HEAD] */
    long n_padded;
    /* of the TILE queries at hand */
    _Alignas(64) uint32_t q[TILE * PAIRS];
    _Alignas(64) uint32_t dout[TILE * PAIRS];
    vu q_rows[TILE], dout_rows[TILE];
    float log_sum[TILE], inner[TILE]; /* inner: sum of out * dout */
    float dq[TILE * HEAD];
    /* of those queries and TILE keys */
    _Alignas(64) uint16_t dscores[TILE * TILE];         /* [query][key] */
    _Alignas(64) uint32_t share_pairs[TILE / 2 * TILE]; /* [query / 2][key] */
    _Alignas(64) uint32_t dscores_pairs[TILE / 2 * TILE];
};

/* One register block of shares and score gradients: ROWS queries from r0, KEYS keys from key. */
INLINE void backward_block(const struct attention *t, struct backward_scratch *s, long first,
                           long r0, long tile_key, long c0) {
    const long key = tile_key + c0;
    const long packed = key / KEYS * (2 * PAIRS);
    const int hides = key + KEYS > t->n || (t->causal && key + KEYS > first + r0 + 1);
    vf share[ROWS][2];
    vf dscore[ROWS][2];
    clear_block(share);
    multiply(share, s->q + r0 * PAIRS, PAIRS, 1, s->k_dims + packed, PAIRS);
    for (int r = 0; r < ROWS; r++) {
        for (int half = 0; half < 2; half++) {
            vf x = share[r][half] - s->log_sum[r0 + r];
            if (hides) {
                x = hide(x, key + half * LANES, key_limit(t, first + r0 + r));
            }
            share[r][half] = exp2_lanes(x);
        }
    }
    clear_block(dscore);
    multiply(dscore, s->dout + r0 * PAIRS, PAIRS, 1, s->v_dims + packed, PAIRS);
    for (int r = 0; r < ROWS; r++) {
        for (int half = 0; half < 2; half++) {
            vf d = share[r][half] * (dscore[r][half] - s->inner[r0 + r]);
            dscore[r][half] = d;
            store_bf16(s->dscores + (r0 + r) * TILE + c0 + half * LANES, d);
        }
    }
    for (int r = 0; r < ROWS; r += 2) {
        for (int half = 0; half < 2; half++) {
            const long at = (r0 + r) / 2 * TILE + c0 + half * LANES;
            *(vu_any *)(s->share_pairs + at) = pair_up(share[r][half], share[r + 1][half]);
            *(vu_any *)(s->dscores_pairs + at) = pair_up(dscore[r][half], dscore[r + 1][half]);
        }
    }
}

/* TILE queries from first against TILE keys from key: adds to dq, dk, dv */
static void backward_tile(const struct attention *t, struct backward_scratch *s, long first,
                          long key) {
    for (long r0 = 0; r0 < TILE; r0 += ROWS) {
        for (long c0 = 0; c0 < TILE; c0 += KEYS) {
            backward_block(t, s, first, r0, key, c0);
        }
        multiply_into(s->dq + r0 * HEAD, (const uint32_t *)(const void *)(s->dscores + r0 * TILE),
                      TILE / 2, 1, s->k_rows + key, TILE / 2);
    }
    for (long c0 = 0; c0 < TILE; c0 += ROWS) {
        multiply_into(s->dv + (key + c0) * HEAD, s->share_pairs + c0, 1, TILE, s->dout_rows,
                      TILE / 2);
        multiply_into(s->dk + (key + c0) * HEAD, s->dscores_pairs + c0, 1, TILE, s->q_rows,
                      TILE / 2);
    }
}

/* fill the part of s that belongs to the TILE queries from first of one head */
static void load_queries(const struct attention *t, struct backward_scratch *s,
                         const uint16_t *dout, long b, int head, long first) {
    const long n_rows = t->n - first < TILE ? t->n - first : TILE;
    const long head_row = (b * t->heads + head) * t->n + first;
    memset(s->q, 0, sizeof s->q);
    memset(s->dout, 0, sizeof s->dout);
    memset(s->dq, 0, sizeof s->dq);
    memcpy(s->q, t->q + head_row * HEAD, (size_t)n_rows * HEAD * 2);
    for (long r = 0; r < TILE; r++) {
        s->inner[r] = 0;
        s->log_sum[r] = -NEVER; /* rows past the end get no share at all */
        if (r >= n_rows) {
            continue;
        }
        const long at = ((b * t->n + first + r) * t->heads + head) * HEAD;
        memcpy(s->dout + r * PAIRS, dout + at, HEAD * 2);
        vf inner = load_bf16(dout + at) * load_bf16(t->out + at) +
                   load_bf16(dout + at + LANES) * load_bf16(t->out + at + LANES);
        s->inner[r] = sum_lanes(inner);
        s->log_sum[r] = t->log_sum[head_row + r];
    }
    pack_rows((const uint16_t *)(const void *)s->q, TILE, TILE, s->q_rows);
    pack_rows((const uint16_t *)(const void *)s->dout, TILE, TILE, s->dout_rows);
}

/* turn a gradient back, times scale: d[HEAD] -> out; also added to dbias */
INLINE void turn_back(const float *d, const float *cos, const float *sin, float scale,
                      uint16_t *out, float *dbias) {
    vf first = *(const vf_any *)d * scale;
    vf second = *(const vf_any *)(d + LANES) * scale;
    vf c = *(const vf_any *)cos;
    vf s = *(const vf_any *)sin;
    vf dfirst = first * c + second * s;
    vf dsecond = second * c - first * s;
    store_bf16(out, dfirst);
    store_bf16(out + LANES, dsecond);
    *(vf_any *)dbias += dfirst;
    *(vf_any *)(dbias + LANES) += dsecond;
}

static void finish_queries(const struct attention *t, const struct backward_scratch *s,
                           uint16_t *dqkv, float *dbias, long b, int head, long first) {
    const long width = (t->heads + 2 * t->kv_heads) * HEAD;
    const float scale = 1.0F / sqrtf((float)HEAD);
    for (long i = first; i < t->n && i < first + TILE; i++) {
        turn_back(s->dq + (i - first) * HEAD, t->cos + i * LANES, t->sin + i * LANES, scale,
                  dqkv + (b * t->n + i) * width + head * HEAD, dbias + head * HEAD);
    }
}

static void finish_keys(const struct attention *t, const struct backward_scratch *s, uint16_t *dqkv,
                        float *dbias, long b, int kv) {
    const long width = (t->heads + 2 * t->kv_heads) * HEAD;
    const float scale = 1.0F / LOG2_E; /* q was scaled for exp2 */
    const long at_k = (long)(t->heads + kv) * HEAD;
    const long at_v = at_k + (long)t->kv_heads * HEAD;
    for (long i = 0; i < t->n; i++) {
        uint16_t *row = dqkv + (b * t->n + i) * width;
        turn_back(s->dk + i * HEAD, t->cos + i * LANES, t->sin + i * LANES, scale, row + at_k,
                  dbias + at_k);
        for (int half = 0; half < HEAD; half += LANES) {
            vf d = *(const vf_any *)(s->dv + i * HEAD + half);
            store_bf16(row + at_v + half, d);
            *(vf_any *)(dbias + at_v + half) += d;
        }
    }
}

static void backward_group(const struct attention *t, struct backward_scratch *s,
                           const uint16_t *dout, uint16_t *dqkv, float *dbias, long b, int kv) {
    const int group = t->heads / t->kv_heads;
    const long start = (b * t->kv_heads + kv) * t->n * HEAD;
    pack_dims(t->k + start, t->n, s->n_padded, s->k_dims);
    pack_dims(t->v + start, t->n, s->n_padded, s->v_dims);
    pack_rows(t->k + start, t->n, s->n_padded, s->k_rows);
    memset(s->dk, 0, (size_t)s->n_padded * HEAD * sizeof(float));
    memset(s->dv, 0, (size_t)s->n_padded * HEAD * sizeof(float));
    for (int head = kv * group; head < (kv + 1) * group; head++) {
        for (long first = 0; first < t->n; first += TILE) {
            load_queries(t, s, dout, b, head, first);
            const long end = t->causal ? first + TILE : s->n_padded;
            for (long key = 0; key < end; key += TILE) {
                backward_tile(t, s, first, key);
            }
            finish_queries(t, s, dqkv, dbias, b, head, first);
        }
    }
    finish_keys(t, s, dqkv, dbias, b, kv);
}

/* dqkv is written, dbias is added to; t as after attention_forward (qkv itself is not read) */
void attention_backward(const struct attention *t, const uint16_t *dout, uint16_t *dqkv,
                        float *dbias) {
    struct backward_scratch *s = scratch(sizeof *s);
    s->n_padded = round_up(t->n, TILE);
    const size_t bytes = (size_t)s->n_padded * HEAD * 2;
    s->k_dims = scratch(bytes);
    s->v_dims = scratch(bytes);
    s->k_rows = scratch(bytes);
    s->dk = scratch(2 * bytes);
    s->dv = scratch(2 * bytes);
    for (long b = 0; b < t->batch; b++) {
        for (int kv = 0; kv < t->kv_heads; kv++) {
            backward_group(t, s, dout, dqkv, dbias, b, kv);
        }
    }
    free(s->k_dims);
    free(s->v_dims);
    free(s->k_rows);
    free(s->dk);
    free(s->dv);
    free(s);
}
