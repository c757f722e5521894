#include "measure/idle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "measure/idle_power.h"
#include "measure/pause.h"
#include "measure/settle.h"
#include "os/clock.h"
#include "os/machine.h"
#include "sampler/sampler.h"

enum { WANTED_BINS = 8 };
static const double MAX_SECONDS = 90;
static const int64_t CPU_BIN_NS = 500000000; // ticks are 10 ms: 0.5 s resolves 1 % of two cores

// Machine CPU % between rows at least CPU_BIN_NS apart.
static void find_cpu(const struct sampler_row *rows, size_t n, struct idle *out) {
    struct series points;
    series_init(&points, n + 1);
    size_t last = 0;
    for (size_t i = 1; i < n; i++) {
        double seconds = series_seconds(rows[last].t_ns, rows[i].t_ns);
        if (!(rows[i].flags & SAMPLER_HAS_MACHINE) || rows[i].t_ns - rows[last].t_ns < CPU_BIN_NS) {
            continue;
        }
        double busy_s = rows[i].machine_busy_s - rows[last].machine_busy_s;
        series_push(&points, rows[i].t_ns, 100 * busy_s / seconds / os_n_cores(), NULL);
        last = i;
    }
    if (series_baseline_find(points.points, points.n, &out->cpu_pct, NULL) == WL_OK &&
        series_share_above(points.points, points.n, IDLE_MAX_CPU_PCT) > 0.1) {
        out->flags |= RECORD_BUSY;
    }
    series_release(&points);
}

static void find_baselines(struct subject *subject, struct sampler *sampler,
                           const struct sampler_row *rows, size_t n, struct idle *out) {
    find_cpu(rows, n, out);
    for (size_t i = 0; i < subject->meters.n; i++) {
        const struct meter_info *info = meter_info(subject->meters.meter[i]);
        str_copy(out->power[i].source, sizeof out->power[i].source, info->name);
        if (info->kind != METER_MODEL) {
            struct idle_power *power = &out->power[i];
            power->is_valid =
                idle_power_find(sampler, i, info, out->t0_ns, out->t1_ns, &power->watts);
            if (out->power[i].is_valid && out->power[i].watts.is_drifting) {
                out->flags |= RECORD_IDLE_DRIFT;
            }
        }
    }
    out->n_powers = subject->meters.n;
    if (n >= 2 && rows[n - 1].t_ns > rows[0].t_ns) {
        out->engine_core_s_per_s = (double)(rows[n - 1].process_cpu_ns - rows[0].process_cpu_ns) /
                                   (double)(rows[n - 1].t_ns - rows[0].t_ns);
    }
}

// A slow meter needs a longer stretch for as many bins.
static double seconds_for_meters(const struct meter_set *meters) {
    double longest_s = 0;
    for (size_t i = 0; i < meters->n; i++) {
        const struct meter_info *info = meter_info(meters->meter[i]);
        if (info->kind != METER_MODEL) {
            longest_s = fmax(longest_s, WANTED_BINS * (double)idle_power_bin_ns(info) * 1e-9);
        }
    }
    return fmin(longest_s, MAX_SECONDS);
}

enum wl_status idle_measure(struct subject *subject, double seconds, struct idle *out,
                            struct wl_err *err) {
    memset(out, 0, sizeof *out);
    struct sampler_options options = {.pid = engine_pid(subject->engine),
                                      .meters = subject->meters.meter,
                                      .n_meters = subject->meters.n};
    struct sampler *sampler;
    enum wl_status status = sampler_start(&options, &sampler, err);
    if (status != WL_OK) {
        return status;
    }
    seconds = fmax(fmax(seconds, 1), seconds_for_meters(&subject->meters));
    status = settle_begin(sampler, &subject->meters, err);
    out->wall_ns = os_wall_ns();
    out->t0_ns = os_now_ns();
    if (status == WL_OK) {
        status = pause_until(out->t0_ns + (int64_t)(seconds * (double)UNITS_NS_PER_S), err);
    }
    out->t1_ns = os_now_ns();
    if (status == WL_OK) {
        status = settle_end(sampler, &subject->meters, out->t1_ns, err);
    }
    sampler_stop(sampler);
    const struct sampler_row *rows;
    size_t n;
    if (status == WL_OK && (status = sampler_rows(sampler, &rows, &n, err)) == WL_OK) {
        find_baselines(subject, sampler, rows, n, out);
    }
    sampler_free(sampler);
    return status;
}

struct series_baseline_level idle_power_at(const struct subject *subject, size_t index,
                                           const struct idle *before, const struct idle *after,
                                           int64_t t_ns) {
    struct series_baseline_level level = {.value = NAN, .sd = NAN};
    if (meter_info(subject->meters.meter[index])->kind == METER_MODEL) {
        level.value = subject->estimate.idle_w;
        level.sd = subject->estimate.idle_sd_w;
    } else if (before && index < before->n_powers && before->power[index].is_valid) {
        bool has_after = after && index < after->n_powers && after->power[index].is_valid;
        series_baseline_at(&before->power[index].watts,
                           has_after ? &after->power[index].watts : NULL, t_ns, &level);
    }
    return level;
}
