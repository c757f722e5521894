#include "compress/curve.h"

// Whether the middle one of three points lies on or above the line between the others.
static int is_above(const struct curve *c, size_t a, size_t b, double x, double y) {
    return (c->y[b] - c->y[a]) * (x - c->x[a]) >= (y - c->y[a]) * (c->x[b] - c->x[a]);
}

void curve_hull(struct curve *curve, const double *x, const double *y, size_t n) {
    double least = 0;
    curve->n = 0;
    for (size_t i = 0; i < n && i < CURVE_MAX_POINTS; i++) {
        least = i == 0 || y[i] < least ? y[i] : least;
        while (curve->n >= 2 && is_above(curve, curve->n - 2, curve->n - 1, x[i], least)) {
            curve->n--;
        }
        curve->x[curve->n] = x[i];
        curve->y[curve->n++] = least;
    }
}

double curve_at(const struct curve *curve, double x) {
    if (curve->n == 0) {
        return 0;
    }
    size_t i = 0;
    while (i < curve->n && curve->x[i] <= x) {
        i++;
    }
    if (i == 0 || i == curve->n) {
        return curve->y[i ? i - 1 : 0];
    }
    double share = (x - curve->x[i - 1]) / (curve->x[i] - curve->x[i - 1]);
    return curve->y[i - 1] + share * (curve->y[i] - curve->y[i - 1]);
}
