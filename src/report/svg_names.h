// Names beside the dots of a plot, where they do not cover each other, a dot or the frame as far as
// there is room.
#ifndef WATTLAW_REPORT_SVG_NAMES_H
#define WATTLAW_REPORT_SVG_NAMES_H

#include "report/svg.h"

enum { SVG_MAX_NAMES = 32 };

struct svg_name {
    double x, y; // of the dot, in the axes' units
    const char *text;
    double left, right, low, high; // ends of its whiskers; NaN: none
};
// Those of dots that are not finite, and those beyond SVG_MAX_NAMES, are left out.
void svg_names(struct svg_plot *plot, const struct svg_name *names, size_t n);

#endif
