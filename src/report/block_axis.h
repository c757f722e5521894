// Inside report only: the axis of a plot with a place for each block of a model.
#ifndef WATTLAW_REPORT_BLOCK_AXIS_H
#define WATTLAW_REPORT_BLOCK_AXIS_H

#include <stdint.h>

#include "report/svg.h"

enum { BLOCK_AXIS_TICKS = 12, BLOCK_AXIS_LABEL_BYTES = 16 };

// Points into itself: not to be copied.
struct block_axis {
    double at[BLOCK_AXIS_TICKS];
    char text[BLOCK_AXIS_TICKS][BLOCK_AXIS_LABEL_BYTES];
    const char *label[BLOCK_AXIS_TICKS];
    struct svg_axis axis;
};

// From half a place before the first block to half a place behind the last.
void block_axis_init(struct block_axis *out, uint32_t n_layer);

#endif
