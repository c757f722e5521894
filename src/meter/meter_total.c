#include "meter/meter_total.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "meter/meter_total_state.h"

enum { DEFAULT_MAX_POINTS = 20000, MIN_MAX_POINTS = 64 };
static const int64_t DEFAULT_PERIOD_NS = 100000000;
static const int64_t GAP_PERIODS = 3;

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
        struct meter_total_channel *channel = &total->channel[total->n++];
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

static void note_event(struct meter_total *total, struct meter_event event) {
    total->event[total->n_events++ % METER_TOTAL_MAX_EVENTS] = event;
}

// A pause so long that the counter may have wrapped unseen: nothing is known about this step.
static bool is_ambiguous(const struct series_counter *counter, int64_t t_ns) {
    int64_t poll_ns = series_counter_max_poll_ns(counter->spec.range, counter->spec.max_rate_per_s);
    return counter->has_reading && poll_ns != INT64_MAX && t_ns - counter->last_t_ns > 2 * poll_ns;
}

static enum wl_status feed_counter(struct meter_total *total, struct meter_total_channel *channel,
                                   uint64_t raw, int64_t t_ns, uint32_t *flags,
                                   struct wl_err *err) {
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
        note_event(total, (struct meter_event){before_ns, t_ns, flag, false});
        *flags |= flag;
    }
    channel->total_j = point.value * total->info.channel[channel->index].scale;
    return push(&channel->points, t_ns, point.value, err);
}

static enum wl_status feed_gauge(struct meter_total *total, struct meter_total_channel *channel,
                                 double value, int64_t t_ns, struct wl_err *err) {
    const struct series *points = &channel->points;
    double power_w = value * total->info.channel[channel->index].scale;
    if (points->n) {
        const struct series_point *last = &points->points[points->n - 1];
        channel->total_j += (last->value + power_w) / 2 * fmax(series_seconds(last->t_ns, t_ns), 0);
    }
    return push(&channel->points, t_ns, power_w, err);
}

// A value that no device can mean is treated like a missing one.
static bool is_plausible(const struct meter_total *total, const struct meter_total_channel *channel,
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

static enum wl_status feed_channel(struct meter_total *total, struct meter_total_channel *channel,
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
        note_event(total, (struct meter_event){last_ns, t_ns, RECORD_GAP, is_unknown});
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

// How old a reading is on average. A gauge shows its last refresh (half a period old unless it is
// read just then), an averaged one the mean over the period before that. A counter's age is left to
// the window query, so that windows can be asked at once up to the last reading.
static int64_t mean_age_ns(const struct meter_info *info) {
    int64_t half_ns = info->native_period_ns / 2;
    int64_t waiting_ns = info->is_stamped ? 0 : half_ns;
    switch (info->kind) {
    case METER_GAUGE_INSTANT: return info->lag_ns + waiting_ns;
    case METER_GAUGE_AVERAGED: return info->lag_ns + waiting_ns + half_ns;
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
        struct meter_total_channel *channel = &total->channel[i];
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
    double half_width_s = (double)sample.half_width_ns * 1e-9;
    total->sum_width_s2 += half_width_s * half_width_s;
    total->n_readings++;
    total->first_t_ns = total->has_reading ? total->first_t_ns : t_ns;
    total->has_reading = true;
    total->last_t_ns = t_ns;
    if (out) {
        *out = sample;
    }
    return WL_OK;
}
