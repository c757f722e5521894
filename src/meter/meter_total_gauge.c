// Windows of a gauge: the area under its readings, and what the device smears at a window's edges.
//
// What is seen of a sudden change is spread around its moment: by the pause between two readings
// (a straight line is drawn), by the age of a reading, by the device's averaging, by the lag not
// being known exactly. With s the standard deviation of all these together and D the change, the
// window that begins (or ends) with the change loses 0.4*s*D on average: half the mean absolute
// deviation. As the amount depends on the edge alone it is put back at each edge with its sign, and
// the parts of a window still add up to it. What remains, being different each time, is in the
// variance.
//
// A first-order smoothing of time constant tau is undone exactly: from y + tau*y' = p follows that
// the true energy is the area under y plus tau times the change of y over the window.
#include <math.h>
#include <stdlib.h>

#include "meter/meter_total_state.h"
#include "series/auc.h"

static const double SMEAR_LOSS = 0.4;    // of the sd: half the mean absolute deviation
static const double TAU_ERROR_REL = 0.2; // how well a device's time constant is known

// What the device and the readings around one edge are like.
struct edge {
    struct meter_levels levels; // well before and after
    double swing_w;             // largest minus smallest reading between there
    double shown_w;             // at the edge
    double smear_s;             // sd of all smearing
    double variance_s2;         // of what an edge loses, per W^2 of swing
};

static double native_s(const struct meter_total *total) {
    return (double)total->info.native_period_ns * 1e-9;
}

static bool is_averaged(const struct meter_total *total) {
    return total->info.kind == METER_GAUGE_AVERAGED;
}

static double value_at(const struct series *points, int64_t t_ns) {
    size_t after = series_first_at_or_after(points->points, points->n, t_ns);
    if (after == 0 || after == points->n) {
        return points->n ? points->points[after ? after - 1 : 0].value : 0;
    }
    const struct series_point *a = &points->points[after - 1], *b = &points->points[after];
    double share = series_seconds(a->t_ns, t_ns) / series_seconds(a->t_ns, b->t_ns);
    return a->value + share * (b->value - a->value);
}

static int64_t reach_of(const struct meter_total *total) {
    return meter_reach_ns(&total->info, total->period_ns);
}

void meter_total_gauge_levels(const struct meter_total *total,
                              const struct meter_total_channel *channel, int64_t t_ns,
                              struct meter_levels *out) {
    int64_t reach = reach_of(total);
    out->before_w = value_at(&channel->points, t_ns - reach);
    out->after_w = value_at(&channel->points, t_ns + reach);
}

static double swing_w(const struct series *points, int64_t t_ns, int64_t reach, double low,
                      double high) {
    const struct series_point *near;
    size_t n = series_slice(points->points, points->n, t_ns - reach, t_ns + reach, &near);
    for (size_t i = 0; i < n; i++) {
        low = fmin(low, near[i].value);
        high = fmax(high, near[i].value);
    }
    return high - low;
}

// The usual pause between two readings, the same at all edges so that a ramp needs no correction.
static double spacing_s(const struct meter_total *total, const struct series *points) {
    double longest_s = (double)total->period_ns * 1e-9;
    if (points->n < 2) {
        return longest_s;
    }
    double whole_s = series_seconds(points->points[0].t_ns, points->points[points->n - 1].t_ns);
    return fmin(whole_s / (double)(points->n - 1), longest_s);
}

static void find_edge(const struct meter_total *total, const struct series *points,
                      const struct meter_total_channel *channel, int64_t t_ns, struct edge *out) {
    meter_total_gauge_levels(total, channel, t_ns, &out->levels);
    double before_w = out->levels.before_w, after_w = out->levels.after_w;
    out->swing_w =
        swing_w(points, t_ns, reach_of(total), fmin(before_w, after_w), fmax(before_w, after_w));
    out->shown_w = value_at(points, t_ns);
    double d_s = spacing_s(total, points), native = native_s(total);
    double stamp_s = meter_total_stamp_s(total);
    double lag_sd_s = (double)total->info.lag_sd_ns * 1e-9;
    bool is_stamped = total->info.is_stamped;
    double boxes = (is_stamped ? 0 : 1) + (is_averaged(total) ? 1 : 0); // age, averaging
    double line = d_s * d_s / 6;                                        // a triangle of +-d
    double stamp = stamp_s * stamp_s / 3;                               // uniform, +-stamp
    out->smear_s = sqrt(line + boxes * native * native / 12 + stamp + lag_sd_s * lag_sd_s);
    // (1-f)^2/2 for uniform f: variance 0.0222; f*(1-f): 0.0056; max(f-1/2, 0):
    // 0.0260 when the ages at the two edges are independent, 0.0104 each when they are the same
    // because the device is read in step with its refresh; 0.018 is between.
    bool is_whole = is_stamped && is_averaged(total);
    double age = is_stamped ? 0 : is_averaged(total) ? 0.0056 : 0.018;
    out->variance_s2 =
        (is_whole ? 0.0056 : 0.0222) * d_s * d_s + age * native * native + 0.1 * stamp_s * stamp_s;
}

// What is added to the energy before a time, so that E(t1) - E(t0) is a window's correction.
static double put_back_j(const struct meter_total *total, const struct edge *edge) {
    double tau_s = (double)total->info.smoothing_ns * 1e-9;
    return tau_s * edge->shown_w -
           SMEAR_LOSS * edge->smear_s * (edge->levels.after_w - edge->levels.before_w);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Scatter of one reading: what the source states, or what its readings show where that is more (a
// power that flickers faster than it is read; a gauge that shows means without a pause between them
// has no such part). From the median step, which the few real changes of
// the load do not move: of normal noise it is 0.6745*sqrt(2) sd.
static double scatter_w(const struct meter_total *total, const struct series_point *in, size_t n) {
    enum { MAX_STEPS = 256 };
    double step_w[MAX_STEPS];
    size_t stride = 1 + n / MAX_STEPS, n_steps = 0;
    for (size_t i = 1; i < n && n_steps < MAX_STEPS; i += stride) {
        step_w[n_steps++] = fabs(in[i].value - in[i - 1].value);
    }
    bool is_seamless = is_averaged(total) && total->period_ns <= total->info.native_period_ns;
    if (n_steps < 8 || is_seamless) {
        return total->info.noise_sd_w;
    }
    qsort(step_w, n_steps, sizeof step_w[0], by_value);
    return fmax(total->info.noise_sd_w, step_w[n_steps / 2] / 0.954);
}

// Between the edges: a change somewhere between two readings (uniform: d/sqrt(12)), less what noise
// alone shows; and rounding, which is one and the same error as long as the same number is shown.
static double inner_variance(const struct meter_total *total, const struct series_point *in,
                             size_t n, int64_t t0_ns, int64_t t1_ns, double noise_w) {
    const struct meter_info *info = &total->info;
    bool is_whole = info->is_stamped && is_averaged(total); // each mean once: nothing is between
    int64_t skip_ns = is_averaged(total) ? info->native_period_ns : 0;
    double noise = 2 * noise_w * noise_w + info->quantum * info->quantum / 6;
    double steps = 0, rounding = 0, run_s = 0;
    for (size_t i = 1; i < n; i++) {
        double d_s = series_seconds(in[i - 1].t_ns, in[i].t_ns);
        double change_w = in[i].value - in[i - 1].value;
        run_s += d_s;
        if (fabs(change_w) > info->quantum / 2 || i + 1 == n) {
            rounding += run_s * run_s;
            run_s = 0;
        }
        if (!is_whole && in[i - 1].t_ns >= t0_ns + skip_ns && in[i].t_ns <= t1_ns - skip_ns) {
            steps += d_s * d_s * fmax(change_w * change_w - noise, 0);
        }
    }
    return (steps + info->quantum * info->quantum * rounding) / 12;
}

static double noise_variance(const struct meter_total *total, size_t n_samples, double noise_w,
                             double window_s) {
    double n = fmax((double)n_samples, 1), native = native_s(total);
    // A device that refreshes more slowly than it is read gives the same noise several times.
    double n_independent = fmin(n, fmax(window_s / fmax(native, 1e-9), 1));
    double noise_j = noise_w * window_s / sqrt(n_independent);
    double tau_s = (double)total->info.smoothing_ns * 1e-9;
    double ends_j = tau_s * hypot(noise_w, total->info.quantum / sqrt(12));
    return noise_j * noise_j + 2 * ends_j * ends_j;
}

static double variance_between(const struct meter_total *total, const struct series *points,
                               int64_t t0_ns, int64_t t1_ns) {
    const struct series_point *in;
    size_t n = series_slice(points->points, points->n, t0_ns, t1_ns, &in);
    double noise_w = scatter_w(total, in, n);
    return inner_variance(total, in, n, t0_ns, t1_ns, noise_w) +
           noise_variance(total, n, noise_w, series_seconds(t0_ns, t1_ns));
}

// A window shorter than what the device smears: what is seen beside it may all have been inside,
// what is seen inside may all have been beside it, and a load may have passed between two readings
// unseen. The interval is then as wide as the value: unresolved.
static double short_variance(const struct meter_total *total, const struct series *points,
                             int64_t t0_ns, int64_t t1_ns, double inside_j) {
    int64_t reach_ns = reach_of(total);
    double window_s = series_seconds(t0_ns, t1_ns);
    int64_t min_ns = meter_min_window_ns(&total->info, inside_j / window_s);
    if (t1_ns - t0_ns >= 2 * reach_ns || t1_ns - t0_ns >= min_ns) {
        return 0;
    }
    struct series_area wide;
    if (series_auc(points->points, points->n, t0_ns - reach_ns, t1_ns + reach_ns, 0,
                   total->period_ns, &wide, NULL) != WL_OK) {
        return inside_j * inside_j;
    }
    double floor_w = fmin(value_at(points, t0_ns - reach_ns), value_at(points, t1_ns + reach_ns));
    double wide_s = window_s + 2 * (double)reach_ns * 1e-9;
    double above_in_j = fabs(inside_j - floor_w * window_s);
    double above_beside_j = fabs(wide.area_value_s - floor_w * wide_s) - above_in_j;
    double larger_j = fmax(inside_j, above_beside_j);
    return larger_j * larger_j;
}

enum wl_status meter_total_gauge_part(const struct meter_total *total,
                                      const struct meter_total_channel *channel, int64_t t0_ns,
                                      int64_t t1_ns, struct meter_part *out, struct wl_err *err) {
    const struct series *points = &channel->points;
    struct series_area area;
    enum wl_status status =
        series_auc(points->points, points->n, t0_ns, t1_ns, 0, total->period_ns, &area, err);
    if (status != WL_OK) {
        return status;
    }
    double window_s = series_seconds(t0_ns, t1_ns);
    struct edge start, end;
    find_edge(total, points, channel, t0_ns, &start);
    find_edge(total, points, channel, t1_ns, &end);
    double correction_j = put_back_j(total, &end) - put_back_j(total, &start);
    double tau_j =
        TAU_ERROR_REL * (double)total->info.smoothing_ns * 1e-9 * (end.shown_w - start.shown_w);
    double gross_j = area.area_value_s + correction_j;
    if (area.area_value_s >= 0 && gross_j < 0) {
        gross_j = 0; // just after a load at no idle power: not less than nothing
    }
    *out = (struct meter_part){
        .gross_j = gross_j,
        .variance = start.swing_w * start.swing_w * start.variance_s2 +
                    end.swing_w * end.swing_w * end.variance_s2 +
                    variance_between(total, points, t0_ns, t1_ns) + tau_j * tau_j +
                    short_variance(total, points, t0_ns, t1_ns, area.area_value_s),
        .bound_j = area.error_bound + total->info.quantum / 2 * window_s + fabs(correction_j) +
                   native_s(total) * (start.swing_w + end.swing_w),
        .coverage = area.coverage,
        .n_readings = area.n_samples,
    };
    return WL_OK;
}
