#include "worker/vision_family.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static const struct vision_family FAMILIES[] = {
#define X(projector, cut, merge, has_row_breaks, is_mrope, after_text)                             \
    {projector, cut, merge, has_row_breaks, is_mrope, after_text},
#include "worker/vision_family.def"
#undef X
};

const struct vision_family *vision_family_of(const char *projector) {
    static const struct vision_family UNKNOWN = {.projector = "", .after_text = ""};
    for (size_t i = 0; i < sizeof FAMILIES / sizeof FAMILIES[0]; i++) {
        if (strcmp(FAMILIES[i].projector, projector) == 0) {
            return &FAMILIES[i];
        }
    }
    return &UNKNOWN;
}

// How far two aspects are apart, the same in both directions.
static double misfit(double grid_x, double grid_y, double width, double height) {
    return fabs(log(grid_x * height / (grid_y * width)));
}

void vision_family_grid(uint32_t n, bool has_row_breaks, uint32_t width, uint32_t height,
                        uint32_t *grid_x, uint32_t *grid_y) {
    uint32_t cells = n + has_row_breaks; // the last row has no break
    uint32_t breaks = has_row_breaks;
    double best = INFINITY;
    *grid_x = 0;
    *grid_y = 0;
    for (uint32_t rows = 1; rows <= cells; rows++) {
        uint32_t columns = cells / rows - breaks;
        if (cells % rows != 0 || columns == 0) {
            continue;
        }
        double found = misfit(columns, rows, width, height);
        if (found < best) {
            best = found;
            *grid_x = columns;
            *grid_y = rows;
        }
    }
}
