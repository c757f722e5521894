#include "report/block_axis.h"

#include <inttypes.h>
#include <stdio.h>

void block_axis_init(struct block_axis *out, uint32_t n_layer) {
    uint32_t stride = (n_layer + BLOCK_AXIS_TICKS - 1) / BLOCK_AXIS_TICKS;
    out->axis = (struct svg_axis){.title = "Block",
                                  .min = -0.5,
                                  .max = (double)n_layer - 0.5,
                                  .ticks = out->at,
                                  .labels = out->label};
    for (uint32_t i = 0; i < n_layer && out->axis.n_ticks < BLOCK_AXIS_TICKS; i += stride) {
        size_t k = out->axis.n_ticks++;
        out->at[k] = i;
        snprintf(out->text[k], BLOCK_AXIS_LABEL_BYTES, "%" PRIu32, i);
        out->label[k] = out->text[k];
    }
}
