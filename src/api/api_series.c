// Areas and counters of the public library.
#include <stdlib.h>

#include "api/api.h"
#include "series/auc.h"
#include "series/counter.h"

_Static_assert(sizeof(struct wattlaw_sample) == sizeof(struct series_point), "sample");

struct wattlaw_counter {
    struct series_counter counter;
    struct series totals;
};

static enum wl_status find_area(const struct series_point *points, size_t n, int64_t t0_ns,
                                int64_t t1_ns, const struct wattlaw_area_options *options,
                                struct series_area *area, struct wl_err *err) {
    int64_t period_ns = options->nominal_period_ns;
    if (period_ns == 0) {
        period_ns = series_median_period_ns(points, n);
    }
    if (period_ns == 0) {
        return wl_err_set(err, WL_INPUT,
                          "the nominal period is not given, and %zu samples do not show one", n);
    }
    return series_auc(points, n, t0_ns, t1_ns, options->baseline, period_ns, area, err);
}

enum wattlaw_status wattlaw_area(const struct wattlaw_sample *samples, size_t n, int64_t t0_ns,
                                 int64_t t1_ns, const struct wattlaw_area_options *options,
                                 struct wattlaw_area *out, struct wattlaw_error *error) {
    struct wattlaw_area_options full = {.size = sizeof full};
    if (!api_copy_in(&full, sizeof full, options)) {
        return api_missing("the options of the area", error);
    }
    struct series series;
    struct series_area area = {0};
    struct wl_err err = {0};
    enum wl_status status = WL_OK;
    series_init(&series, n);
    for (size_t i = 0; status == WL_OK && i < n; i++) { // checks order and finiteness
        status = series_push(&series, samples[i].t_ns, samples[i].value, &err);
    }
    if (status == WL_OK) {
        status = find_area(series.points, n, t0_ns, t1_ns, &full, &area, &err);
    }
    series_release(&series);
    const struct wattlaw_area value = {.size = sizeof value,
                                       .area_value_s = area.area_value_s,
                                       .mean = area.mean,
                                       .peak = area.peak,
                                       .coverage = area.coverage,
                                       .n_samples = area.n_samples,
                                       .n_gaps = area.n_gaps,
                                       .max_gap_ns = area.max_gap_ns,
                                       .error_bound = area.error_bound,
                                       .error_sd = area.error_sd};
    if (!api_copy_out(out, &value, sizeof value)) {
        return api_missing("the result of the area", error);
    }
    return api_result(status, &err, error);
}

enum wattlaw_status wattlaw_counter_new(const struct wattlaw_counter_options *options,
                                        struct wattlaw_counter **out, struct wattlaw_error *error) {
    struct wattlaw_counter_options full = {.size = sizeof full};
    if (!out || !api_copy_in(&full, sizeof full, options)) {
        return api_missing("the counter or its options", error);
    }
    struct wl_err err = {0};
    struct wattlaw_counter *counter = calloc(1, sizeof *counter);
    *out = counter;
    if (!counter) {
        return api_result(wl_err_set(&err, WL_MEMORY, "no memory for a counter"), &err, error);
    }
    const struct series_counter_spec spec = {.range = full.range,
                                             .max_rate_per_s = full.max_rate_per_s,
                                             .update_period_ns = full.update_period_ns,
                                             .quantum = full.quantum};
    series_counter_init(&counter->counter, &spec);
    series_init(&counter->totals, full.max_readings ? full.max_readings : 100000);
    return api_result(WL_OK, &err, error);
}

enum wattlaw_status wattlaw_counter_feed(struct wattlaw_counter *counter, uint64_t raw,
                                         int64_t t_ns, struct wattlaw_error *error) {
    struct wl_err err = {0};
    struct series_point point;
    enum wl_status status = WL_OK;
    if (counter->totals.n >= counter->totals.max_points) {
        status = wl_err_set(&err, WL_LIMIT, "the counter holds %zu readings, its maximum",
                            counter->totals.n);
    }
    if (status == WL_OK) {
        status = series_counter_feed(&counter->counter, raw, t_ns, &point, NULL, &err);
    }
    if (status == WL_OK) {
        status = series_push(&counter->totals, point.t_ns, point.value, &err);
    }
    return api_result(status, &err, error);
}

uint64_t wattlaw_counter_total(const struct wattlaw_counter *counter) {
    return counter->counter.total;
}

uint32_t wattlaw_counter_wraps(const struct wattlaw_counter *counter) {
    return counter->counter.n_wraps;
}

uint32_t wattlaw_counter_resets(const struct wattlaw_counter *counter) {
    return counter->counter.n_resets;
}

enum wattlaw_status wattlaw_counter_window(const struct wattlaw_counter *counter, int64_t t0_ns,
                                           int64_t t1_ns, struct wattlaw_delta *out,
                                           struct wattlaw_error *error) {
    struct wl_err err = {0};
    struct series_delta delta = {0};
    enum wl_status status = series_counter_window(counter->totals.points, counter->totals.n,
                                                  &counter->counter, t0_ns, t1_ns, &delta, &err);
    const struct wattlaw_delta value = {.size = sizeof value,
                                        .delta = delta.delta,
                                        .mean_rate_per_s = delta.mean_rate_per_s,
                                        .coverage = delta.coverage,
                                        .sd = delta.sd,
                                        .error_bound = delta.error_bound,
                                        .n_readings = delta.n_readings};
    if (!api_copy_out(out, &value, sizeof value)) {
        return api_missing("the result of the counter's window", error);
    }
    return api_result(status, &err, error);
}

void wattlaw_counter_free(struct wattlaw_counter *counter) {
    if (counter) {
        series_release(&counter->totals);
        free(counter);
    }
}

int64_t wattlaw_counter_max_poll_ns(uint64_t range, double max_rate_per_s) {
    return series_counter_max_poll_ns(range, max_rate_per_s);
}
