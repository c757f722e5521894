// Windows of a counter: differences, and what the counter's refresh and step leave open.
#include <math.h>

#include "meter/meter_total_state.h"

static const int64_t RATE_REFRESHES = METER_RATE_REFRESHES;

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
static double edge_rate(const struct meter_total *total, const struct meter_total_channel *channel,
                        int64_t t_ns, double fallback, double *doubt) {
    int64_t refresh_ns = total->info.native_period_ns;
    double rate = rate_before(&channel->points, t_ns, RATE_REFRESHES * refresh_ns, fallback);
    double nearest = rate_before(&channel->points, t_ns, refresh_ns, fallback);
    *doubt = fabs(rate - nearest);
    return rate;
}

static void find_staleness(const struct meter_total *total,
                           const struct meter_total_channel *channel, int64_t t0_ns, int64_t t1_ns,
                           double mean_rate, struct staleness *out) {
    double refresh_s = (double)total->info.native_period_ns * 1e-9;
    double doubt0, doubt1;
    double r0 = edge_rate(total, channel, t0_ns, mean_rate, &doubt0);
    double r1 = edge_rate(total, channel, t1_ns, mean_rate, &doubt1);
    out->correction = refresh_s / 2 * (r1 - r0);
    out->variance = refresh_s * refresh_s *
                    ((r0 * r0 + r1 * r1) / 12 + (doubt0 * doubt0 + doubt1 * doubt1) / 4);
    out->bound = refresh_s * fmax(r0 + doubt0, r1 + doubt1);
}

enum wl_status meter_total_counter_part(const struct meter_total *total,
                                        const struct meter_total_channel *channel, int64_t t0_ns,
                                        int64_t t1_ns, struct meter_part *out, struct wl_err *err) {
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
    *out = (struct meter_part){
        .gross_j = (delta.delta + (delta.has_hole ? 0 : stale.correction)) * scale,
        .variance = (delta.sd * delta.sd + stale.variance) * scale * scale,
        .bound_j = (delta.error_bound + stale.bound) * scale,
        .coverage = delta.coverage,
        .n_readings = delta.n_readings,
    };
    // Over in a few refreshes: its power cannot be told from the power around it.
    if (t1_ns - t0_ns < (RATE_REFRESHES + 1) * total->info.native_period_ns) {
        out->variance = fmax(out->variance, out->gross_j * out->gross_j);
    }
    return WL_OK;
}

void meter_total_counter_levels(const struct meter_total *total,
                                const struct meter_total_channel *channel, int64_t t_ns,
                                struct meter_levels *out) {
    int64_t span_ns = RATE_REFRESHES * total->info.native_period_ns;
    span_ns = span_ns > 0 ? span_ns : 1;
    double scale = total->info.channel[channel->index].scale;
    out->before_w = scale * rate_before(&channel->points, t_ns, span_ns, 0);
    const struct series *points = &channel->points;
    int64_t until_ns = t_ns + total->period_ns;
    int64_t last_ns = points->n ? points->points[points->n - 1].t_ns : until_ns;
    out->after_w = scale * rate_before(points, until_ns < last_ns ? until_ns : last_ns, span_ns, 0);
}
