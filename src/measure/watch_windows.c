#include "measure/watch_windows.h"

#include <math.h>
#include <stdlib.h>

#include "os/machine.h"
#include "series/auc.h"
#include "series/baseline.h"
#include "series/edges.h"
#include "series/resample.h"

static const int64_t PERIOD_NS = 200000000; // 5 Hz
static const int64_t MIN_WINDOW_NS = 1000000000, MERGE_GAP_NS = 600000000;

struct signals {
    struct series tree_s;    // core-seconds of the tree, running
    struct series machine_s; // of the machine
    struct series ram_mib;
    struct series tree_pct;    // at 5 Hz
    struct series machine_pct; // at 5 Hz
};

static enum wl_status make_signals(const struct watch_track *track, struct signals *s,
                                   struct wl_err *err) {
    size_t n = track->n_points;
    struct series *all[] = {&s->tree_s, &s->machine_s, &s->ram_mib};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        series_init(all[i], n + 1);
    }
    series_init(&s->tree_pct, 1000000);
    series_init(&s->machine_pct, 1000000);
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        const struct watch_point *p = &track->point[i];
        status = series_push(&s->tree_s, p->t_ns, (double)p->tree_cpu_ns * 1e-9, err);
        if (status == WL_OK) {
            status = series_push(&s->machine_s, p->t_ns, p->machine_busy_s, err);
        }
        if (status == WL_OK) {
            status = series_push(&s->ram_mib, p->t_ns, p->ram_mib, err);
        }
    }
    double scale = 100.0 / os_n_cores();
    if (status == WL_OK) {
        status = series_resample_counter(s->tree_s.points, n, PERIOD_NS, scale, &s->tree_pct, err);
    }
    return status == WL_OK ? series_resample_counter(s->machine_s.points, n, PERIOD_NS, scale,
                                                     &s->machine_pct, err)
                           : status;
}

static void release(struct signals *s) {
    series_release(&s->tree_s);
    series_release(&s->machine_s);
    series_release(&s->ram_mib);
    series_release(&s->tree_pct);
    series_release(&s->machine_pct);
}

// The machine's load outside all windows: the median.
static double rest_pct(const struct series *machine, const struct series_window *windows,
                       size_t n_windows) {
    struct series rest;
    series_init(&rest, machine->n + 1);
    size_t next = 0;
    for (size_t i = 0; i < machine->n; i++) {
        int64_t t_ns = machine->points[i].t_ns;
        while (next < n_windows && windows[next].foot1_ns < t_ns) {
            next++;
        }
        if (next == n_windows || t_ns < windows[next].foot0_ns) {
            series_push(&rest, t_ns, machine->points[i].value, NULL);
        }
    }
    struct series_baseline baseline;
    bool is_found = series_baseline_find(rest.points, rest.n, &baseline, NULL) == WL_OK;
    series_release(&rest);
    return is_found ? baseline.level : (double)NAN;
}

static double area(const struct series *signal, int64_t t0_ns, int64_t t1_ns, double baseline,
                   int64_t period_ns) {
    struct series_area a;
    bool is_found =
        isfinite(baseline) && period_ns > 0 &&
        series_auc(signal->points, signal->n, t0_ns, t1_ns, baseline, period_ns, &a, NULL) == WL_OK;
    return is_found ? a.area_value_s : (double)NAN;
}

// The total at t, on a straight line between samples and held beyond them.
static double total_at(const struct series *totals, int64_t t_ns) {
    size_t after = series_first_at_or_after(totals->points, totals->n, t_ns);
    if (after == 0 || after == totals->n) {
        return totals->points[after == 0 ? 0 : totals->n - 1].value;
    }
    const struct series_point *a = &totals->points[after - 1], *b = &totals->points[after];
    return a->value +
           (b->value - a->value) * series_seconds(a->t_ns, t_ns) / series_seconds(a->t_ns, b->t_ns);
}

// Gross in the window itself; net between its feet, which loses nothing of a rise or fall.
static void fill_energy(const struct watch_track *track, const struct series_window *window,
                        size_t index, const struct watch_idle *idle, struct watch_energy *out) {
    const struct meter_info *info = meter_info(track->meters->meter[index]);
    struct meter_energy e;
    watch_energy_name(info, out);
    if (sampler_energy(track->sampler, index, window->t0_ns, window->t1_ns, &e, NULL) != WL_OK) {
        out->flags |= RECORD_GAP;
        return;
    }
    watch_energy_fill(info, &e, series_seconds(window->t0_ns, window->t1_ns), idle->watts[index],
                      idle->watts_sd[index], out);
    struct watch_energy whole;
    if (sampler_energy(track->sampler, index, window->foot0_ns, window->foot1_ns, &e, NULL) ==
        WL_OK) {
        watch_energy_fill(info, &e, series_seconds(window->foot0_ns, window->foot1_ns),
                          idle->watts[index], idle->watts_sd[index], &whole);
        out->net_j = whole.net_j;
        out->net_sd_j = whole.net_sd_j;
        out->net_says = whole.net_says;
    }
}

static void fill_window(const struct watch_track *track, const struct signals *s,
                        const struct series_window *found, double rest,
                        const struct watch_result *result, struct watch_window *out) {
    *out = (struct watch_window){.t0_ns = found->t0_ns, .t1_ns = found->t1_ns};
    out->cpu_core_s = total_at(&s->tree_s, found->foot1_ns) - total_at(&s->tree_s, found->foot0_ns);
    out->cpu_auc_pct_s = 100 * out->cpu_core_s / os_n_cores();
    out->cpu_auc_paper_pct_s =
        area(&s->machine_pct, found->foot0_ns, found->foot1_ns, rest, PERIOD_NS);
    out->ram_auc_mib_s = area(&s->ram_mib, found->t0_ns, found->t1_ns, 0, track->period_ns);
    for (size_t i = 0; i < track->meters->n; i++) {
        fill_energy(track, found, i, &result->idle, &out->energy[i]);
    }
}

static enum wl_status find(const struct watch_track *track, const struct signals *s,
                           struct series_window *windows, struct watch_result *out,
                           struct wl_err *err) {
    struct series_edges_options options;
    struct series_edges edges;
    series_edges_options_init(&options);
    options.lag_ns = PERIOD_NS / 2;
    options.min_window_ns = MIN_WINDOW_NS;
    options.merge_gap_ns = MERGE_GAP_NS;
    enum wl_status status = series_edges_find(s->tree_pct.points, s->tree_pct.n, &options, windows,
                                              WATCH_MAX_WINDOWS, &edges, err);
    if (status != WL_OK) {
        return status;
    }
    double rest = rest_pct(&s->machine_pct, windows, edges.n_windows);
    for (size_t i = 0; i < edges.n_windows; i++) {
        fill_window(track, s, &windows[i], rest, out, &out->window[i]);
    }
    out->n_windows = edges.n_windows;
    return WL_OK;
}

enum wl_status watch_windows_find(const struct watch_track *track, struct watch_result *out,
                                  struct wl_err *err) {
    struct signals signals = {0};
    struct series_window *windows = malloc(WATCH_MAX_WINDOWS * sizeof *windows);
    if (!windows) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    out->has_windows = true;
    bool has_dropped = track->n_points && track->point[0].t_ns > out->t0_ns;
    out->windows_from_ns = has_dropped ? track->point[0].t_ns : out->t0_ns;
    enum wl_status status = make_signals(track, &signals, err);
    if (status == WL_OK && signals.tree_pct.n >= 8) { // fewer: nothing could be told apart
        status = find(track, &signals, windows, out, err);
    }
    release(&signals);
    free(windows);
    return status;
}
