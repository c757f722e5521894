#include "series/counter.h"

#include <inttypes.h>
#include <math.h>

void series_counter_init(struct series_counter *counter, const struct series_counter_spec *spec) {
    *counter = (struct series_counter){.spec = *spec};
    if (!(counter->spec.quantum > 0)) {
        counter->spec.quantum = 1;
    }
}

static void add_hole(struct series_counter *counter, int64_t t0_ns, int64_t t1_ns) {
    if (counter->n_holes && counter->holes[counter->n_holes - 1].t1_ns == t0_ns) {
        counter->holes[counter->n_holes - 1].t1_ns = t1_ns;
    } else if (counter->n_holes < SERIES_COUNTER_MAX_HOLES) {
        counter->holes[counter->n_holes++] = (struct series_hole){t0_ns, t1_ns};
    } else {
        counter->holes[counter->n_holes - 1].t1_ns = t1_ns;
    }
}

// The reading's step since the last one; false when no sane device makes it.
static bool find_step(const struct series_counter *counter, uint64_t raw, int64_t t_ns,
                      uint64_t *step, bool *has_wrapped) {
    const struct series_counter_spec *spec = &counter->spec;
    *has_wrapped = raw < counter->last_raw;
    if (*has_wrapped && spec->range == 0) {
        return false;
    }
    *step = *has_wrapped ? spec->range - counter->last_raw + raw : raw - counter->last_raw;
    if (!(spec->max_rate_per_s > 0)) {
        return true;
    }
    double time_s =
        series_seconds(counter->last_t_ns, t_ns) + (double)spec->update_period_ns * 1e-9;
    return (double)*step <= spec->max_rate_per_s * time_s + spec->quantum;
}

static enum wl_status check_reading(const struct series_counter *counter, uint64_t raw,
                                    int64_t t_ns, struct wl_err *err) {
    if (counter->spec.range && raw > counter->spec.range) {
        return wl_err_set(err, WL_INPUT,
                          "the counter reads %" PRIu64 " but its stated range is %" PRIu64, raw,
                          counter->spec.range);
    }
    if (counter->has_reading && t_ns < counter->last_t_ns) {
        return wl_err_set(err, WL_INPUT,
                          "a counter reading of %" PRId64 " ns is older than the one before it, of "
                          "%" PRId64 " ns",
                          t_ns, counter->last_t_ns);
    }
    return WL_OK;
}

static enum wl_status advance(struct series_counter *counter, uint64_t raw, int64_t t_ns,
                              enum series_counter_event *event, struct wl_err *err) {
    uint64_t step = 0;
    bool has_wrapped = false;
    if (!counter->has_reading) {
        *event = SERIES_COUNTER_FIRST;
    } else if (!find_step(counter, raw, t_ns, &step, &has_wrapped)) {
        *event = SERIES_COUNTER_RESET;
        counter->n_resets++;
        add_hole(counter, counter->last_t_ns, t_ns);
    } else if (step > UINT64_MAX - counter->total) {
        return wl_err_set(err, WL_LIMIT, "the counter's total exceeds 64 bits");
    } else {
        *event = has_wrapped ? SERIES_COUNTER_WRAPPED : SERIES_COUNTER_ADVANCED;
        counter->n_wraps += has_wrapped;
        counter->total += step;
    }
    return WL_OK;
}

enum wl_status series_counter_feed(struct series_counter *counter, uint64_t raw, int64_t t_ns,
                                   struct series_point *out, enum series_counter_event *event,
                                   struct wl_err *err) {
    enum series_counter_event what = SERIES_COUNTER_FIRST;
    enum wl_status status = check_reading(counter, raw, t_ns, err);
    if (status == WL_OK) {
        status = advance(counter, raw, t_ns, &what, err);
    }
    if (status != WL_OK) {
        return status;
    }
    counter->has_reading = true;
    counter->last_raw = raw;
    counter->last_t_ns = t_ns;
    if (event) {
        *event = what;
    }
    if (out) {
        *out = (struct series_point){t_ns, (double)counter->total};
    }
    return WL_OK;
}

int64_t series_counter_max_poll_ns(uint64_t range, double max_rate_per_s) {
    if (range == 0 || !(max_rate_per_s > 0)) {
        return INT64_MAX;
    }
    double poll_ns = floor((double)range / max_rate_per_s / 2 * 1e9);
    return poll_ns >= 9.2e18 ? INT64_MAX : (int64_t)poll_ns;
}

// Where a time lies among the totals, and what is known around it.
struct edge {
    double total;
    double rate_before_per_s;
    double rate_per_s; // the larger one of before and after
    double bound;      // of the interpolation
    bool is_between;
};

static double rate_of(const struct series_point *totals, size_t n, size_t i) {
    double length_s = i + 1 < n ? series_seconds(totals[i].t_ns, totals[i + 1].t_ns) : 0;
    return length_s > 0 ? (totals[i + 1].value - totals[i].value) / length_s : 0;
}

// Largest difference between the rate of interval i and those next to it.
static double rate_change(const struct series_point *totals, size_t n, size_t i) {
    double rate = rate_of(totals, n, i), low = rate, high = rate;
    if (i > 0) {
        double before = rate_of(totals, n, i - 1);
        low = fmin(low, before);
        high = fmax(high, before);
    }
    if (i + 2 < n) {
        double after = rate_of(totals, n, i + 1);
        low = fmin(low, after);
        high = fmax(high, after);
    }
    return high - low;
}

// The share of the step a-b reached at the share `f` of its time. When its rate lies between those
// of its neighbours, one change from the rate before to the rate after explains all three, and its
// moment follows; else a straight line.
static double share_reached(const struct series_point *totals, size_t n, size_t i, double f) {
    double rate = rate_of(totals, n, i);
    if (i == 0 || i + 2 >= n || !(rate > 0)) {
        return f;
    }
    double before = rate_of(totals, n, i - 1) / rate, after = rate_of(totals, n, i + 1) / rate;
    if (!((before < 1 && after > 1) || (before > 1 && after < 1))) {
        return f;
    }
    double change = (1 - after) / (before - after);
    double reached = f <= change ? f * before : 1 - (1 - f) * after;
    return fmin(fmax(reached, 0), 1);
}

// Mean rate over the readings of at least `span_s` before (or after) reading i, as far as they go:
// between two readings closer than the update period a counter stands still or jumps.
static double rate_before(const struct series_point *totals, size_t i, double span_s) {
    size_t k = i;
    while (k > 0 && (k == i || series_seconds(totals[k].t_ns, totals[i].t_ns) < span_s)) {
        k--;
    }
    double length_s = series_seconds(totals[k].t_ns, totals[i].t_ns);
    return length_s > 0 ? (totals[i].value - totals[k].value) / length_s : 0;
}

static double rate_after(const struct series_point *totals, size_t n, size_t i, double span_s) {
    size_t k = i;
    while (k + 1 < n && (k == i || series_seconds(totals[i].t_ns, totals[k].t_ns) < span_s)) {
        k++;
    }
    double length_s = series_seconds(totals[i].t_ns, totals[k].t_ns);
    return length_s > 0 ? (totals[k].value - totals[i].value) / length_s : 0;
}

// `first` is the last reading at or before the edge, `last` the first one at or after it.
static void set_rates(const struct series_point *totals, size_t n, size_t first, size_t last,
                      double period_s, struct edge *out) {
    double between = first < last ? rate_of(totals, n, first) : 0;
    double before = first > 0 ? rate_before(totals, first, 2 * period_s) : between;
    double after = last + 1 < n ? rate_after(totals, n, last, 2 * period_s) : between;
    out->rate_before_per_s = first > 0 || first < last ? before : after;
    out->rate_per_s = fmax(fmax(before, after), between);
}

static enum wl_status find_edge(const struct series_point *totals, size_t n, int64_t t_ns,
                                double period_s, struct edge *out, struct wl_err *err) {
    *out = (struct edge){0};
    if (n == 0 || t_ns < totals[0].t_ns || t_ns > totals[n - 1].t_ns) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "no counter readings on both sides of %" PRId64 " ns (there are %zu)",
                          t_ns, n);
    }
    size_t after = series_first_at_or_after(totals, n, t_ns);
    if (totals[after].t_ns == t_ns) {
        out->total = totals[after].value;
        set_rates(totals, n, after, after, period_s, out);
        return WL_OK;
    }
    const struct series_point *a = &totals[after - 1], *b = &totals[after];
    double length_s = series_seconds(a->t_ns, b->t_ns);
    double share = series_seconds(a->t_ns, t_ns) / length_s;
    out->total = a->value + share_reached(totals, n, after - 1, share) * (b->value - a->value);
    set_rates(totals, n, after - 1, after, period_s, out);
    out->bound = share * (1 - share) * length_s * rate_change(totals, n, after - 1);
    out->is_between = true;
    return WL_OK;
}

enum wl_status series_counter_at(const struct series_point *totals, size_t n, int64_t t_ns,
                                 double *out, struct wl_err *err) {
    struct edge edge;
    enum wl_status status = find_edge(totals, n, t_ns, 0, &edge, err);
    if (status == WL_OK) {
        *out = edge.total;
    }
    return status;
}

static double hole_seconds(const struct series_counter *counter, int64_t t0_ns, int64_t t1_ns) {
    double sum_s = 0;
    for (size_t i = 0; i < counter->n_holes; i++) {
        const struct series_hole *hole = &counter->holes[i];
        int64_t from_ns = hole->t0_ns > t0_ns ? hole->t0_ns : t0_ns;
        int64_t to_ns = hole->t1_ns < t1_ns ? hole->t1_ns : t1_ns;
        if (to_ns > from_ns) {
            sum_s += series_seconds(from_ns, to_ns);
        }
    }
    return sum_s;
}

static void set_errors(const struct series_counter_spec *spec, const struct edge *start,
                       const struct edge *end, struct series_delta *out) {
    double period_s = (double)spec->update_period_ns * 1e-9;
    double r0 = start->rate_per_s, r1 = end->rate_per_s, q = spec->quantum;
    double stale_variance = period_s * period_s * (r0 * r0 + r1 * r1) / 12;
    double edge_variance = (start->bound * start->bound + end->bound * end->bound) / 12;
    double bias = period_s / 2 * (end->rate_before_per_s - start->rate_before_per_s);
    out->sd = sqrt(stale_variance + bias * bias + q * q / 6 + edge_variance);
    out->error_bound = period_s * fmax(r0, r1) + q + start->bound + end->bound;
}

enum wl_status series_counter_window(const struct series_point *totals, size_t n,
                                     const struct series_counter *counter, int64_t t0_ns,
                                     int64_t t1_ns, struct series_delta *out, struct wl_err *err) {
    *out = (struct series_delta){0};
    if (t1_ns <= t0_ns) {
        return wl_err_set(err, WL_INPUT,
                          "the window ends before it begins: %" PRId64 " to %" PRId64 " ns", t0_ns,
                          t1_ns);
    }
    struct edge start, end;
    double period_s = (double)counter->spec.update_period_ns * 1e-9;
    enum wl_status status = find_edge(totals, n, t0_ns, period_s, &start, err);
    if (status == WL_OK) {
        status = find_edge(totals, n, t1_ns, period_s, &end, err);
    }
    if (status != WL_OK) {
        return status;
    }
    const struct series_point *inside;
    double window_s = series_seconds(t0_ns, t1_ns);
    double covered_s = fmax(window_s - hole_seconds(counter, t0_ns, t1_ns), 0);
    out->delta = end.total - start.total;
    out->n_readings = series_slice(totals, n, t0_ns, t1_ns, &inside);
    out->coverage = covered_s / window_s;
    out->has_hole = covered_s < window_s;
    out->mean_rate_per_s = covered_s > 0 ? out->delta / covered_s : 0;
    out->is_interpolated = start.is_between || end.is_between;
    set_errors(&counter->spec, &start, &end, out);
    return WL_OK;
}
