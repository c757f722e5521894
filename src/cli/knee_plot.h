// Tokens against megapixels (log scale), drawn with characters.
#ifndef WATTLAW_CLI_KNEE_PLOT_H
#define WATTLAW_CLI_KNEE_PLOT_H

#include "plan/image_map.h"

// On stdout, `width` columns wide. The square series of the default and of the budgets that change
// something; where none does, the three aspects of the default.
void knee_plot_print(const struct image_map *map, int width);

#endif
