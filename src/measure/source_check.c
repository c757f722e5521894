#include "measure/source_check.h"

#include <math.h>
#include <stdlib.h>

#include "measure/pause.h"
#include "meter/meter_total.h"
#include "os/clock.h"
#include "stats/describe.h"

enum { MAX_READINGS = 40000 };
static const int64_t STEP_NS = 200000, SLOW_STEP_NS = 20000000, BIN_NS = 100000000;

struct look {
    const struct meter_info *info;
    struct meter_total *total;
    double *change_s; // between changes of the value
    double *cost_ns;  // of each read
    double *power_w;  // of each bin (counter) or refresh (gauge)
    size_t n_changes, n_costs, n_powers;
    double last_value, bin_j;
    int64_t last_change_ns, bin_ns;
    bool has_value;
};

// All counted channels together, so that one that stands still does not hide the others.
static double value_of(const struct meter_info *info, const struct meter_reading *reading) {
    double sum = 0;
    for (size_t i = 0; i < info->n_channels; i++) {
        if (info->channel[i].is_counted) {
            sum += meter_kind_is_counter(info->kind)
                       ? (double)reading->channel[i].raw * info->channel[i].scale
                       : reading->channel[i].value * info->channel[i].scale;
        }
    }
    return sum;
}

static void note_power(struct look *look, const struct meter_total_sample *sample, bool is_new) {
    if (!meter_kind_is_counter(look->info->kind)) {
        if (is_new && isfinite(sample->power_w)) {
            look->power_w[look->n_powers++] = sample->power_w;
        }
        return;
    }
    if (look->bin_ns == 0 || sample->t_ns - look->bin_ns >= BIN_NS) {
        if (look->bin_ns != 0) {
            double seconds = (double)(sample->t_ns - look->bin_ns) * 1e-9;
            look->power_w[look->n_powers++] = (sample->total_j - look->bin_j) / seconds;
        }
        look->bin_ns = sample->t_ns;
        look->bin_j = sample->total_j;
    }
}

static enum wl_status take(struct look *look, struct meter *meter, struct source_check *out,
                           bool *has_more, struct wl_err *err) {
    struct meter_reading reading;
    struct meter_total_sample sample;
    int64_t before_ns = os_now_ns();
    enum wl_status status = meter_read(meter, &reading, err);
    look->cost_ns[look->n_costs++] = (double)(os_now_ns() - before_ns);
    *has_more = status == WL_OK && reading.has_more;
    if (status != WL_OK || reading.is_empty) {
        return status;
    }
    out->n_readings++;
    status = meter_total_feed(look->total, &reading, &sample, err);
    if (status != WL_OK || !sample.is_valid) {
        out->n_gaps++;
        return WL_OK; // out of order or no value: a gap, the look goes on
    }
    double value = value_of(look->info, &reading);
    // Streamed readings are new by themselves; else a value that stays has not been refreshed.
    bool is_new = !look->has_value || value != look->last_value;
    if (is_new) {
        if (look->has_value && sample.t_ns > look->last_change_ns) {
            look->change_s[look->n_changes++] = (double)(sample.t_ns - look->last_change_ns) * 1e-9;
        }
        look->last_change_ns = sample.t_ns;
        look->last_value = value;
        look->has_value = true;
    }
    note_power(look, &sample, is_new);
    return WL_OK;
}

// Half the mean square of successive differences: slow drift does not count as noise.
static double noise_sd(const double *values, size_t n) {
    double sum = 0;
    for (size_t i = 1; i < n; i++) {
        sum += (values[i] - values[i - 1]) * (values[i] - values[i - 1]);
    }
    return n >= 4 ? sqrt(sum / (2.0 * (double)(n - 1))) : (double)NAN;
}

static void conclude(struct look *look, struct source_check *out) {
    out->n_changes = look->n_changes;
    out->noise_sd_w = noise_sd(look->power_w, look->n_powers);
    out->power_w = look->n_powers ? stats_mean(look->power_w, look->n_powers) : (double)NAN;
    if (look->n_changes >= 3) {
        out->period_ns = (int64_t)(stats_median_in_place(look->change_s, look->n_changes) * 1e9);
    }
    if (look->n_costs) {
        out->read_ns = (int64_t)stats_median_in_place(look->cost_ns, look->n_costs);
    }
    out->min_window_ns = meter_min_window_ns(look->info, isfinite(out->power_w) ? out->power_w : 0);
}

static enum wl_status look_on(struct look *look, struct meter *meter, double seconds,
                              struct source_check *out, struct wl_err *err) {
    int64_t step_ns = look->info->may_block ? SLOW_STEP_NS : STEP_NS;
    int64_t until_ns = os_now_ns() + (int64_t)(seconds * 1e9);
    enum wl_status status = WL_OK;
    while (status == WL_OK && os_now_ns() < until_ns && look->n_costs < MAX_READINGS) {
        bool has_more;
        status = take(look, meter, out, &has_more, err);
        if (status == WL_OK && !has_more) {
            status = pause_until(os_now_ns() + step_ns, err);
        }
    }
    return status;
}

enum wl_status source_check(struct meter *meter, double seconds, struct source_check *out,
                            struct wl_err *err) {
    *out = (struct source_check){.power_w = (double)NAN, .noise_sd_w = (double)NAN};
    struct look look = {.info = meter_info(meter)};
    double *memory = calloc(3 * (size_t)MAX_READINGS, sizeof *memory);
    if (!memory) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    look.change_s = memory;
    look.cost_ns = memory + MAX_READINGS;
    look.power_w = memory + 2 * (size_t)MAX_READINGS;
    struct meter_total_options options = {.max_points = MAX_READINGS};
    enum wl_status status = meter_total_new(look.info, &options, &look.total, err);
    if (status == WL_OK) {
        status = look_on(&look, meter, seconds, out, err);
        conclude(&look, out);
    }
    meter_total_free(look.total);
    free(memory);
    return status;
}
