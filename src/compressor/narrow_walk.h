// Parts of narrow.c: the two streams and what is done with a chunk of them.
#ifndef WATTLAW_COMPRESSOR_NARROW_WALK_H
#define WATTLAW_COMPRESSOR_NARROW_WALK_H

#include "compress/gram.h"
#include "compressor/narrow.h"
#include "compressor/states.h"

// Whole sequences that are worked on at once.
struct narrow_chunk {
    size_t first, n_tokens; // tokens
    struct block_batch batch;
    bool is_held_out;
};

struct narrow_walk {
    const struct compress_source *source;
    const struct compress_text *text;
    const struct narrow_options *options;
    struct states original, made; // the two streams
    int32_t *positions;           // [4][NARROW_MAX_SEQUENCE * 2]: of one chunk
    float *x, *mid, *target;      // [chunk][n_embd]
    float *h;                     // [chunk][n_ff]
    struct gram gram;             // of h in the made stream
    float *cross;                 // [n_embd][n_ff]: sum of target h^T
    double work_done, work_total; // for progress, in blocks
};

enum { NARROW_CHUNK = 2 * NARROW_MAX_SEQUENCE };

enum wl_status narrow_walk_open(struct narrow_walk *walk, struct wl_err *err);
void narrow_walk_close(struct narrow_walk *walk);
// Both streams begin as the embedded tokens.
enum wl_status narrow_walk_embed(struct narrow_walk *walk, struct wl_err *err);

typedef enum wl_status narrow_chunk_fn(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                       void *context, struct wl_err *err);
// Chunks in the order of the text; `is_held_out_only` leaves out what is learnt from.
enum wl_status narrow_each_chunk(struct narrow_walk *walk, bool is_held_out_only,
                                 narrow_chunk_fn *visit, void *context, struct wl_err *err);

// One block over all chunks: the original stream goes through it, the made stream through its
// attention; the moments of what the feed-forward part then sees are taken. `made` holds the mid
// states afterwards.
enum wl_status narrow_take_moments(struct narrow_walk *walk, const struct compress_block *block,
                                   struct wl_err *err);
// The made stream through a feed-forward part.
enum wl_status narrow_finish_block(struct narrow_walk *walk, const struct block_shape *shape,
                                   const struct block_weights *weights, struct wl_err *err);
// |y - target|^2 / |target - mid|^2 of a feed-forward part on held-out text.
enum wl_status narrow_held_out_error(struct narrow_walk *walk, const struct block_shape *shape,
                                     const struct block_weights *weights, double *out,
                                     struct wl_err *err);

#endif
