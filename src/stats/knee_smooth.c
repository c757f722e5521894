#include <math.h>
#include <stdlib.h>

#include "stats/knee.h"

enum { REACH = 2 }; // points on each side: drops of up to 2 x REACH neighbours are filled

// out[i] is the largest (or smallest) of in[i - REACH .. i + REACH], as far as there are points.
static void extremes(const double *in, size_t n, bool is_largest, double *out) {
    for (size_t i = 0; i < n; i++) {
        size_t first = i >= REACH ? i - REACH : 0;
        size_t last = i + REACH < n ? i + REACH : n - 1;
        out[i] = in[first];
        for (size_t k = first; k <= last; k++) {
            out[i] = is_largest ? fmax(out[i], in[k]) : fmin(out[i], in[k]);
        }
    }
}

void knee_smooth_counts(struct knee_point *points, size_t n) {
    double *y = calloc(2 * (n + 1), sizeof *y);
    if (!y) {
        return; // unsmoothed counts are still counts
    }
    for (size_t i = 0; i < n; i++) {
        y[i] = points[i].y;
    }
    extremes(y, n, true, y + n);
    extremes(y + n, n, false, y);
    for (size_t i = REACH; i < n; i++) { // the first have too few before them to be a drop
        points[i].y = y[i];
    }
    free(y);
}
