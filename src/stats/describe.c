#include "stats/describe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/special.h"

static int compare_double(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void stats_sort(double *values, size_t n) {
    if (n > 1) {
        qsort(values, n, sizeof *values, compare_double);
    }
}

double stats_quantile_sorted(const double *sorted, size_t n, double share) {
    if (n == 0) {
        return NAN;
    }
    double place = fmin(fmax(share, 0), 1) * (double)(n - 1);
    size_t below = (size_t)place;
    if (below + 1 >= n) {
        return sorted[n - 1];
    }
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

double stats_mean(const double *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
    }
    return n ? sum / (double)n : NAN;
}

double stats_sd(const double *values, size_t n) {
    if (n < 2) {
        return NAN;
    }
    double mean = stats_mean(values, n), squares = 0;
    for (size_t i = 0; i < n; i++) {
        squares += (values[i] - mean) * (values[i] - mean);
    }
    return sqrt(squares / (double)(n - 1));
}

double stats_median_in_place(double *values, size_t n) {
    stats_sort(values, n);
    return stats_quantile_sorted(values, n, 0.5);
}

double stats_mad_in_place(double *values, size_t n) {
    double median = stats_median_in_place(values, n);
    for (size_t i = 0; i < n; i++) {
        values[i] = fabs(values[i] - median);
    }
    return stats_median_in_place(values, n);
}

double stats_trimmed_mean_sorted(const double *sorted, size_t n, double share) {
    size_t cut = (size_t)floor(fmin(fmax(share, 0), 0.5) * (double)n);
    if (n == 0) {
        return NAN;
    }
    if (2 * cut >= n) {
        return stats_quantile_sorted(sorted, n, 0.5);
    }
    return stats_mean(sorted + cut, n - 2 * cut);
}

static void set_interval(struct stats_summary *out) {
    out->ci95_mean = (struct stats_interval){NAN, NAN};
    if (out->n >= 3) {
        double t = stats_student_quantile(0.975, (double)(out->n - 1));
        double half = t * out->sd / sqrt((double)out->n);
        out->ci95_mean = (struct stats_interval){out->mean - half, out->mean + half};
    }
}

static size_t count_outliers(const double *values, size_t n, double median, double mad) {
    double limit = STATS_OUTLIER_SDS * STATS_MAD_TO_SD * mad;
    size_t n_outliers = 0;
    for (size_t i = 0; i < n && mad > 0; i++) {
        n_outliers += fabs(values[i] - median) > limit;
    }
    return n_outliers;
}

static enum wl_status check_values(const double *values, size_t n, struct wl_err *err) {
    if (n == 0) {
        return wl_err_set(err, WL_INPUT, "no values to describe");
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return wl_err_set(err, WL_INPUT, "value %zu of %zu is not a finite number", i, n);
        }
    }
    return WL_OK;
}

enum wl_status stats_describe(const double *values, size_t n, struct stats_summary *out,
                              struct wl_err *err) {
    *out = (struct stats_summary){0};
    enum wl_status status = check_values(values, n, err);
    if (status != WL_OK) {
        return status;
    }
    double *sorted = malloc(n * sizeof *sorted);
    if (!sorted) {
        return wl_err_set(err, WL_MEMORY, "no memory to describe %zu values", n);
    }
    memcpy(sorted, values, n * sizeof *sorted);
    stats_sort(sorted, n);
    out->n = n;
    out->mean = stats_mean(sorted, n);
    out->sd = stats_sd(sorted, n);
    out->median = stats_quantile_sorted(sorted, n, 0.5);
    out->quartile1 = stats_quantile_sorted(sorted, n, 0.25);
    out->quartile3 = stats_quantile_sorted(sorted, n, 0.75);
    out->min = sorted[0];
    out->max = sorted[n - 1];
    out->mad = stats_mad_in_place(sorted, n);
    out->n_outliers = count_outliers(values, n, out->median, out->mad);
    set_interval(out);
    free(sorted);
    return WL_OK;
}
