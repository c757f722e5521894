// What becomes of narrowed blocks in the new file: rows of the original stay the bytes they are,
// what was computed anew is quantised to the type that it had.
#ifndef WATTLAW_COMPRESSOR_PACK_H
#define WATTLAW_COMPRESSOR_PACK_H

#include "base/err.h"
#include "compressor/narrow.h"
#include "compressor/source.h"
#include "compressor/target.h"

struct pack { // memory that the target points to
    void **parts;
    size_t n, capacity;
};

void pack_release(struct pack *pack); // zeroed ones are fine; after compress_target_write
// The tensors of one block. Their row length must suit their types: see pack_step.
enum wl_status pack_layer(struct pack *pack, struct compress_target *target,
                          const struct compress_source *source, const struct narrow_layer *layer,
                          struct wl_err *err);
// Neurons of a block must be a multiple of this: the block of the coarsest type among the tensors
// whose rows are neurons, and 256 in large models, whose kernels are slow on anything else.
uint32_t pack_step(const struct compress_source *source);

#endif
