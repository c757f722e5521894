// The energy of a window over all counted channels, with its flags and its random error.
#include <math.h>

#include "meter/meter_total_state.h"

// Share of the window that a gap of a counter leaves unknown: where an edge of the window cuts the
// gap, the step cannot be split between inside and outside. A gap wholly inside loses nothing,
// unless the counter may have wrapped in it.
static double unknown_share(const struct meter_total *total, const struct meter_event *event,
                            int64_t t0_ns, int64_t t1_ns) {
    bool cuts_edge = event->t0_ns < t0_ns || event->t1_ns > t1_ns;
    if (!(event->flags & RECORD_GAP) || !(cuts_edge || event->is_unknown) ||
        !meter_kind_is_counter(total->info.kind)) {
        return 0;
    }
    int64_t from_ns = event->t0_ns > t0_ns ? event->t0_ns : t0_ns;
    int64_t to_ns = event->t1_ns < t1_ns ? event->t1_ns : t1_ns;
    return series_seconds(from_ns, to_ns) / series_seconds(t0_ns, t1_ns);
}

static void apply_events(const struct meter_total *total, int64_t t0_ns, int64_t t1_ns,
                         struct meter_energy *out) {
    size_t first =
        total->n_events > METER_TOTAL_MAX_EVENTS ? total->n_events - METER_TOTAL_MAX_EVENTS : 0;
    int64_t last_t1_ns = INT64_MIN; // the same gap of several channels counts once, at its worst
    double last_share = 0;
    for (size_t i = first; i < total->n_events; i++) {
        const struct meter_event *event = &total->event[i % METER_TOTAL_MAX_EVENTS];
        if (event->t1_ns <= t0_ns || event->t0_ns >= t1_ns) {
            continue;
        }
        out->flags |= event->flags;
        double share = unknown_share(total, event, t0_ns, t1_ns);
        if (event->t1_ns == last_t1_ns) {
            out->coverage += last_share;
            share = fmax(share, last_share);
        }
        out->coverage -= share;
        last_t1_ns = event->t1_ns;
        last_share = share;
    }
    out->coverage = fmin(fmax(out->coverage, 0), 1);
}

double meter_total_stamp_s(const struct meter_total *total) {
    double n = total->n_readings > 0 ? (double)total->n_readings : 1;
    return sqrt(total->sum_width_s2 / n);
}

static void levels_at(const struct meter_total *total, int64_t t_ns, struct meter_levels *out) {
    *out = (struct meter_levels){0};
    for (size_t i = 0; i < total->n; i++) {
        struct meter_levels levels;
        if (meter_kind_is_counter(total->info.kind)) {
            meter_total_counter_levels(total, &total->channel[i], t_ns, &levels);
        } else {
            meter_total_gauge_levels(total, &total->channel[i], t_ns, &levels);
        }
        out->before_w += levels.before_w;
        out->after_w += levels.after_w;
    }
}

// The lag is the same at both edges. Were it longer by one sd, the window would lose `late`, were
// it shorter, `early`. Their half difference is an error of either sign; their mean has one sign,
// as where a load fills the window: its expectation (0.8 sd) is put back with a gauge's edges, and
// 0.6 is what is left of it.
static double lag_variance(const struct meter_total *total, const struct meter_levels *start,
                           const struct meter_levels *end) {
    double lag_sd_s = (double)total->info.lag_sd_ns * 1e-9;
    double late_j = lag_sd_s * (start->before_w - end->before_w);
    double early_j = lag_sd_s * (end->after_w - start->after_w);
    double same_j = (late_j + early_j) / 2, opposite_j = (late_j - early_j) / 2;
    return 0.36 * same_j * same_j + opposite_j * opposite_j;
}

// The moment of a counter's reading is known within the time the read took. A gauge's moments
// matter only where its power changes, which meter_total_gauge.c has in view.
static double stamp_variance(const struct meter_total *total, const struct meter_levels *start,
                             const struct meter_levels *end) {
    if (!meter_kind_is_counter(total->info.kind)) {
        return 0;
    }
    double stamp_s = meter_total_stamp_s(total);
    double p0_w = fmax(start->before_w, start->after_w), p1_w = fmax(end->before_w, end->after_w);
    return stamp_s * stamp_s / 3 * (p0_w * p0_w + p1_w * p1_w);
}

static enum wl_status sum_parts(const struct meter_total *total, int64_t t0_ns, int64_t t1_ns,
                                double *variance, struct meter_energy *out, struct wl_err *err) {
    bool is_counter = meter_kind_is_counter(total->info.kind);
    for (size_t i = 0; i < total->n; i++) {
        struct meter_part part = {0};
        enum wl_status status =
            is_counter
                ? meter_total_counter_part(total, &total->channel[i], t0_ns, t1_ns, &part, err)
                : meter_total_gauge_part(total, &total->channel[i], t0_ns, t1_ns, &part, err);
        if (status != WL_OK) {
            wl_err_prefix(err, "energy source '%s'", total->info.name);
            return status;
        }
        out->gross_j += part.gross_j;
        out->error_bound_j += part.bound_j;
        out->coverage = fmin(out->coverage, part.coverage);
        out->n_readings = part.n_readings;
        *variance += part.variance;
    }
    return WL_OK;
}

enum wl_status meter_total_window(const struct meter_total *total, int64_t t0_ns, int64_t t1_ns,
                                  struct meter_energy *out, struct wl_err *err) {
    *out = (struct meter_energy){.coverage = 1,
                                 .gain_error_rel = total->info.gain_error_rel,
                                 .offset_error_w = total->info.offset_error_w};
    double variance = 0;
    enum wl_status status = sum_parts(total, t0_ns, t1_ns, &variance, out, err);
    if (status != WL_OK) {
        return status;
    }
    apply_events(total, t0_ns, t1_ns, out);
    struct meter_levels start, end;
    levels_at(total, t0_ns, &start);
    levels_at(total, t1_ns, &end);
    out->sd_j =
        sqrt(variance + lag_variance(total, &start, &end) + stamp_variance(total, &start, &end));
    double window_s = series_seconds(t0_ns, t1_ns);
    // What lies in a gap of a gauge is bridged, of a counter left out where it is not known.
    double seen_s = meter_kind_is_counter(total->info.kind) ? window_s * out->coverage : window_s;
    out->gross_j += total->info.offset_w * seen_s;
    out->mean_w = out->coverage > 0 ? out->gross_j / seen_s : (double)NAN;
    if (out->coverage < 1 - 1e-9) {
        out->flags |= RECORD_GAP;
    }
    if (window_s * 1e9 < (double)meter_min_window_ns(&total->info, out->mean_w)) {
        out->flags |= RECORD_SHORT;
    }
    return WL_OK;
}
