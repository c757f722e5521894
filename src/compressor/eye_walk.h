// Parts of eye.c: two streams of the pictures through the blocks, that of the original encoder and
// that of the blocks already made, as narrow_walk.h has them for text.
#ifndef WATTLAW_COMPRESSOR_EYE_WALK_H
#define WATTLAW_COMPRESSOR_EYE_WALK_H

#include "compress/gram.h"
#include "compressor/eye_record.h"

struct eye_walk {
    const struct eye_source *source;
    const struct eye_record *record;
    const struct eye_options *options;
    struct text_watch *watch;
    struct states original, made;
    float *x, *mid, *y; // [longest view][n_embd]
    // Of a block, of the views that are learnt from:
    float *h;           // [EYE_ROWS][n_ff]
    struct gram gram;   // of h
    float *cross;       // [n_embd][n_ff]: sum of target h^T
    double *target_sum; // [n_embd]
};

enum { EYE_ROWS = 512 }; // that go through a feed-forward part at once

enum wl_status eye_walk_open(struct eye_walk *walk, const struct eye_source *source,
                             const struct eye_record *record, const struct eye_options *options,
                             struct text_watch *watch, struct wl_err *err);
void eye_walk_close(struct eye_walk *walk); // zeroed ones are fine

// Both streams are what entered block 0.
enum wl_status eye_walk_begin(struct eye_walk *walk, struct wl_err *err);

// The original stream through a block. *influence: 1 - mean cosine of a patch before and behind.
// `has_moments`: of h, into walk->gram.
enum wl_status eye_walk_original(struct eye_walk *walk, const struct eye_block *block,
                                 bool has_moments, double *influence, struct wl_err *err);
// The made stream through the block's attention (`made` holds the mid states then); gram, cross and
// target_sum of what its feed-forward part has to give. `damping`: the share of the loss so far
// that is made up for; the original stream is already behind the block, or behind those after it
// that are taken out.
enum wl_status eye_walk_moments(struct eye_walk *walk, const struct eye_block *block,
                                double damping, struct wl_err *err);
// The made stream through a feed-forward part, which ends the block.
enum wl_status eye_walk_finish(struct eye_walk *walk, const struct tower_shape *shape,
                               const struct tower_weights *weights, struct wl_err *err);
// |y - target|^2 / |target - mid|^2 of a feed-forward part, on held-out views (without any: NaN).
enum wl_status eye_walk_error(struct eye_walk *walk, const struct tower_shape *shape,
                              const struct tower_weights *weights, double *out, struct wl_err *err);
// Every `stride`-th patch: the made stream's mid, and what the part has to add to it, [n][n_embd].
enum wl_status eye_walk_gather(const struct eye_walk *walk, size_t stride, float *mid,
                               float *target, size_t *n, size_t *n_held_out, struct wl_err *err);
// How far the first view's original stream is from what libmtmd has behind the last block.
enum wl_status eye_walk_parity(struct eye_walk *walk, double *out, struct wl_err *err);

#endif
