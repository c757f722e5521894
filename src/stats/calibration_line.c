#include "stats/calibration_line.h"

#include <math.h>
#include <stdbool.h>

#include "stats/special.h"

enum { MIN_POINTS = 3, ITERATIONS = 20 };
static const double MIN_SPREAD_SDS = 5; // of the shown values, in units of their errors

// Weighted sums about the weighted means.
struct sums {
    double weight, mean_x, mean_y, xx, xy;
};

static enum wl_status check(const struct stats_line_point *points, size_t n, struct wl_err *err) {
    if (n < MIN_POINTS || n > STATS_LINE_MAX_POINTS) {
        return wl_err_set(err, WL_INPUT, "a calibration line needs %d to %d blocks, found %zu",
                          MIN_POINTS, STATS_LINE_MAX_POINTS, n);
    }
    for (size_t i = 0; i < n; i++) {
        const struct stats_line_point *p = &points[i];
        bool is_finite = isfinite(p->shown) && isfinite(p->reference) && isfinite(p->shown_sd) &&
                         isfinite(p->reference_sd);
        if (!is_finite || p->shown_sd < 0 || p->reference_sd < 0 ||
            p->shown_sd + p->reference_sd <= 0) {
            return wl_err_set(err, WL_INPUT,
                              "block %zu: expected finite values with positive errors", i + 1);
        }
    }
    return WL_OK;
}

static enum wl_status check_spread(const struct stats_line_point *points, size_t n,
                                   struct wl_err *err) {
    double low = INFINITY, high = -INFINITY, sd = 0;
    for (size_t i = 0; i < n; i++) {
        low = fmin(low, points[i].shown);
        high = fmax(high, points[i].shown);
        sd = fmax(sd, points[i].shown_sd);
    }
    if (high - low <= MIN_SPREAD_SDS * sd || !(high > low)) {
        return wl_err_set(
            err, WL_UNTRUSTED,
            "the values shown differ by %.3g at most, with errors of %.2g: too little "
            "for a line",
            high - low, sd);
    }
    return WL_OK;
}

static double variance_of(const struct stats_line_point *p, double gain) {
    return p->reference_sd * p->reference_sd + gain * gain * p->shown_sd * p->shown_sd;
}

// With the weights of `gain`; a gain of 0 leaves errors of the reference alone, which may be 0, so
// the first round weighs all alike.
static struct sums sum(const struct stats_line_point *points, size_t n, double gain) {
    struct sums s = {0};
    for (size_t i = 0; i < n; i++) {
        double weight = gain > 0 ? 1 / variance_of(&points[i], gain) : 1;
        s.weight += weight;
        s.mean_x += weight * points[i].shown;
        s.mean_y += weight * points[i].reference;
    }
    s.mean_x /= s.weight;
    s.mean_y /= s.weight;
    for (size_t i = 0; i < n; i++) {
        double weight = gain > 0 ? 1 / variance_of(&points[i], gain) : 1;
        double dx = points[i].shown - s.mean_x;
        s.xx += weight * dx * dx;
        s.xy += weight * dx * (points[i].reference - s.mean_y);
    }
    return s;
}

static void find_residuals(const struct stats_line_point *points, size_t n,
                           struct stats_line *line) {
    double mean = 0, total = 0, rest = 0;
    for (size_t i = 0; i < n; i++) {
        mean += points[i].reference / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        double residual = points[i].reference - (line->gain * points[i].shown + line->offset);
        rest += residual * residual;
        total += (points[i].reference - mean) * (points[i].reference - mean);
        line->chi2 += residual * residual / variance_of(&points[i], line->gain);
    }
    line->dof = n - 2;
    line->residual_sd = sqrt(rest / (double)line->dof);
    line->r2 = total > 0 ? 1 - rest / total : (double)NAN;
}

// chi2 is compared with its upper 5 % point (Wilson and Hilferty 1931).
static double scale_of(const struct stats_line *line) {
    double dof = (double)line->dof;
    double cube = 1 - 2 / (9 * dof) + 1.645 * sqrt(2 / (9 * dof));
    if (line->chi2 <= dof * cube * cube * cube) {
        return 1;
    }
    return sqrt(line->chi2 / dof) * stats_student_quantile(0.975, dof) / 1.96;
}

enum wl_status stats_calibration_line(const struct stats_line_point *points, size_t n,
                                      struct stats_line *out, struct wl_err *err) {
    *out = (struct stats_line){0};
    enum wl_status status = check(points, n, err);
    status = status == WL_OK ? check_spread(points, n, err) : status;
    if (status != WL_OK) {
        return status;
    }
    struct sums s = sum(points, n, 0);
    double gain = s.xy / s.xx;
    for (int i = 0; i < ITERATIONS && gain > 0; i++) {
        s = sum(points, n, gain);
        gain = s.xy / s.xx;
    }
    if (!(gain > 0)) {
        return wl_err_set(err, WL_UNTRUSTED,
                          "the reference does not grow with the values shown: do both meter this "
                          "machine?");
    }
    out->gain = gain;
    out->offset = s.mean_y - gain * s.mean_x;
    find_residuals(points, n, out);
    double scale = scale_of(out);
    out->gain_sd = scale / sqrt(s.xx);
    out->offset_sd = scale * sqrt(1 / s.weight + s.mean_x * s.mean_x / s.xx);
    out->covariance = -s.mean_x * out->gain_sd * out->gain_sd;
    return WL_OK;
}

void stats_calibration_line_widen(struct stats_line *line, double rel_sd, double constant_sd) {
    double gain_sd = rel_sd * line->gain, offset_sd = rel_sd * line->offset;
    line->covariance += gain_sd * offset_sd;
    line->gain_sd = hypot(line->gain_sd, gain_sd);
    line->offset_sd = hypot(hypot(line->offset_sd, offset_sd), constant_sd);
}
