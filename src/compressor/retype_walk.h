// What goes into every matrix of a model when it reads a text, and how much an error of each does.
// Only for retype*.c.
#ifndef WATTLAW_COMPRESSOR_RETYPE_WALK_H
#define WATTLAW_COMPRESSOR_RETYPE_WALK_H

#include "compressor/retype_types.h"
#include "compressor/source.h"
#include "compressor/text.h"

// Mean squares of the inputs.
struct retype_layer {
    float *normed; // [n_embd] of queries, keys and values
    float *heads;  // of the attention's output matrix
    float *mid;    // [n_embd] of gate and up
    float *inner;  // [n_ff] of down
    uint32_t n_ff;
    // |y' - y|^2 / |y|^2 of the stream behind the block, over the relative error |W' x - W x|^2 /
    // |W x|^2 of that matrix alone that it comes from.
    double sensitivity[RETYPE_BLOCK_PARTS];
};

struct retype_inputs {
    struct retype_layer *layers; // [n_layer]
    size_t n_layer;
    float *output; // [n_embd] of the output matrix
};

struct retype_walk_options {
    bool wants_sensitivity;
    const char *scratch_dir;
    bool (*go_on)(void *context, double share_done);
    void *context;
};

// Of a long text a part is taken that is spread over it; first tokens of sequences are left out,
// since they attend to nothing and have a state of their own kind. INTERRUPTED when go_on says no.
enum wl_status retype_walk(const struct compress_source *source, const struct compress_text *text,
                           const struct retype_walk_options *options, struct retype_inputs *out,
                           struct wl_err *err);
void retype_inputs_release(struct retype_inputs *inputs); // zeroed ones are fine

#endif
