// Inside analysis*.c only: the texts that go through the blocks, chunk by
// chunk, and the variants of the model whose divergence is wanted.
#ifndef WATTLAW_COMPRESSOR_ANALYSIS_WALK_H
#define WATTLAW_COMPRESSOR_ANALYSIS_WALK_H

#include "compress/gram.h"
#include "compressor/analysis.h"
#include "compressor/states.h"

// Each block is changed in these ways, one at a time; all blocks behind it stay
// as they are.
enum analysis_variant {
    VARIANT_HALF_FFN, // half of the neurons, repaired
    VARIANT_HALF_ATTENTION,
    VARIANT_NO_ATTENTION,
    VARIANT_NO_BLOCK,
    N_VARIANTS,
};

enum { ANALYSIS_CHUNK = 512, ANALYSIS_MAX_SEQUENCE = 8192 };

struct analysis_sequences {
    const uint32_t *lengths;
    size_t n_sequences;
    const int32_t *positions; // [4][stride]; NULL: 0, 1, 2 ... in each sequence
    size_t stride;
};

// Whole sequences that are worked on at once, up to ANALYSIS_CHUNK tokens (or
// one that is longer). Zeroed at the start.
struct analysis_chunk {
    size_t first, n_tokens;
    size_t next_sequence;
    struct block_batch batch; // its positions are the walk's
};

// Held-out tokens that all variants of the model are asked about.
struct analysis_probe {
    struct analysis_sequences sequences;
    uint32_t *lengths;
    int32_t *positions; // [4][n]
    size_t n;
    uint32_t *judged; // [n_judged] tokens whose next-token distributions are compared
    size_t n_judged;
    float *x;               // [n][n_embd] the original's states
    struct states variants; // [n_layer * N_VARIANTS][n][n_embd]
};

struct analysis_walk {
    const struct compress_source *source;
    const struct compress_text *text;
    const struct analysis_options *options;
    struct analysis *out;
    size_t most;                         // tokens of the longest chunk
    struct analysis_sequences sequences; // of the calibration text
    struct states stream;                // of it: what enters the next block
    struct analysis_probe probe;
    int32_t *positions;           // [4][most]
    float *x, *mid, *y;           // [most][n_embd]
    float *heads, *h;             // [most][n_head * head_dim], [most][n_ff]
    double work_done, work_total; // for progress
};

// Both texts are embedded. INPUT for a text that cannot be used.
enum wl_status analysis_walk_open(struct analysis_walk *walk, struct wl_err *err);
void analysis_walk_close(struct analysis_walk *walk);

// False when there is no more.
bool analysis_next_chunk(const struct analysis_walk *walk, const struct analysis_sequences *of,
                         struct analysis_chunk *chunk);
bool analysis_goes_on(void *walk); // asks, with the share of work done so far
// So many floating-point operations are behind us; INTERRUPTED when it is not
// to go on.
enum wl_status analysis_worked(struct analysis_walk *walk, double work, struct wl_err *err);

// Operations, about: of a token in a block; of its second moments; of the
// spectra and curves of a block.
double analysis_block_work(const struct block_shape *shape);
double analysis_moments_work(const struct block_shape *shape);
double analysis_curves_work(const struct analysis_walk *walk, const struct block_shape *shape);

// A block's tensor as floats; *out is to be freed. MEMORY, INPUT.
enum wl_status analysis_matrix(const struct analysis_walk *walk, uint32_t layer, const char *name,
                               float **out, struct wl_err *err);

// ---- analysis_measure.c: the calibration text through one block ----

struct analysis_moments {
    struct gram h, heads; // what down and Wo are applied to
};
void analysis_moments_release(struct analysis_moments *moments); // zeroed ones are fine
// Influence and shares of `layer`; the stream is behind the block afterwards.
enum wl_status analysis_measure(struct analysis_walk *walk, const struct compress_block *block,
                                struct analysis_layer *layer, struct analysis_moments *moments,
                                struct wl_err *err);

// ---- analysis_curves.c: what can go from a block, by its moments ----

// Weights with half of the inputs, repaired; 0 where one is gone. The caller's
// to free.
struct analysis_halves {
    float *down;   // [n_embd][n_ff]
    float *output; // [n_embd][n_head * head_dim]; NULL: one group only
};
// Releases the moments.
enum wl_status analysis_curves(struct analysis_walk *walk, const struct block_shape *shape,
                               struct analysis_moments *moments, struct analysis_layer *layer,
                               struct analysis_halves *halves, struct wl_err *err);

// ---- analysis_probe.c: variants through the blocks, and what becomes of the
// output ----

// The block's own variants begin; those of the blocks before it, and the
// original, go through it.
enum wl_status analysis_probe_block(struct analysis_walk *walk, const struct compress_block *block,
                                    uint32_t layer, const struct analysis_halves *halves,
                                    struct wl_err *err);
// kl [n_layer * N_VARIANTS], in nats a token.
enum wl_status analysis_probe_output(struct analysis_walk *walk, double *kl, struct wl_err *err);
double analysis_output_work(const struct analysis_walk *walk);

#endif
