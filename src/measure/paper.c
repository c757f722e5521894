#include "measure/paper.h"

#include "series/auc.h"
#include "series/edges.h"
#include "series/resample.h"

enum { MAX_WINDOWS = 32 };
static const int64_t PERIOD_NS = 200000000; // 5 Hz

// Machine CPU % at 5 Hz from the busy seconds of the rows.
static enum wl_status cpu_signal(const struct sampler_row *rows, size_t n, int n_cores,
                                 struct series *out, struct wl_err *err) {
    struct series busy;
    series_init(&busy, n + 1);
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        if (rows[i].flags & SAMPLER_HAS_MACHINE) {
            status = series_push(&busy, rows[i].t_ns, rows[i].machine_busy_s, err);
        }
    }
    if (status == WL_OK) {
        status = series_resample_counter(busy.points, busy.n, PERIOD_NS, 100.0 / n_cores, out, err);
    }
    series_release(&busy);
    return status;
}

static int64_t overlap_ns(const struct series_window *window, int64_t t0_ns, int64_t t1_ns) {
    int64_t from = window->t0_ns > t0_ns ? window->t0_ns : t0_ns;
    int64_t to = window->t1_ns < t1_ns ? window->t1_ns : t1_ns;
    return to - from;
}

static const struct series_window *pick_window(const struct series_window *windows, size_t n,
                                               int64_t t0_ns, int64_t t1_ns) {
    const struct series_window *best = NULL;
    for (size_t i = 0; i < n; i++) {
        int64_t overlap = overlap_ns(&windows[i], t0_ns, t1_ns);
        if (overlap > 0 && (!best || overlap > overlap_ns(best, t0_ns, t1_ns))) {
            best = &windows[i];
        }
    }
    return best;
}

static enum wl_status find_area(const struct series *cpu, int64_t t0_ns, int64_t t1_ns,
                                struct paper_result *out, struct wl_err *err) {
    struct series_edges_options options;
    series_edges_options_init(&options);
    options.lag_ns = PERIOD_NS / 2;
    struct series_window windows[MAX_WINDOWS];
    struct series_edges edges;
    enum wl_status status =
        series_edges_find(cpu->points, cpu->n, &options, windows, MAX_WINDOWS, &edges, err);
    if (status != WL_OK) {
        return status;
    }
    const struct series_window *window = pick_window(windows, edges.n_windows, t0_ns, t1_ns);
    if (!window) {
        return wl_err_set(err, WL_NOT_FOUND, "no window stands out in the CPU signal");
    }
    struct series_area area;
    status = series_auc(cpu->points, cpu->n, window->foot0_ns, window->foot1_ns, edges.baseline,
                        PERIOD_NS, &area, err);
    *out = (struct paper_result){.auc_pct_s = area.area_value_s,
                                 .baseline_pct = edges.baseline,
                                 .t0_ns = window->t0_ns,
                                 .t1_ns = window->t1_ns,
                                 .used_levels = edges.used_levels};
    return status;
}

enum wl_status paper_cpu_auc(const struct sampler_row *rows, size_t n, int n_cores, int64_t t0_ns,
                             int64_t t1_ns, struct paper_result *out, struct wl_err *err) {
    struct series cpu;
    series_init(&cpu, 1000000);
    enum wl_status status = cpu_signal(rows, n, n_cores, &cpu, err);
    if (status == WL_OK) {
        status = find_area(&cpu, t0_ns, t1_ns, out, err);
    }
    series_release(&cpu);
    return status;
}
