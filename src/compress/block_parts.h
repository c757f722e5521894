// Inside block*.c and back*.c only: the steps that the parts of a block share. Rows are tokens;
// nothing here keeps more than a scratch of a few rows.
#ifndef WATTLAW_COMPRESS_BLOCK_PARTS_H
#define WATTLAW_COMPRESS_BLOCK_PARTS_H

#include "compress/block.h"

enum {
    BLOCK_ROWS = 512,    // rows that go through a matrix at once: enough for BLAS's full speed
    BLOCK_QUERIES = 128, // rows of scores that exist at once
};

// block.c: rows * width floats, zeroed; NULL, with MEMORY in `err`, when there is no room or BLAS's
// int cannot count a side.
float *block_floats(uint64_t n_rows, uint64_t width, struct wl_err *err);
// y [n_rows][n_out] = x [n_rows][n_in] times w^T, plus `bias` if not NULL.
void block_multiply(const float *x, size_t n_rows, const float *w, const float *bias, size_t n_in,
                    size_t n_out, float *y);
// Each row by its root mean square, times factor [width]; `y` may be `x`.
void block_norm(const float *x, size_t n_rows, size_t width, float eps, const float *factor,
                float *y);

// e^x to a few units in the last place, for loops: the compiler computes several at once, which it
// cannot with a call of expf. 0 below -80, so that nothing becomes too small for full speed; e^88
// from 88 on.
static inline float block_exp(float x) {
    // Compared as integers, which no exception stands in the way of computing several of. Negative
    // numbers grow with their size then, and what is no number stays so.
    const int32_t most = 0x42b00000, infinity = 0x7f800000;                      // 88
    const int32_t least = INT32_MIN + 0x42a00000, lowest = INT32_MIN + infinity; // -80
    const float to_integer = 12582912; // 1.5 * 2^23: what is added to it is rounded
    union {
        float f;
        int32_t i;
        uint32_t u;
    } in = {.f = x}, out;
    // All bits set, or none.
    int32_t is_low = -((in.i > least) & (in.i <= lowest));
    int32_t is_high = -((in.i > most) & (in.i <= infinity));
    in.i = (is_low & least) | (is_high & most) | (~(is_low | is_high) & in.i);
    out.f = in.f * 1.44269504F + to_integer;
    float n = out.f - to_integer;
    float r = (in.f - n * 0.693359375F) + n * 2.12194440e-4F; // ln 2 in two parts
    float y = 1.9875691500e-4F;                               // Cephes, expf
    y = y * r + 1.3981999507e-3F;
    y = y * r + 8.3334519073e-3F;
    y = y * r + 4.1665795894e-2F;
    y = y * r + 1.6666665459e-1F;
    y = y * r + 5.0000001201e-1F;
    y = y * r * r + r + 1;
    out.u = (out.u - 0x4b400000U + 127) << 23;
    out.f *= y;
    out.i &= ~is_low;
    return out.f;
}

// What leads back to the stream: out = x + norm(w in + bias), without what is NULL.
struct block_return {
    const float *w, *bias, *post_norm;
    size_t n_in, n_embd;
    float rms_eps;
};
// `scratch` [n_rows][n_embd]; `out` may be `x`.
void block_return_add(const struct block_return *back, size_t n_rows, const float *in,
                      const float *x, float *scratch, float *out);

// block_rope.c: cos and sin of every token's angles, [n_tokens][head_dim / 2] each.
struct block_turns {
    double *frequency; // [head_dim / 2]
    float *cosine, *sine;
};
enum wl_status block_turns_init(struct block_turns *turns, const struct block_shape *shape,
                                size_t max_tokens, struct wl_err *err); // MEMORY
void block_turns_release(struct block_turns *turns);                    // zeroed ones are fine
// The angles of the batch's tokens first_token ... + n_tokens.
void block_turns_set(struct block_turns *turns, const struct block_shape *shape,
                     const struct block_batch *batch, size_t first_token, size_t n_tokens);
// x [n_tokens][n_heads][head_dim], in place.
void block_turns_apply(const struct block_turns *turns, const struct block_shape *shape,
                       size_t n_tokens, size_t n_heads, float *x);

// block_heads.c: rows of queries of one head at a time, with the keys that they see.
struct block_tile {
    size_t first_query, n_queries; // tokens of the sequence
    size_t first_key, n_keys;
};
struct block_tile block_tile_at(const struct block_shape *shape, size_t n, size_t first_query);
float block_attention_scale(const struct block_shape *shape);
// What the tile's queries give to its keys, [n_queries][n_keys], adding up to 1. q of the query
// head, k of its group, both from the sequence's first token on.
void block_tile_attend(const struct block_shape *shape, const struct block_tile *tile,
                       const float *q, const float *k, float *weights);

// out [n][n_head * head_dim] of one sequence of n tokens, q as wide, k and v
// [n][n_head_kv * head_dim]; `scores` [BLOCK_QUERIES][n] is scratch.
void block_heads_attend(const struct block_shape *shape, size_t n, const float *q, const float *k,
                        const float *v, float *scores, float *out);

#endif
