// Parts of narrow.c: one block while it becomes smaller, with the removed blocks behind it, whose
// work it takes over.
#ifndef WATTLAW_COMPRESSOR_NARROW_UNIT_H
#define WATTLAW_COMPRESSOR_NARROW_UNIT_H

#include "compressor/narrow_linear.h"
#include "compressor/narrow_walk.h"

struct narrow_unit {
    struct narrow_walk *walk;
    uint32_t layer, end;         // blocks layer + 1 to end - 1 are removed
    struct compress_block block; // as it was; let go of when it is not needed
    struct block_shape was;      // of the block as it was
    struct block_shape shape;    // of what is written
    struct block_weights weights;
    bool is_attention_cut, is_ffn_worked_on;
    struct narrow_moments moments; // of attention first, then of the feed-forward part
    // Ours; `weights` points to them where they are in use.
    uint32_t *groups, *heads;                         // KV heads; inputs of attn_output
    float *wq, *wk, *wv, *bq, *bk, *bv, *wo, *wo_cut; // of those heads
    float *head_in; // [NARROW_CHUNK + NARROW_ROWS][heads]: inputs of attn_output, room for some
    uint32_t *neurons;
    float *norm, *gate, *up, *down, *down_repaired, *bias, *post_norm;
    float *attention_moments, *second_moments;
    bool is_down_new, is_healed;
    struct narrow_layer result;
};

// narrow_pass.c: over all chunks.
//
// The original stream goes through the block as it was; where attention is cut its moments in the
// made stream are taken.
enum wl_status narrow_pass_original(struct narrow_unit *unit, struct wl_err *err);
// The original stream goes through the removed blocks; the unit's own block is loaded anew.
enum wl_status narrow_pass_removed(struct narrow_unit *unit, struct wl_err *err);
// The made stream goes through the attention that it will have; where the feed-forward part is
// worked on its moments are taken. The next made stream is its mid states.
enum wl_status narrow_pass_attention(struct narrow_unit *unit, struct wl_err *err);
// The mid states go through the feed-forward part.
enum wl_status narrow_pass_finish(struct narrow_unit *unit, struct wl_err *err);

// narrow_judge.c: on held-out text, with the weights that the unit has now; NaN without any.
// |mid - mid of the original|^2 / |mid of the original - z|^2, before the made stream has gone on.
enum wl_status narrow_judge_attention(struct narrow_unit *unit, double *out, struct wl_err *err);
// |y - target|^2 / |target - mid|^2, of all and of image tokens alone.
enum wl_status narrow_judge_ffn(struct narrow_unit *unit, double *out, double *image,
                                struct wl_err *err);

// narrow_attention.c: chooses and repairs what stays of attention, after narrow_pass_original.
enum wl_status narrow_attention_work(struct narrow_unit *unit, struct wl_err *err);
void narrow_attention_release(struct narrow_unit *unit);
// narrow_ffn.c: the same of the feed-forward part, after narrow_pass_attention.
enum wl_status narrow_ffn_work(struct narrow_unit *unit, struct wl_err *err);
void narrow_ffn_release(struct narrow_unit *unit);
// narrow_heal.c: local distillation, if there is time for it.
enum wl_status narrow_heal(struct narrow_unit *unit, struct wl_err *err);

// Columns of [n_rows][width]; `out` may be `from`.
void narrow_gather_columns(const float *from, size_t n_rows, size_t width, const uint32_t *columns,
                           size_t n_columns, float *out);
// A tensor of the block, from the file: these rows (elements of a vector), NULL: all. NULL when
// there is none, or no memory.
float *narrow_read(const struct narrow_unit *unit, const char *name, const uint32_t *rows,
                   size_t n_rows);
// What was mapped of the source would count as memory in use.
void narrow_forget(const struct narrow_unit *unit);
enum wl_status narrow_no_memory(const struct narrow_unit *unit, struct wl_err *err);

#endif
