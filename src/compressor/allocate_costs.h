// Inside allocate*.c only: what the sizes of a block cost, in the unit of a budget.
#ifndef WATTLAW_COMPRESSOR_ALLOCATE_COSTS_H
#define WATTLAW_COMPRESSOR_ALLOCATE_COSTS_H

#include <stdint.h>

#include "base/err.h"
#include "compressor/allocate.h"

// Weights, bytes, seconds or joules; seconds are of one token where the budget is tokens a second.
struct allocate_costs {
    enum allocate_budget kind;
    double fixed;  // whatever the blocks
    double total;  // of the whole model
    double budget; // at most
    uint32_t n_layer;
    struct allocate_line {
        double block, attention; // of a block; of attention, besides its heads
        double per_head_kv, per_neuron, slow_share;
    } * lines; // [n_layer]
};

// USAGE: a budget that needs measured costs, or power, that are not there.
enum wl_status allocate_costs_init(struct allocate_costs *out, const struct compress_source *source,
                                   const struct costs *costs,
                                   const struct allocate_options *options, struct wl_err *err);
void allocate_costs_release(struct allocate_costs *costs); // zeroed ones are fine
double allocate_costs_of(const struct allocate_costs *costs, uint32_t layer, uint32_t n_head_kv,
                         uint32_t n_ff);
// A cost as the user gave the budget: a share, bytes, tokens a second, joules.
double allocate_costs_said(const struct allocate_costs *costs, double cost);

#endif
