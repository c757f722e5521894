// Inside back*.c only.
#ifndef WATTLAW_COMPRESS_BACK_PARTS_H
#define WATTLAW_COMPRESS_BACK_PARTS_H

#include "compress/back.h"
#include "compress/block_parts.h"

// Not zeroed, until the next call; NULL, with MEMORY in `err`, when there is no room.
float *back_work_take(struct back_work *work, uint64_t n_floats, struct wl_err *err);

// The angles of a block's rotation; the same ones the other way round.
enum wl_status back_turns(struct back_batch *batch, const struct block_shape *shape,
                          struct block_turns *out, struct wl_err *err);
void back_turns_apply(const struct block_turns *turns, const struct block_shape *shape,
                      size_t n_tokens, size_t n_heads, float *dx);

// Floats of scratch for `n` tokens in one sequence.
size_t back_heads_floats(size_t n);
// block_heads_attend backwards. q, k, v, out as there; dq [n][n_head * head_dim] is set, dk and dv
// are added to.
void back_heads_attend(const struct block_shape *shape, size_t n, const struct back_states *states,
                       size_t first_token, const float *dout, float *scratch, float *dq, float *dk,
                       float *dv);

// act(gate) * up and its slopes: h is dL/dh, and gate and up become their gradients.
void back_act(bool is_gelu, size_t n, float *gate, float *up, const float *dh);
void back_act_forth(bool is_gelu, size_t n, const float *gate, const float *up, float *h);

#endif
