#include "series/series.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

void series_init(struct series *series, size_t max_points) {
    *series = (struct series){.max_points = max_points};
}

void series_release(struct series *series) {
    free(series->points);
    series_init(series, series->max_points);
}

void series_clear(struct series *series) {
    series->n = 0;
}

static enum wl_status reserve_one(struct series *series, struct wl_err *err) {
    if (series->n >= series->max_points) {
        return wl_err_set(err, WL_LIMIT, "the series is full: %zu points are its maximum",
                          series->max_points);
    }
    if (series->n < series->capacity) {
        return WL_OK;
    }
    size_t capacity = series->capacity ? series->capacity * 2 : 64;
    if (capacity > series->max_points) {
        capacity = series->max_points;
    }
    if (capacity > SIZE_MAX / sizeof *series->points) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu series points", capacity);
    }
    struct series_point *points = realloc(series->points, capacity * sizeof *points);
    if (!points) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu series points", capacity);
    }
    series->points = points;
    series->capacity = capacity;
    return WL_OK;
}

enum wl_status series_push(struct series *series, int64_t t_ns, double value, struct wl_err *err) {
    if (!isfinite(value)) {
        return wl_err_set(err, WL_INPUT, "sample %zu is not a finite number", series->n);
    }
    if (series->n && t_ns < series->points[series->n - 1].t_ns) {
        return wl_err_set(err, WL_INPUT,
                          "sample %zu is older than the one before it: %" PRId64
                          " ns after %" PRId64 " ns",
                          series->n, t_ns, series->points[series->n - 1].t_ns);
    }
    enum wl_status status = reserve_one(series, err);
    if (status == WL_OK) {
        series->points[series->n++] = (struct series_point){t_ns, value};
    }
    return status;
}

size_t series_first_at_or_after(const struct series_point *points, size_t n, int64_t t_ns) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (points[middle].t_ns < t_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

size_t series_slice(const struct series_point *points, size_t n, int64_t t0_ns, int64_t t1_ns,
                    const struct series_point **out) {
    size_t first = series_first_at_or_after(points, n, t0_ns);
    size_t end = t1_ns == INT64_MAX ? n : series_first_at_or_after(points, n, t1_ns + 1);
    *out = n ? points + first : NULL;
    return end > first ? end - first : 0;
}

static int compare_i64(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t series_median_period_ns(const struct series_point *points, size_t n) {
    if (n < 2) {
        return 0;
    }
    int64_t *intervals = malloc((n - 1) * sizeof *intervals);
    if (!intervals) {
        return 0;
    }
    for (size_t i = 0; i + 1 < n; i++) {
        uint64_t interval = (uint64_t)points[i + 1].t_ns - (uint64_t)points[i].t_ns;
        intervals[i] = interval > INT64_MAX ? INT64_MAX : (int64_t)interval;
    }
    qsort(intervals, n - 1, sizeof *intervals, compare_i64);
    int64_t median = intervals[(n - 1) / 2];
    free(intervals);
    return median;
}

double series_seconds(int64_t a_ns, int64_t b_ns) {
    if (b_ns >= a_ns) {
        return (double)((uint64_t)b_ns - (uint64_t)a_ns) * 1e-9;
    }
    return -(double)((uint64_t)a_ns - (uint64_t)b_ns) * 1e-9;
}
