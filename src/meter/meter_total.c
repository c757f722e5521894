#include "meter/meter_total.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "series/auc.h"
#include "series/counter.h"

enum { DEFAULT_MAX_POINTS = 20000, MIN_MAX_POINTS = 64, MAX_EVENTS = 64 };
static const int64_t DEFAULT_PERIOD_NS = 100000000;
static const int64_t GAP_PERIODS = 3;
// The rate before an edge is taken over at least this many refreshes of the device: over one it
// would be the counter's jitter and not the power.
static const int64_t RATE_REFRESHES = 4;

// What happened in a step between two readings and matters for windows that touch it.
struct event {
    int64_t t0_ns, t1_ns;
    uint32_t flags;
    bool is_unknown; // the counter may have wrapped unseen: its step means nothing
};

struct channel {
    size_t index;                  // in meter_info
    struct series_counter counter; // counters only
    struct series points;          // counter units since the first reading, or watts
    double total_j;
};

struct meter_total {
    struct meter_info info;
    int64_t period_ns;
    size_t n;
    struct channel channel[METER_MAX_CHANNELS]; // the counted ones
    struct event event[MAX_EVENTS];             // ring
    size_t n_events;                            // ever
    bool has_reading;
    int64_t first_t_ns, last_t_ns;
    double half_width_s; // largest so far
};

// --- life ---------------------------------------------------------------------------------------

static struct series_counter_spec spec_of(const struct meter_info *info,
                                          const struct meter_channel *channel) {
    return (struct series_counter_spec){
        .range = channel->range,
        .max_rate_per_s = info->max_power_w > 0 ? info->max_power_w / channel->scale : 0,
        .update_period_ns = info->native_period_ns,
        .quantum = info->quantum / channel->scale,
    };
}

enum wl_status meter_total_new(const struct meter_info *info,
                               const struct meter_total_options *options, struct meter_total **out,
                               struct wl_err *err) {
    struct meter_total *total = calloc(1, sizeof *total);
    if (!total) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    size_t max_points = options && options->max_points ? options->max_points : DEFAULT_MAX_POINTS;
    max_points = max_points < MIN_MAX_POINTS ? MIN_MAX_POINTS : max_points;
    total->info = *info;
    total->period_ns = options && options->period_ns > 0 ? options->period_ns : DEFAULT_PERIOD_NS;
    if (info->poll_period_ns > total->period_ns) {
        total->period_ns = info->poll_period_ns;
    }
    for (size_t i = 0; i < info->n_channels; i++) {
        if (!info->channel[i].is_counted) {
            continue;
        }
        struct channel *channel = &total->channel[total->n++];
        channel->index = i;
        struct series_counter_spec spec = spec_of(info, &info->channel[i]);
        series_counter_init(&channel->counter, &spec);
        series_init(&channel->points, max_points);
    }
    if (total->n == 0) {
        free(total);
        return wl_err_set(err, WL_INPUT, "energy source '%s' has no counted channel", info->name);
    }
    *out = total;
    return WL_OK;
}

void meter_total_free(struct meter_total *total) {
    if (total) {
        for (size_t i = 0; i < total->n; i++) {
            series_release(&total->channel[i].points);
        }
        free(total);
    }
}

int64_t meter_total_known_from_ns(const struct meter_total *total) {
    int64_t from_ns = INT64_MIN;
    for (size_t i = 0; i < total->n; i++) {
        const struct series *points = &total->channel[i].points;
        int64_t first_ns = points->n ? points->points[0].t_ns : INT64_MAX;
        from_ns = first_ns > from_ns ? first_ns : from_ns;
    }
    return from_ns;
}

int64_t meter_total_known_until_ns(const struct meter_total *total) {
    int64_t until_ns = INT64_MAX;
    for (size_t i = 0; i < total->n; i++) {
        const struct series *points = &total->channel[i].points;
        int64_t last_ns = points->n ? points->points[points->n - 1].t_ns : INT64_MIN;
        until_ns = last_ns < until_ns ? last_ns : until_ns;
    }
    return until_ns;
}

// --- feed ---------------------------------------------------------------------------------------

// Makes room by forgetting the oldest half.
static enum wl_status push(struct series *points, int64_t t_ns, double value, struct wl_err *err) {
    if (points->n == points->max_points) {
        size_t dropped = points->n / 2;
        points->n -= dropped;
        memmove(points->points, points->points + dropped, points->n * sizeof *points->points);
    }
    return series_push(points, t_ns, value, err);
}

static void note_event(struct meter_total *total, struct event event) {
    total->event[total->n_events++ % MAX_EVENTS] = event;
}

// A pause so long that the counter may have wrapped unseen: nothing is known about this step.
static bool is_ambiguous(const struct series_counter *counter, int64_t t_ns) {
    int64_t poll_ns = series_counter_max_poll_ns(counter->spec.range, counter->spec.max_rate_per_s);
    return counter->has_reading && poll_ns != INT64_MAX && t_ns - counter->last_t_ns > 2 * poll_ns;
}

static enum wl_status feed_counter(struct meter_total *total, struct channel *channel, uint64_t raw,
                                   int64_t t_ns, uint32_t *flags, struct wl_err *err) {
    struct series_point point;
    enum series_counter_event what;
    int64_t before_ns = channel->counter.last_t_ns;
    enum wl_status status = series_counter_feed(&channel->counter, raw, t_ns, &point, &what, err);
    if (status != WL_OK) {
        return status;
    }
    uint32_t flag = what == SERIES_COUNTER_WRAPPED ? (uint32_t)RECORD_WRAP
                    : what == SERIES_COUNTER_RESET ? (uint32_t)RECORD_RESET
                                                   : 0;
    if (flag) {
        note_event(total, (struct event){before_ns, t_ns, flag, false});
        *flags |= flag;
    }
    channel->total_j = point.value * total->info.channel[channel->index].scale;
    return push(&channel->points, t_ns, point.value, err);
}

static enum wl_status feed_gauge(struct meter_total *total, struct channel *channel, double value,
                                 int64_t t_ns, struct wl_err *err) {
    const struct series *points = &channel->points;
    double power_w = value * total->info.channel[channel->index].scale;
    if (points->n) {
        const struct series_point *last = &points->points[points->n - 1];
        channel->total_j += (last->value + power_w) / 2 * fmax(series_seconds(last->t_ns, t_ns), 0);
    }
    return push(&channel->points, t_ns, power_w, err);
}

// A value that no device can mean is treated like a missing one.
static bool is_plausible(const struct meter_total *total, const struct channel *channel,
                         const struct meter_channel_reading *reading) {
    if (!reading->is_valid) {
        return false;
    }
    const struct meter_channel *info = &total->info.channel[channel->index];
    if (meter_kind_is_counter(total->info.kind)) {
        return info->range == 0 || reading->raw <= info->range;
    }
    return isfinite(reading->value);
}

static enum wl_status feed_channel(struct meter_total *total, struct channel *channel,
                                   const struct meter_channel_reading *reading, int64_t t_ns,
                                   struct meter_total_sample *sample, struct wl_err *err) {
    const struct series *points = &channel->points;
    int64_t last_ns = points->n ? points->points[points->n - 1].t_ns : t_ns;
    if (!is_plausible(total, channel, reading)) {
        sample->flags |= RECORD_GAP;
        sample->is_valid = false;
        return WL_OK;
    }
    bool is_counter = meter_kind_is_counter(total->info.kind);
    bool is_unknown = is_counter && is_ambiguous(&channel->counter, t_ns);
    if (is_unknown || t_ns - last_ns > GAP_PERIODS * total->period_ns) {
        sample->flags |= RECORD_GAP;
        note_event(total, (struct event){last_ns, t_ns, RECORD_GAP, is_unknown});
    }
    if (is_counter) {
        return feed_counter(total, channel, reading->raw, t_ns, &sample->flags, err);
    }
    return feed_gauge(total, channel, reading->value, t_ns, err);
}

static double sum_totals_j(const struct meter_total *total) {
    double sum_j = 0;
    for (size_t i = 0; i < total->n; i++) {
        sum_j += total->channel[i].total_j;
    }
    return sum_j;
}

static double power_now_w(const struct meter_total *total, double step_j, double step_s) {
    if (meter_kind_is_counter(total->info.kind)) {
        return total->has_reading && step_s > 0 ? step_j / step_s : (double)NAN;
    }
    double sum_w = 0;
    for (size_t i = 0; i < total->n; i++) {
        const struct series *points = &total->channel[i].points;
        sum_w += points->n ? points->points[points->n - 1].value : (double)NAN;
    }
    return sum_w;
}

// How old a reading is on average. A gauge shows its last refresh (half a period old), an averaged
// one the mean over the period before that. A counter's age is left to the window query, so that
// windows can be asked at once up to the last reading.
static int64_t mean_age_ns(const struct meter_info *info) {
    switch (info->kind) {
    case METER_GAUGE_INSTANT: return info->lag_ns + info->native_period_ns / 2;
    case METER_GAUGE_AVERAGED: return info->lag_ns + info->native_period_ns;
    default: return info->lag_ns;
    }
}

static enum wl_status feed_nothing(const struct meter_total *total,
                                   struct meter_total_sample *out) {
    if (out) {
        *out = (struct meter_total_sample){
            .t_ns = total->last_t_ns, .total_j = (double)NAN, .power_w = (double)NAN};
    }
    return WL_OK;
}

enum wl_status meter_total_feed(struct meter_total *total, const struct meter_reading *reading,
                                struct meter_total_sample *out, struct wl_err *err) {
    if (reading->is_empty) {
        return feed_nothing(total, out);
    }
    int64_t width_ns = reading->t_after_ns - reading->t_before_ns;
    int64_t t_ns = reading->t_before_ns + width_ns / 2 - mean_age_ns(&total->info);
    if (width_ns < 0 || (total->has_reading && t_ns < total->last_t_ns)) {
        return wl_err_set(err, WL_INPUT,
                          "a reading of '%s' at %" PRId64 " ns is older than the one before it, of "
                          "%" PRId64 " ns",
                          total->info.name, t_ns, total->last_t_ns);
    }
    struct meter_total_sample sample = {
        .t_ns = t_ns, .half_width_ns = (width_ns + 1) / 2, .is_valid = true};
    double before_j = sum_totals_j(total);
    for (size_t i = 0; i < total->n; i++) {
        struct channel *channel = &total->channel[i];
        enum wl_status status =
            feed_channel(total, channel, &reading->channel[channel->index], t_ns, &sample, err);
        if (status != WL_OK) {
            return status;
        }
    }
    double since_s = total->has_reading ? series_seconds(total->first_t_ns, t_ns) : 0;
    double step_s = total->has_reading ? series_seconds(total->last_t_ns, t_ns) : 0;
    double step_j = sum_totals_j(total) - before_j;
    sample.total_j = sum_totals_j(total) + total->info.offset_w * since_s;
    sample.power_w =
        sample.is_valid ? power_now_w(total, step_j, step_s) + total->info.offset_w : (double)NAN;
    total->half_width_s = fmax(total->half_width_s, (double)sample.half_width_ns * 1e-9);
    total->first_t_ns = total->has_reading ? total->first_t_ns : t_ns;
    total->has_reading = true;
    total->last_t_ns = t_ns;
    if (out) {
        *out = sample;
    }
    return WL_OK;
}

// --- windows ------------------------------------------------------------------------------------

// Mean rate over the readings just before `t_ns`; `fallback` where there are none.
static double rate_before(const struct series *points, int64_t t_ns, int64_t span_ns,
                          double fallback) {
    size_t end = series_first_at_or_after(points->points, points->n, t_ns);
    if (end == points->n || (points->points[end].t_ns > t_ns && end > 0)) {
        end = end > 0 ? end - 1 : 0;
    }
    size_t begin = end;
    while (begin > 0 && points->points[end].t_ns - points->points[begin].t_ns < span_ns) {
        begin--;
    }
    double length_s = series_seconds(points->points[begin].t_ns, points->points[end].t_ns);
    if (end == begin || length_s <= 0) {
        return fallback;
    }
    return (points->points[end].value - points->points[begin].value) / length_s;
}

// A reading shows the counter as it was 0..T ago, half of T on average, at the power before it.
// Where that differs between the two edges (idle before the window, load before its end) the mean
// does not cancel and is put back; the rest is uniform at each edge.
struct staleness {
    double correction;
    double variance;
    double bound;
};

// At one edge: the rate before it, and how unsure that is (the power may have just changed).
static double edge_rate(const struct meter_total *total, const struct channel *channel,
                        int64_t t_ns, double fallback, double *doubt) {
    int64_t refresh_ns = total->info.native_period_ns;
    double rate = rate_before(&channel->points, t_ns, RATE_REFRESHES * refresh_ns, fallback);
    double nearest = rate_before(&channel->points, t_ns, refresh_ns, fallback);
    *doubt = fabs(rate - nearest);
    return rate;
}

static void find_staleness(const struct meter_total *total, const struct channel *channel,
                           int64_t t0_ns, int64_t t1_ns, double mean_rate, struct staleness *out) {
    double refresh_s = (double)total->info.native_period_ns * 1e-9;
    double doubt0, doubt1;
    double r0 = edge_rate(total, channel, t0_ns, mean_rate, &doubt0);
    double r1 = edge_rate(total, channel, t1_ns, mean_rate, &doubt1);
    out->correction = refresh_s / 2 * (r1 - r0);
    out->variance = refresh_s * refresh_s *
                    ((r0 * r0 + r1 * r1) / 12 + (doubt0 * doubt0 + doubt1 * doubt1) / 4);
    out->bound = refresh_s * fmax(r0 + doubt0, r1 + doubt1);
}

// Adds one channel to the sums in `out`; *coverage is this channel's.
static enum wl_status counter_window(const struct meter_total *total, const struct channel *channel,
                                     int64_t t0_ns, int64_t t1_ns, struct meter_energy *out,
                                     double *variance, double *coverage, struct wl_err *err) {
    // The staleness is found here, where the power before each edge is known: not twice.
    struct series_counter counter = channel->counter;
    counter.spec.update_period_ns = 0;
    struct series_delta delta;
    enum wl_status status = series_counter_window(channel->points.points, channel->points.n,
                                                  &counter, t0_ns, t1_ns, &delta, err);
    if (status != WL_OK) {
        return status;
    }
    struct staleness stale;
    find_staleness(total, channel, t0_ns, t1_ns, delta.mean_rate_per_s, &stale);
    double scale = total->info.channel[channel->index].scale;
    out->gross_j += (delta.delta + (delta.has_hole ? 0 : stale.correction)) * scale;
    *variance += (delta.sd * delta.sd + stale.variance) * scale * scale;
    out->error_bound_j += (delta.error_bound + stale.bound) * scale;
    out->n_readings = delta.n_readings;
    *coverage = delta.coverage;
    return WL_OK;
}

// How much the power changes around an edge.
static double swing_w(const struct series *points, int64_t t_ns, int64_t span_ns) {
    double low = HUGE_VAL, high = -HUGE_VAL;
    const struct series_point *near;
    size_t n = series_slice(points->points, points->n, t_ns - span_ns, t_ns + span_ns, &near);
    for (size_t i = 0; i < n; i++) {
        low = fmin(low, near[i].value);
        high = fmax(high, near[i].value);
    }
    return n > 1 ? high - low : 0;
}

static enum wl_status gauge_window(const struct meter_total *total, const struct channel *channel,
                                   int64_t t0_ns, int64_t t1_ns, struct meter_energy *out,
                                   double *variance, double *coverage, struct wl_err *err) {
    struct series_area area;
    enum wl_status status = series_auc(channel->points.points, channel->points.n, t0_ns, t1_ns, 0,
                                       total->period_ns, &area, err);
    if (status != WL_OK) {
        return status;
    }
    double window_s = series_seconds(t0_ns, t1_ns);
    double n = fmax((double)area.n_samples, 1);
    // A device that refreshes more slowly than it is read gives the same noise several times.
    double n_independent =
        fmin(n, fmax(window_s / fmax((double)total->info.native_period_ns * 1e-9, 1e-9), 1));
    double noise_j = total->info.noise_sd_w * window_s / sqrt(n_independent);
    double quantum_j = total->info.quantum * window_s / sqrt(12 * n_independent);
    // The age of a reading is 0..T around its mean, which matters where the power changes.
    double refresh_s = (double)total->info.native_period_ns * 1e-9;
    int64_t span_ns = total->info.native_period_ns + total->period_ns;
    double swing0_w = swing_w(&channel->points, t0_ns, span_ns);
    double swing1_w = swing_w(&channel->points, t1_ns, span_ns);
    double age_variance = refresh_s * refresh_s / 12 * (swing0_w * swing0_w + swing1_w * swing1_w);
    out->gross_j += area.area_value_s;
    *variance +=
        area.error_sd * area.error_sd + noise_j * noise_j + quantum_j * quantum_j + age_variance;
    out->error_bound_j += area.error_bound + total->info.quantum / 2 * window_s +
                          refresh_s / 2 * (swing0_w + swing1_w);
    out->n_readings = area.n_samples;
    *coverage = area.coverage;
    return WL_OK;
}

// Share of the window that a gap of a counter leaves unknown: where an edge of the window cuts the
// gap, the step cannot be split between inside and outside. A gap wholly inside loses nothing,
// unless the counter may have wrapped in it.
static double unknown_share(const struct meter_total *total, const struct event *event,
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
    size_t first = total->n_events > MAX_EVENTS ? total->n_events - MAX_EVENTS : 0;
    int64_t last_t1_ns = INT64_MIN; // the same gap of several channels counts once, at its worst
    double last_share = 0;
    for (size_t i = first; i < total->n_events; i++) {
        const struct event *event = &total->event[i % MAX_EVENTS];
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

// Power around an edge, for what an error of its time costs.
static double power_at_w(const struct meter_total *total, int64_t t_ns) {
    double sum_w = 0;
    for (size_t i = 0; i < total->n; i++) {
        const struct series *points = &total->channel[i].points;
        size_t after = series_first_at_or_after(points->points, points->n, t_ns);
        if (!meter_kind_is_counter(total->info.kind)) {
            sum_w += points->points[after < points->n ? after : points->n - 1].value;
            continue;
        }
        double scale = total->info.channel[total->channel[i].index].scale;
        sum_w += scale * rate_before(points, t_ns, 1, 0);
    }
    return sum_w;
}

// Time stamps (half-width, uniform) and the lag's uncertainty, at both edges.
static double time_variance(const struct meter_total *total, int64_t t0_ns, int64_t t1_ns) {
    double lag_sd_s = (double)total->info.lag_sd_ns * 1e-9;
    double stamp_variance = total->half_width_s * total->half_width_s / 3;
    double p0 = power_at_w(total, t0_ns), p1 = power_at_w(total, t1_ns);
    // The lag is the same at both edges: equal powers cancel.
    double lag_j = lag_sd_s * fabs(p1 - p0);
    return stamp_variance * (p0 * p0 + p1 * p1) + lag_j * lag_j;
}

enum wl_status meter_total_window(const struct meter_total *total, int64_t t0_ns, int64_t t1_ns,
                                  struct meter_energy *out, struct wl_err *err) {
    *out = (struct meter_energy){.coverage = 1,
                                 .gain_error_rel = total->info.gain_error_rel,
                                 .offset_error_w = total->info.offset_error_w};
    double variance = 0;
    bool is_counter = meter_kind_is_counter(total->info.kind);
    for (size_t i = 0; i < total->n; i++) {
        double coverage = 0;
        enum wl_status status = is_counter ? counter_window(total, &total->channel[i], t0_ns, t1_ns,
                                                            out, &variance, &coverage, err)
                                           : gauge_window(total, &total->channel[i], t0_ns, t1_ns,
                                                          out, &variance, &coverage, err);
        if (status != WL_OK) {
            wl_err_prefix(err, "energy source '%s'", total->info.name);
            return status;
        }
        out->coverage = fmin(out->coverage, coverage);
    }
    apply_events(total, t0_ns, t1_ns, out);
    out->sd_j = sqrt(variance + time_variance(total, t0_ns, t1_ns));
    double window_s = series_seconds(t0_ns, t1_ns);
    out->gross_j += total->info.offset_w * window_s * out->coverage;
    out->mean_w = out->coverage > 0 ? out->gross_j / (window_s * out->coverage) : (double)NAN;
    if (out->coverage < 1 - 1e-9) {
        out->flags |= RECORD_GAP;
    }
    // Fewer than ten refreshes or steps: the edges are more than a few percent of the whole.
    if ((double)total->info.native_period_ns * 1e-9 * 10 > window_s ||
        (is_counter && total->info.quantum * 10 > out->gross_j)) {
        out->flags |= RECORD_SHORT;
    }
    return WL_OK;
}
