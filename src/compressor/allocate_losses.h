// Inside allocate*.c only: what the sizes of a block lose, from its measured curves.
#ifndef WATTLAW_COMPRESSOR_ALLOCATE_LOSSES_H
#define WATTLAW_COMPRESSOR_ALLOCATE_LOSSES_H

#include <stdint.h>

#include "base/err.h"
#include "compress/curve.h"
#include "compressor/analysis.h"
#include "compressor/source.h"

// Divergences in nats a token. The error of a part times its sensitivity; between measured widths
// along the convex hull, which also smooths what was measured of few tokens.
struct allocate_losses {
    struct curve ffn, heads; // of neurons, of KV heads
    double no_attention;     // INFINITY: not measured
    double removed;          // the same
};

// INPUT: the analysis is not of this model, or not of numbers that can be.
enum wl_status allocate_losses_check(const struct compress_source *source,
                                     const struct analysis *analysis, struct wl_err *err);
void allocate_losses_init(struct allocate_losses *out, const struct analysis_layer *layer,
                          uint32_t n_ff);
// n_head_kv 0: no attention.
double allocate_losses_of(const struct allocate_losses *losses, uint32_t n_head_kv, uint32_t n_ff);

#endif
