// What becomes of each block of a text model.
#ifndef WATTLAW_COMPRESSOR_PLAN_H
#define WATTLAW_COMPRESSOR_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/source.h"

struct plan_layer {
    bool is_removed;    // the whole block; what it did is merged into the last block before it that
                        // stays (never block 0)
    uint32_t n_head_kv; // KV heads that stay, each with its query heads; 0: no attention
    uint32_t n_ff;      // neurons that stay
};

struct plan {
    struct plan_layer *layers; // [n_layer] of the source
    uint32_t n_layer;
    // Sizes of its own for each block: written under the architecture of relabel.h. Else all blocks
    // that stay have the same sizes.
    bool is_mixed;
};

enum wl_status plan_init(struct plan *plan, const struct compress_source *source,
                         struct wl_err *err); // everything stays; MEMORY
void plan_release(struct plan *plan);         // zeroed ones are fine
// INPUT or UNSUPPORTED with the first block and size that stock llama.cpp would not load, or
// compute slowly (pack_step).
enum wl_status plan_check(const struct plan *plan, const struct compress_source *source,
                          struct wl_err *err);

struct plan_sizes {
    uint64_t block_weights, ffn_weights, attention_weights; // of blocks that stay
    uint64_t file_bytes; // about: the source's, less what goes, with its own types
};
enum wl_status plan_sizes(const struct plan *plan, const struct compress_source *source,
                          struct plan_sizes *out, struct wl_err *err);

#endif
