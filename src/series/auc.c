#include "series/auc.h"

#include <inttypes.h>
#include <math.h>

// Everything the pieces of one window add to.
struct integration {
    const struct series_point *points;
    size_t n;
    int64_t t0_ns;
    int64_t t1_ns;
    double baseline;
    double period_s;
    double covered_s;
    double integrated_s; // covered, held or bridged: what the mean is over
    double variance;     // of the area, from steps at unknown times
    struct series_area *area;
};

static double value_on_line(const struct series_point *a, const struct series_point *b,
                            int64_t t_ns) {
    double length_s = series_seconds(a->t_ns, b->t_ns);
    if (length_s <= 0) {
        return b->value;
    }
    return a->value + (b->value - a->value) * (series_seconds(a->t_ns, t_ns) / length_s);
}

static void note_peak(struct integration *in, double value) {
    in->area->peak = fmax(in->area->peak, value);
}

static void note_gap(struct integration *in, int64_t length_ns) {
    in->area->n_gaps++;
    in->area->has_gap = true;
    if (length_ns > in->area->max_gap_ns) {
        in->area->max_gap_ns = length_ns;
    }
}

static int64_t length_ns(int64_t a_ns, int64_t b_ns) {
    uint64_t length = (uint64_t)b_ns - (uint64_t)a_ns;
    return length > INT64_MAX ? INT64_MAX : (int64_t)length;
}

static void add_error(struct integration *in, double bound) {
    in->area->error_bound += bound;
    in->variance += bound * bound / 3;
}

// The sample interval a-b as far as it lies in the window.
static void add_interval(struct integration *in, const struct series_point *a,
                         const struct series_point *b) {
    int64_t from_ns = a->t_ns > in->t0_ns ? a->t_ns : in->t0_ns;
    int64_t to_ns = b->t_ns < in->t1_ns ? b->t_ns : in->t1_ns;
    double whole_s = series_seconds(a->t_ns, b->t_ns), part_s = series_seconds(from_ns, to_ns);
    if (part_s <= 0) {
        return;
    }
    double u = value_on_line(a, b, from_ns), v = value_on_line(a, b, to_ns);
    note_peak(in, u);
    note_peak(in, v);
    in->area->area_value_s += part_s * ((u - in->baseline) + (v - in->baseline)) / 2;
    in->integrated_s += part_s;
    double share = part_s / whole_s;
    add_error(in, share * (1 - share / 2) * whole_s * fabs(b->value - a->value));
    if (whole_s > 3 * in->period_s) {
        note_gap(in, length_ns(a->t_ns, b->t_ns));
    } else {
        in->covered_s += part_s;
    }
}

// A part of the window that no sample reaches, `nearest` being the sample at its side.
static void add_outside(struct integration *in, double nearest, int64_t outside_ns) {
    if (outside_ns <= 0) {
        return;
    }
    double outside_s = (double)outside_ns * 1e-9, held_s = fmin(outside_s, 1.5 * in->period_s);
    note_peak(in, nearest);
    in->area->area_value_s += held_s * (nearest - in->baseline);
    in->integrated_s += held_s;
    in->covered_s += held_s;
    add_error(in, held_s * fabs(nearest - in->baseline));
    if (outside_s > held_s) {
        note_gap(in, outside_ns);
    }
}

static enum wl_status check_arguments(const struct integration *in, int64_t nominal_period_ns,
                                      struct wl_err *err) {
    if (in->t1_ns <= in->t0_ns) {
        return wl_err_set(err, WL_INPUT,
                          "the window ends before it begins: %" PRId64 " to %" PRId64 " ns",
                          in->t0_ns, in->t1_ns);
    }
    if (nominal_period_ns <= 0) {
        return wl_err_set(err, WL_INPUT, "the nominal period is %" PRId64 " ns, expected above 0",
                          nominal_period_ns);
    }
    if (!isfinite(in->baseline)) {
        return wl_err_set(err, WL_INPUT, "the baseline is not a finite number");
    }
    return WL_OK;
}

// Distance from the window to the nearest sample on either side, in seconds; 0 inside.
static double distance_s(const struct integration *in) {
    const struct series_point *points = in->points;
    if (points[0].t_ns > in->t1_ns) {
        return series_seconds(in->t1_ns, points[0].t_ns);
    }
    if (points[in->n - 1].t_ns < in->t0_ns) {
        return series_seconds(points[in->n - 1].t_ns, in->t0_ns);
    }
    return 0;
}

// All samples lie on one side of the window: only what holding reaches counts.
static enum wl_status hold_from_outside(struct integration *in, struct wl_err *err) {
    double reach_s = 1.5 * in->period_s - distance_s(in);
    if (reach_s <= 0) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "no sample in the window or near it: %zu samples, the "
                          "nearest %.3f s away",
                          in->n, distance_s(in));
    }
    bool is_before = in->points[0].t_ns > in->t1_ns;
    double window_s = series_seconds(in->t0_ns, in->t1_ns), held_s = fmin(reach_s, window_s);
    double value = in->points[is_before ? 0 : in->n - 1].value;
    in->area->peak = value;
    in->area->area_value_s = held_s * (value - in->baseline);
    in->integrated_s = in->covered_s = held_s;
    add_error(in, held_s * fabs(value - in->baseline));
    if (held_s < window_s) {
        note_gap(in, length_ns(in->t0_ns, in->t1_ns));
    }
    return WL_OK;
}

static enum wl_status integrate(struct integration *in, struct wl_err *err) {
    const struct series_point *points = in->points;
    if (distance_s(in) > 0) {
        return hold_from_outside(in, err);
    }
    const struct series_point *inside;
    in->area->n_samples = series_slice(points, in->n, in->t0_ns, in->t1_ns, &inside);
    size_t first = series_first_at_or_after(points, in->n, in->t0_ns);
    in->area->peak = -INFINITY;
    for (size_t i = 0; i < in->area->n_samples; i++) {
        note_peak(in, inside[i].value);
    }
    if (points[0].t_ns > in->t0_ns) {
        add_outside(in, points[0].value, length_ns(in->t0_ns, points[0].t_ns));
    }
    for (size_t i = first ? first : 1; i < in->n && points[i - 1].t_ns < in->t1_ns; i++) {
        if (points[i].t_ns < points[i - 1].t_ns || !isfinite(points[i].value)) {
            return wl_err_set(err, WL_INPUT, "sample %zu is out of order or not finite", i);
        }
        add_interval(in, &points[i - 1], &points[i]);
    }
    if (points[in->n - 1].t_ns < in->t1_ns) {
        add_outside(in, points[in->n - 1].value, length_ns(points[in->n - 1].t_ns, in->t1_ns));
    }
    return WL_OK;
}

enum wl_status series_auc(const struct series_point *points, size_t n, int64_t t0_ns, int64_t t1_ns,
                          double baseline, int64_t nominal_period_ns, struct series_area *out,
                          struct wl_err *err) {
    *out = (struct series_area){0};
    struct integration in = {.points = points,
                             .n = n,
                             .t0_ns = t0_ns,
                             .t1_ns = t1_ns,
                             .baseline = baseline,
                             .period_s = (double)nominal_period_ns * 1e-9,
                             .area = out};
    enum wl_status status = check_arguments(&in, nominal_period_ns, err);
    if (status == WL_OK && n == 0) {
        status = wl_err_set(err, WL_NOT_FOUND, "no samples at all for the window");
    }
    if (status == WL_OK) {
        status = integrate(&in, err);
    }
    if (status != WL_OK) {
        *out = (struct series_area){0};
        return status;
    }
    double window_s = series_seconds(t0_ns, t1_ns);
    out->coverage = fmin(in.covered_s / window_s, 1);
    out->mean = in.integrated_s > 0 ? out->area_value_s / in.integrated_s + baseline : out->peak;
    out->error_sd = sqrt(in.variance);
    return WL_OK;
}
