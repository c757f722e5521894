// A falling convex curve under measured points: the error that is left by a part of a given size.
// PURE.
#ifndef WATTLAW_COMPRESS_CURVE_H
#define WATTLAW_COMPRESS_CURVE_H

#include <stddef.h>

enum { CURVE_MAX_POINTS = 160 };

struct curve {
    size_t n;
    double x[CURVE_MAX_POINTS], y[CURVE_MAX_POINTS]; // x rises, y falls, ever less steeply
};

// The convex hull from below of the points (x rising; y of any order: no size is worse than a
// smaller one). More than CURVE_MAX_POINTS are not looked at.
void curve_hull(struct curve *curve, const double *x, const double *y, size_t n);
// Linear between points, that of the last point beyond it, and 0 of a curve without points.
double curve_at(const struct curve *curve, double x);

#endif
