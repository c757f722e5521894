#include "series/order.h"

#include <math.h>
#include <stdlib.h>

static int compare_double(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void series_sort(double *values, size_t n) {
    if (n > 16) {
        qsort(values, n, sizeof *values, compare_double);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        double value = values[i];
        size_t k = i;
        for (; k > 0 && values[k - 1] > value; k--) {
            values[k] = values[k - 1];
        }
        values[k] = value;
    }
}

double series_median_in_place(double *values, size_t n) {
    if (n == 0) {
        return 0;
    }
    series_sort(values, n);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double series_mad_in_place(double *values, size_t n, double centre) {
    for (size_t i = 0; i < n; i++) {
        values[i] = fabs(values[i] - centre);
    }
    return series_median_in_place(values, n);
}
