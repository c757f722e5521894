// Order statistics of a few values.
#ifndef WATTLAW_COMPRESSOR_QUANTILE_H
#define WATTLAW_COMPRESSOR_QUANTILE_H

#include <stddef.h>

// Sorts, and returns the value below which `share` (0 to 1) of them lie, linear between two of them
// (type 7 of Hyndman & Fan 1996; 0.5 is the median). NaN for n = 0.
double quantile_in_place(double *values, size_t n, double share);

#endif
