// Parts of narrow.c: the two streams and what is done with a chunk of them.
#ifndef WATTLAW_COMPRESSOR_NARROW_WALK_H
#define WATTLAW_COMPRESSOR_NARROW_WALK_H

#include "compressor/narrow.h"
#include "compressor/states.h"

enum {
    NARROW_CHUNK = 2 * NARROW_MAX_SEQUENCE, // tokens at once
    NARROW_ROWS = 512,                      // of them that go through a feed-forward part at once
};

// Whole sequences that are worked on at once.
struct narrow_chunk {
    size_t first, n_tokens;
    size_t first_image; // the embedding that its first image token takes
    struct block_batch batch;
    bool is_held_out;
};

struct narrow_streams {
    struct states original, made;
};

struct narrow_walk {
    const struct compress_source *source;
    const struct compress_text *text;
    const struct narrow_options *options;
    // Behind the last finished block, and behind (or inside of) the one in work. The same files
    // where nothing has to survive an interruption.
    struct narrow_streams now, next;
    struct states aside;                 // the original's mid states in the block in work
    int32_t *positions;                  // [4][NARROW_CHUNK]: of one chunk
    float *x, *mid, *target;             // [NARROW_CHUNK][n_embd]
    uint32_t *rows;                      // [NARROW_CHUNK]: what is learnt from in one chunk
    float *row_in, *row_target, *row_wh; // [NARROW_ROWS][n_embd]: some of them
    size_t n_threads, h_size;
    float *h;                        // [n_threads][h_size]: [NARROW_ROWS][the widest n_ff]
    float text_weight, image_weight; // of a token's moments
    // Progress: the share of all work that is done before and after the loop that runs.
    double share_begin, share_end, share;
};

// Checks the text; both streams begin closed.
enum wl_status narrow_walk_open(struct narrow_walk *walk, struct wl_err *err);
void narrow_walk_close(struct narrow_walk *walk);
// Both streams begin as the embedded tokens, in scratch files.
enum wl_status narrow_walk_embed(struct narrow_walk *walk, struct wl_err *err);
// Asks whether to go on: INTERRUPTED.
enum wl_status narrow_look(struct narrow_walk *walk, struct wl_err *err);
bool narrow_goes_on(void *walk); // the same, for what only asks
// Of the loops to come, out of all the work.
void narrow_set_share(struct narrow_walk *walk, double begin, double end);

static inline bool narrow_is_image(const struct narrow_walk *walk, size_t token) {
    return walk->text->tokens[token] == COMPRESS_IMAGE_TOKEN;
}

typedef enum wl_status narrow_chunk_fn(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                       void *context, struct wl_err *err);
// Chunks in the order of the text; `is_held_out_only` leaves out what is learnt from.
enum wl_status narrow_each_chunk(struct narrow_walk *walk, bool is_held_out_only,
                                 narrow_chunk_fn *visit, void *context, struct wl_err *err);

// Tokens `rows` [n] of a chunk, up to NARROW_ROWS, whose moments have the same weight.
typedef enum wl_status narrow_rows_fn(struct narrow_walk *walk, const uint32_t *rows, size_t n,
                                      float weight, void *context, struct wl_err *err);
// All that is learnt from: not the first token of a sequence, which attends to nothing and has a
// state of its own kind, often huge: it would fill the moments.
enum wl_status narrow_each_rows(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                narrow_rows_fn *visit, void *context, struct wl_err *err);
void narrow_gather(const float *from, const uint32_t *rows, size_t n, size_t width, float *out);

// mid = x where the block has no attention (any more).
enum wl_status narrow_attend(struct narrow_walk *walk, const struct block_shape *shape,
                             const struct block_weights *weights, const struct narrow_chunk *chunk,
                             const float *x, float *mid, float *heads, struct wl_err *err);
// y = mid + feed-forward part of mid; `y` may be `mid`.
enum wl_status narrow_feed_forward(struct narrow_walk *walk, const struct block_shape *shape,
                                   const struct block_weights *weights, size_t n, const float *mid,
                                   float *y, struct wl_err *err);

#endif
