// Order statistics of short arrays, for this folder only.
#ifndef WATTLAW_SERIES_ORDER_H
#define WATTLAW_SERIES_ORDER_H

#include <stddef.h>

void series_sort(double *values, size_t n);              // ascending
double series_median_in_place(double *values, size_t n); // sorts; 0 for n = 0
// Median of |value - centre|; destroys the values; 0 for n = 0.
double series_mad_in_place(double *values, size_t n, double centre);

#endif
