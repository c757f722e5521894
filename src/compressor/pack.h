// What becomes of narrowed blocks in the new file: rows of the original stay the bytes they are,
// what was computed anew is quantised to the type that it had.
#ifndef WATTLAW_COMPRESSOR_PACK_H
#define WATTLAW_COMPRESSOR_PACK_H

#include <stdbool.h>

#include "base/err.h"
#include "compressor/narrow.h"
#include "compressor/source.h"
#include "compressor/target.h"

struct pack { // what the target reads when it is written
    void **parts;
    size_t n, capacity;
    bool has_file; // new matrices lie in a scratch file
    int fd;
    uint64_t file_bytes;
    bool *has_new_bias; // [n_layer]: an ffn_down.bias that the source has not
};

// New matrices go to a scratch file in this folder. Without it they stay in memory.
enum wl_status pack_open(struct pack *pack, const char *scratch_dir, struct wl_err *err);
void pack_release(struct pack *pack); // zeroed ones are fine; after compress_target_write
// The tensors of one block. Their row length must suit their types: see pack_step. Removed blocks
// are pack_finish's.
enum wl_status pack_layer(struct pack *pack, struct compress_target *target,
                          const struct compress_source *source, const struct narrow_layer *layer,
                          struct wl_err *err);
enum wl_status pack_output_norm(struct pack *pack, struct compress_target *target,
                                const struct compress_source *source, const float *norm,
                                struct wl_err *err);
// After the last block: drops what is removed, renumbers what comes behind it and sets the keys; a
// mixed plan's file becomes one of another architecture (relabel.h).
enum wl_status pack_finish(struct pack *pack, struct compress_target *target,
                           const struct compress_source *source, const struct plan *plan,
                           struct wl_err *err);
// Neurons of a block must be a multiple of this: the block of the coarsest type among the tensors
// whose rows are neurons, and 256 in large models, whose kernels are slow on anything else.
uint32_t pack_step(const struct compress_source *source);
// The same for KV heads, whose query heads are the columns of attn_output.
uint32_t pack_head_step(const struct compress_source *source);

#endif
