// One block of a decoder on plain float arrays: what compression computes with, since it needs the
// states inside of a block, and blocks that no file holds yet. PURE. Matrices are row-major as in a
// GGUF file: w[n_out][n_in], y = w x. States are [T][width], one token after the other; a batch is
// several sequences, each attends only to itself.
//
//   x -> mid = x + Wo a(norm(x))           a: grouped-query attention, causal
//   mid -> h = act(Wg u) * (Wu u), u = norm(mid);   y = mid + Wd h
//
// Formulas as in llama.cpp 0.7.0's graphs of llama, qwen2, qwen2vl, qwen3 and gemma3, which
// tests/worker compares with the engine's own states.
#ifndef WATTLAW_COMPRESS_BLOCK_H
#define WATTLAW_COMPRESS_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum block_rope {
    BLOCK_ROPE_PAIRS,  // dimensions 2i, 2i + 1 turn together (llama)
    BLOCK_ROPE_HALVES, // i, i + head_dim / 2 (qwen2, qwen3, gemma3); qwen2vl's sections too
};

struct block_shape {
    uint32_t n_embd, n_head, n_head_kv, head_dim, n_ff;
    float rms_eps;
    enum block_rope rope;
    float rope_base;
    float rope_scale;          // positions are multiplied by it (1: as they are)
    uint32_t rope_sections[4]; // all 0: one position; else pairs that follow position 0, 1, 2, 3
    const float *rope_factors; // head_dim / 2 divisors of the frequencies, or NULL
    uint32_t window;           // keys seen, the token's own included; 0: all before it
    float attention_scale;     // of q k; 0: 1 / sqrt(head_dim)
    bool is_gelu;              // gelu (tanh form) instead of silu
};

// NULL where the model has no such tensor. Norms are plain factors.
struct block_weights {
    const float *attn_norm; // [n_embd]
    const float *wq, *wk, *wv;
    const float *bq, *bk, *bv;
    const float *q_norm, *k_norm; // [head_dim]
    const float *wo, *bo;
    const float *attn_post_norm; // of the attention's output, before it is added
    const float *ffn_norm;
    const float *gate, *up, *down; // [n_ff][n_embd] twice, [n_embd][n_ff]
    const float *down_bias;        // [n_embd]
    const float *ffn_post_norm;
};

struct block_batch {
    size_t n_tokens;
    const uint32_t *lengths; // of the sequences; their sum is n_tokens
    size_t n_sequences;
    const int32_t *positions; // [4][n_tokens] with rope_sections, else [n_tokens]
};

// mid [n_tokens][n_embd]. `heads` [n_tokens][n_head * head_dim], if not NULL, gets what Wo is
// applied to. MEMORY.
enum wl_status block_attention(const struct block_shape *shape, const struct block_weights *weights,
                               const struct block_batch *batch, const float *x, float *mid,
                               float *heads, struct wl_err *err);

// u [n_tokens][n_embd], h [n_tokens][n_ff]; `u` may be NULL. MEMORY.
enum wl_status block_ffn_inner(const struct block_shape *shape, const struct block_weights *weights,
                               size_t n_tokens, const float *mid, float *u, float *h,
                               struct wl_err *err);

// y = mid + Wd h (+ bias, post norm); `y` may be `mid`. MEMORY.
enum wl_status block_ffn_out(const struct block_shape *shape, const struct block_weights *weights,
                             size_t n_tokens, const float *mid, const float *h, float *y,
                             struct wl_err *err);

#endif
