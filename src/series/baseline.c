#include "series/baseline.h"

#include <math.h>
#include <stdlib.h>

#include "series/order.h"

// Theil-Sen looks at all pairs; 512 points make 130816 of them.
enum { MIN_POINTS = 5, MAX_SLOPE_POINTS = 512 };

// Mean, sd and effective number of the values after taking away `slope_per_s`.
struct moments {
    double mean;
    double sd;
    double autocorrelation;
    double n_effective;
};

static double detrended(const struct series_point *points, size_t i, double slope_per_s) {
    return points[i].value - slope_per_s * series_seconds(points[0].t_ns, points[i].t_ns);
}

static struct moments find_moments(const struct series_point *points, size_t n,
                                   double slope_per_s) {
    double sum = 0, squares = 0, products = 0, size = (double)n;
    for (size_t i = 0; i < n; i++) {
        sum += detrended(points, i, slope_per_s);
    }
    struct moments out = {.mean = sum / size};
    double previous = 0;
    for (size_t i = 0; i < n; i++) {
        double a = detrended(points, i, slope_per_s) - out.mean;
        squares += a * a;
        products += previous * a;
        previous = a;
    }
    out.sd = sqrt(squares / (size - 1));
    // The estimate is low by (1 + 4r)/n (Kendall 1954).
    double r = squares > 0 ? products / squares : 0;
    r += (1 + 4 * r) / size;
    out.autocorrelation = fmin(fmax(r, 0), 0.95);
    r = out.autocorrelation;
    out.n_effective = fmax(size * (1 - r) / (1 + r), 1);
    return out;
}

// At most MAX_SLOPE_POINTS means of neighbouring points; times in seconds from the first point.
static size_t condense(const struct series_point *points, size_t n, double *t_s, double *value) {
    size_t n_bins = n < MAX_SLOPE_POINTS ? n : MAX_SLOPE_POINTS;
    for (size_t bin = 0; bin < n_bins; bin++) {
        size_t first = bin * n / n_bins, end = (bin + 1) * n / n_bins;
        t_s[bin] = value[bin] = 0;
        for (size_t i = first; i < end; i++) {
            t_s[bin] += series_seconds(points[0].t_ns, points[i].t_ns) / (double)(end - first);
            value[bin] += points[i].value / (double)(end - first);
        }
    }
    return n_bins;
}

static enum wl_status find_slope(const struct series_point *points, size_t n, double *slope_per_s,
                                 struct wl_err *err) {
    double t_s[MAX_SLOPE_POINTS], value[MAX_SLOPE_POINTS];
    size_t n_bins = condense(points, n, t_s, value), n_slopes = 0;
    double *slopes = malloc(n_bins * (n_bins - 1) / 2 * sizeof *slopes);
    if (!slopes) {
        return wl_err_set(err, WL_MEMORY, "no memory for the slope of %zu points", n_bins);
    }
    for (size_t i = 0; i < n_bins; i++) {
        for (size_t j = i + 1; j < n_bins; j++) {
            if (t_s[j] > t_s[i]) {
                slopes[n_slopes++] = (value[j] - value[i]) / (t_s[j] - t_s[i]);
            }
        }
    }
    *slope_per_s = n_slopes ? series_median_in_place(slopes, n_slopes) : 0;
    free(slopes);
    return WL_OK;
}

static enum wl_status find_level(const struct series_point *points, size_t n, double *level,
                                 struct wl_err *err) {
    double *values = malloc(n * sizeof *values);
    if (!values) {
        return wl_err_set(err, WL_MEMORY, "no memory for the median of %zu points", n);
    }
    for (size_t i = 0; i < n; i++) {
        values[i] = points[i].value;
    }
    *level = series_median_in_place(values, n);
    free(values);
    return WL_OK;
}

// Noise alone gives a slope too: that of a straight line through n independent points drifts by
// sqrt(12/n) sd over the stretch.
static bool find_drifting(const struct series_point *points, const struct series_baseline *found) {
    struct moments rest = find_moments(points, found->n, found->slope_per_s);
    double noise = rest.sd * sqrt(12 / rest.n_effective);
    return fabs(found->drift) > SERIES_BASELINE_MAX_DRIFT * fabs(found->level) &&
           fabs(found->drift) > 2 * noise;
}

static void set_moments(const struct series_point *points, struct series_baseline *found) {
    struct moments raw = find_moments(points, found->n, 0);
    found->mean = raw.mean;
    found->sd = raw.sd;
    found->autocorrelation = raw.autocorrelation;
    found->n_effective = raw.n_effective;
    found->sd_of_mean = raw.sd / sqrt(raw.n_effective);
    found->sd_of_level = 1.2533141373155 * found->sd_of_mean; // sqrt(pi/2)
}

enum wl_status series_baseline_find(const struct series_point *points, size_t n,
                                    struct series_baseline *out, struct wl_err *err) {
    *out = (struct series_baseline){0};
    if (n < MIN_POINTS || points[n - 1].t_ns <= points[0].t_ns) {
        return wl_err_set(err, WL_INPUT,
                          "an idle baseline needs at least %d samples over some time, found %zu",
                          MIN_POINTS, n);
    }
    struct series_baseline found = {.n = n, .t0_ns = points[0].t_ns, .t1_ns = points[n - 1].t_ns};
    set_moments(points, &found);
    enum wl_status status = find_level(points, n, &found.level, err);
    if (status == WL_OK) {
        status = find_slope(points, n, &found.slope_per_s, err);
    }
    if (status == WL_OK) {
        found.drift = found.slope_per_s * series_seconds(found.t0_ns, found.t1_ns);
        found.is_drifting = find_drifting(points, &found);
        *out = found;
    }
    return status;
}

double series_share_above(const struct series_point *points, size_t n, double threshold) {
    size_t n_above = 0;
    for (size_t i = 0; i < n; i++) {
        n_above += points[i].value > threshold;
    }
    return n ? (double)n_above / (double)n : 0;
}

static double middle_s(const struct series_baseline *baseline, int64_t origin_ns) {
    return (series_seconds(origin_ns, baseline->t0_ns) +
            series_seconds(origin_ns, baseline->t1_ns)) /
           2;
}

// 0 at the middle of `before`, 1 at the middle of `after`, held outside.
static double share_of_way(const struct series_baseline *before,
                           const struct series_baseline *after, int64_t t_ns) {
    double from_s = middle_s(before, before->t0_ns), to_s = middle_s(after, before->t0_ns);
    double t_s = series_seconds(before->t0_ns, t_ns);
    if (to_s <= from_s) {
        return 0.5;
    }
    return fmin(fmax((t_s - from_s) / (to_s - from_s), 0), 1);
}

void series_baseline_at(const struct series_baseline *before, const struct series_baseline *after,
                        int64_t t_ns, struct series_baseline_level *out) {
    *out = (struct series_baseline_level){.value = before->level, .sd = before->sd_of_level};
    if (!after) {
        if (before->is_drifting) {
            out->sd = hypot(out->sd, before->drift / sqrt(12));
        }
        return;
    }
    double difference = after->level - before->level;
    double scale = fmax(fabs(before->level), fabs(after->level));
    out->has_moved = fabs(difference) > SERIES_BASELINE_MAX_DIFFERENCE * scale;
    double share = out->has_moved ? share_of_way(before, after, t_ns)
                                  : after->n_effective / (before->n_effective + after->n_effective);
    out->value = before->level + share * difference;
    out->sd = hypot((1 - share) * before->sd_of_level, share * after->sd_of_level);
    out->sd = hypot(out->sd, difference / sqrt(12)); // when and how it moved between is unknown
}
