#include "series/resample.h"

#include <inttypes.h>

#include "series/counter.h"

// The end of the bin that holds `t_ns`, bins beginning at `origin_ns`.
static enum wl_status find_bin_end(int64_t origin_ns, int64_t t_ns, int64_t period_ns, int64_t *out,
                                   struct wl_err *err) {
    uint64_t offset_ns = (uint64_t)t_ns - (uint64_t)origin_ns, width_ns = (uint64_t)period_ns;
    uint64_t end_ns = (offset_ns / width_ns + 1) * width_ns;
    if (t_ns < origin_ns || offset_ns > INT64_MAX / 2 || end_ns > INT64_MAX ||
        __builtin_add_overflow(origin_ns, (int64_t)end_ns, out)) {
        return wl_err_set(err, WL_INPUT,
                          "cannot resample: times from %" PRId64 " to %" PRId64
                          " ns are out of order or too far apart",
                          origin_ns, t_ns);
    }
    return WL_OK;
}

static enum wl_status check_period(int64_t period_ns, struct wl_err *err) {
    if (period_ns <= 0) {
        return wl_err_set(err, WL_INPUT,
                          "the resampling period is %" PRId64 " ns, expected above 0", period_ns);
    }
    return WL_OK;
}

enum wl_status series_resample_gauge(const struct series_point *points, size_t n, int64_t period_ns,
                                     struct series *out, struct wl_err *err) {
    enum wl_status status = check_period(period_ns, err);
    for (size_t i = 0; status == WL_OK && i < n;) {
        int64_t end_ns = 0;
        status = find_bin_end(points[0].t_ns, points[i].t_ns, period_ns, &end_ns, err);
        if (status != WL_OK) {
            break;
        }
        double sum = 0;
        size_t first = i;
        while (i < n && points[i].t_ns < end_ns) {
            sum += points[i++].value;
        }
        if (i < n) { // a bin that no later sample closes may be unfinished
            status = series_push(out, end_ns, sum / (double)(i - first), err);
        }
    }
    return status;
}

// True when a reading interval longer than 3 periods overlaps [from, to].
static bool is_in_gap(const struct series_point *totals, size_t n, int64_t from_ns, int64_t to_ns,
                      int64_t period_ns) {
    size_t i = series_first_at_or_after(totals, n, from_ns + 1);
    for (; i > 0 && i < n && totals[i - 1].t_ns < to_ns; i++) {
        if (series_seconds(totals[i - 1].t_ns, totals[i].t_ns) > 3e-9 * (double)period_ns) {
            return true;
        }
    }
    return false;
}

enum wl_status series_resample_counter(const struct series_point *totals, size_t n,
                                       int64_t period_ns, double scale, struct series *out,
                                       struct wl_err *err) {
    enum wl_status status = check_period(period_ns, err);
    if (status != WL_OK || n < 2) {
        return status;
    }
    int64_t unused_ns = 0;
    status = find_bin_end(totals[0].t_ns, totals[n - 1].t_ns, period_ns, &unused_ns, err);
    int64_t from_ns = totals[0].t_ns;
    while (status == WL_OK && totals[n - 1].t_ns - from_ns >= period_ns) {
        int64_t to_ns = from_ns + period_ns;
        double a = 0, b = 0;
        if (is_in_gap(totals, n, from_ns, to_ns, period_ns)) {
            // Skip to the bin that begins after the gap, however long it is.
            size_t after = series_first_at_or_after(totals, n, to_ns);
            int64_t bins = (totals[after].t_ns - from_ns) / period_ns;
            from_ns += (bins > 1 ? bins : 1) * period_ns;
            continue;
        }
        status = series_counter_at(totals, n, from_ns, &a, err);
        if (status == WL_OK) {
            status = series_counter_at(totals, n, to_ns, &b, err);
        }
        if (status == WL_OK) {
            double rate = (b - a) / ((double)period_ns * 1e-9);
            status = series_push(out, to_ns, rate * scale, err);
        }
        from_ns = to_ns;
    }
    return status;
}
