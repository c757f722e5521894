// The knee of a step function that is known exactly.
#include <math.h>

#include "stats/knee.h"

// A flat end must be so long that growth as it was before would have left the tolerance by half,
// and longer than the stair before it: otherwise it may be no more than the last stair.
static const double SURELY_LEFT = 1.5, SURELY_LONGER = 1.2;

static double distance(const struct knee_point *points, size_t n, size_t i) {
    return fabs(points[i].y - points[n - 1].y);
}

// Slope of the last part of the way to the final value, from where half of it was left.
static double slope_before(const struct knee_point *points, size_t n, size_t settled) {
    double largest = 0;
    for (size_t i = 0; i < settled; i++) {
        largest = fmax(largest, distance(points, n, i));
    }
    size_t half = settled - 1;
    while (half > 0 && distance(points, n, half) < largest / 2) {
        half--;
    }
    double run = points[settled].x - points[half].x;
    double rise = distance(points, n, half) - distance(points, n, settled);
    return run > 0 ? rise / run : INFINITY;
}

// Length of the stretch before that stays within `allowed` of its end.
static double stair_before(const struct knee_point *points, size_t settled, double allowed) {
    size_t first = settled - 1;
    while (first > 0 && fabs(points[first - 1].y - points[settled - 1].y) <= allowed) {
        first--;
    }
    return points[settled].x - points[first].x;
}

enum knee_shape knee_of_counts(const struct knee_point *points, size_t n, double tolerance,
                               double *knee_x) {
    *knee_x = NAN;
    if (n == 0) {
        return KNEE_NONE_CONSTANT;
    }
    double allowed = tolerance * fabs(points[n - 1].y);
    size_t settled = n - 1;
    while (settled > 0 && distance(points, n, settled - 1) <= allowed) {
        settled--;
    }
    if (settled == 0) {
        return KNEE_NONE_CONSTANT;
    }
    double flat = points[n - 1].x - points[settled].x;
    if (slope_before(points, n, settled) * flat <= SURELY_LEFT * allowed ||
        flat <= SURELY_LONGER * stair_before(points, settled, allowed)) {
        return KNEE_NONE_GROWING;
    }
    *knee_x = points[settled].x;
    return KNEE_FLAT_AFTER;
}
