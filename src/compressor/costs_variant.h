// Inside costs*.c only: small files of a model's own tensors, which cost what its parts cost.
#ifndef WATTLAW_COMPRESSOR_COSTS_VARIANT_H
#define WATTLAW_COMPRESSOR_COSTS_VARIANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/source.h"
#include "compressor/text_model.h"

enum { COSTS_MAX_VARIANTS = 8 };

// The first blocks of the model, with the first neurons, heads and tokens of each. What is cut
// across its rows is all zeros: nothing is asked of the model but its time.
struct costs_variant {
    uint32_t n_layer, n_ff, n_head_kv, n_vocab;
};

// Which ones tell the parts apart; returns how many.
size_t costs_variants(const struct compress_source *source, const struct block_shape *shape,
                      struct costs_variant out[COSTS_MAX_VARIANTS]);

// What the file would have, and writing it. INTERRUPTED when the watch stops.
enum wl_status costs_variant_bytes(const struct compress_source *source,
                                   const struct block_shape *shape,
                                   const struct costs_variant *variant, uint64_t *out,
                                   struct wl_err *err);
enum wl_status costs_variant_write(const struct compress_source *source,
                                   const struct block_shape *shape,
                                   const struct costs_variant *variant, const char *path,
                                   struct text_watch *watch, struct wl_err *err);

#endif
