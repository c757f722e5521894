// The staircase of what an image costs, as one SVG file that stands alone: tokens of a square
// picture against its megapixels, for the default and for the budgets that change something; where
// none does, the three aspects of the default.
#ifndef WATTLAW_REPORT_KNEE_SVG_H
#define WATTLAW_REPORT_KNEE_SVG_H

#include "base/buf.h"
#include "plan/image_map.h"

// `title` and `subtitle` come from outside and are escaped.
void knee_svg(struct buf *out, const struct image_map *map, const char *title,
              const char *subtitle);

#endif
