// The way back through one decoder block (block.h): from the gradient with respect to what it gives
// to that with respect to what it got, and to its weights. PURE.
//
// The way forth here keeps what the way back needs. Matrices' gradients are not formed: who wants
// one is told the inputs and the gradients of the outputs, of which it is the product
// (y = w x: dw = dy^T x), or a part of it can be had for less (lora.h).
#ifndef WATTLAW_COMPRESS_BACK_H
#define WATTLAW_COMPRESS_BACK_H

#include "compress/block.h"

enum back_matrix { BACK_Q, BACK_K, BACK_V, BACK_O, BACK_GATE, BACK_UP, BACK_DOWN, BACK_MATRICES };

enum back_vector {
    BACK_ATTN_NORM,
    BACK_Q_BIAS,
    BACK_K_BIAS,
    BACK_V_BIAS,
    BACK_Q_NORM,
    BACK_K_NORM,
    BACK_O_BIAS,
    BACK_ATTN_POST_NORM,
    BACK_FFN_NORM,
    BACK_DOWN_BIAS,
    BACK_FFN_POST_NORM,
    BACK_VECTORS
};

// Whole sequences, and the angles of their positions: those are the same in all blocks, or there
// are two kinds of blocks.
struct back_batch {
    struct block_batch batch; // the caller's arrays
    struct back_angles {
        struct block_shape of; // whose rotation it is
        float *cosine, *sine;  // [n_tokens][head_dim / 2]; NULL: none yet
    } angles[2];
    size_t next_angles;
};
void back_batch_release(struct back_batch *batch); // the angles; zeroed ones are fine

// What the way forth leaves behind of a batch. May be used for another one, of another size.
struct back_states {
    float *memory;
    size_t n_floats; // there is room for
    // u [n_embd] normed input; q, k before their norms, if they have any; then as they are compared
    float *u, *raw_q, *raw_k, *q, *k, *v, *heads;
    float *attn;          // [n_embd] before its norm, NULL without
    float *mid;           // [n_embd]
    float *ffn_u;         // [n_embd]
    float *gate, *up, *h; // [n_ff]
    float *ffn;           // [n_embd] before its norm, NULL without
};
uint64_t back_states_floats(const struct block_shape *shape, size_t n_tokens); // at most
void back_states_release(struct back_states *states); // zeroed ones are fine

// Memory for both ways, as large as it was ever needed.
struct back_work {
    float *memory;
    size_t n_floats;
};
void back_work_release(struct back_work *work); // zeroed ones are fine

// y [n_tokens][n_embd] = the block of x; `y` may be `x` if nobody goes back. MEMORY.
enum wl_status back_forth(const struct block_shape *shape, const struct block_weights *weights,
                          struct back_batch *batch, const float *x, struct back_states *states,
                          struct back_work *work, float *y, struct wl_err *err);

struct back_gradients {
    // y = w x of n rows; each matrix once. NULL: nobody learns.
    void (*on_matrix)(void *context, enum back_matrix matrix, size_t n, const float *x,
                      const float *dy);
    void *context;
    float *vectors[BACK_VECTORS]; // is added to; NULL: not wanted
};

// dx from dy, both [n_tokens][n_embd]; `dx` may be `dy`. `x` and `states` are those of the way
// forth; the states are used up. MEMORY.
enum wl_status back_block(const struct block_shape *shape, const struct block_weights *weights,
                          struct back_batch *batch, const float *x, struct back_states *states,
                          const float *dy, const struct back_gradients *gradients,
                          struct back_work *work, float *dx, struct wl_err *err);

// y = x by its root mean square, times factor [width], row by row.
void back_norm_forth(const float *x, size_t n_rows, size_t width, float eps, const float *factor,
                     float *y);
// The way back: dx += what dy means for x; dfactor, if not NULL, too. Rows of `width`.
void back_norm(const float *x, size_t n_rows, size_t width, float eps, const float *factor,
               const float *dy, float *dfactor, float *dx);

#endif
