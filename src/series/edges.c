#include "series/edges.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "series/order.h"

enum { MIN_POINTS = 8, N_PASSES = 3, MAX_MEDIAN_WIDTH = 5 };

// One run over a signal. The arrays have one entry per point.
struct search {
    const struct series_point *points;
    size_t n;
    const struct series_edges_options *options;
    double *smooth;   // moving median
    double *gradient; // central difference per sample
    double *scratch;
    bool *is_busy;
    double baseline;
    double level_mad;
    double level_sd; // of the smoothed signal
    double gradient_mad;
    double height; // of the plateau above the baseline
    double threshold;
    bool uses_levels;
};

void series_edges_options_init(struct series_edges_options *options) {
    *options = (struct series_edges_options){.median_width = 3,
                                             .threshold_mads = 6,
                                             .release_share = 0.25,
                                             .merge_gap_ns = 1000000000,
                                             .min_window_ns = 2000000000,
                                             .lag_ns = 0,
                                             .min_height = 2};
}

static enum wl_status check_arguments(size_t n, const struct series_edges_options *options,
                                      struct wl_err *err) {
    size_t width = options->median_width;
    if (n < MIN_POINTS) {
        return wl_err_set(err, WL_INPUT, "finding windows needs at least %d samples, found %zu",
                          MIN_POINTS, n);
    }
    if (width != 1 && width != 3 && width != MAX_MEDIAN_WIDTH) {
        return wl_err_set(err, WL_INPUT, "the moving median's width is %zu, expected 1, 3 or 5",
                          width);
    }
    return WL_OK;
}

static bool allocate(struct search *search) {
    double *memory = calloc(search->n, 3 * sizeof *memory);
    bool *flags = calloc(search->n, sizeof *flags);
    if (!memory || !flags) {
        free(memory);
        free(flags);
        return false;
    }
    search->smooth = memory;
    search->gradient = memory + search->n;
    search->scratch = memory + 2 * search->n;
    search->is_busy = flags;
    return true;
}

// Near the ends the median takes what there is on both sides alike.
static void smooth_signal(struct search *search) {
    size_t half = search->options->median_width / 2, n = search->n;
    for (size_t i = 0; i < n; i++) {
        size_t reach = half;
        reach = i < reach ? i : reach;
        reach = n - 1 - i < reach ? n - 1 - i : reach;
        double values[MAX_MEDIAN_WIDTH];
        for (size_t k = 0; k <= 2 * reach; k++) {
            values[k] = search->points[i - reach + k].value;
        }
        search->smooth[i] = series_median_in_place(values, 2 * reach + 1);
    }
    for (size_t i = 0; i < n; i++) {
        size_t before = i ? i - 1 : i, after = i + 1 < n ? i + 1 : i;
        search->gradient[i] =
            (search->smooth[after] - search->smooth[before]) / (double)(after - before);
    }
}

static size_t stretch_length(const struct search *search) {
    int64_t period_ns = series_median_period_ns(search->points, search->n);
    size_t length = period_ns > 0 ? (size_t)(2000000000 / period_ns) : 5;
    length = length < 5 ? 5 : length;
    return length < search->n / 2 ? length : search->n / 2;
}

// Marks everything but the lowest stretch as busy: the start of the first pass. The lowest mean is
// also a stable one, since an edge within the stretch would raise it (its median would not show).
static void start_from_lowest_stretch(struct search *search) {
    size_t length = stretch_length(search), best = 0;
    double sum = 0, lowest = INFINITY;
    for (size_t i = 0; i < search->n; i++) {
        sum += search->smooth[i] - (i >= length ? search->smooth[i - length] : 0);
        if (i + 1 >= length && sum < lowest) {
            lowest = sum;
            best = i + 1 - length;
        }
    }
    for (size_t i = 0; i < search->n; i++) {
        search->is_busy[i] = i < best || i >= best + length;
    }
}

static bool is_idle(const struct search *search, size_t i) {
    size_t first = i < 2 ? 0 : i - 2, last = i + 2 < search->n ? i + 2 : search->n - 1;
    for (size_t k = first; k <= last; k++) {
        if (search->is_busy[k]) {
            return false;
        }
    }
    return true;
}

static size_t gather(struct search *search, const double *values, bool keeps_margin) {
    size_t n = 0;
    for (size_t i = 0; i < search->n; i++) {
        if (keeps_margin ? is_idle(search, i) : !search->is_busy[i]) {
            search->scratch[n++] = values ? values[i] : search->points[i].value;
        }
    }
    return n;
}

// Of the gathered values, about the baseline.
static double idle_sd(const struct search *search, size_t n) {
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        squares += pow(search->scratch[i] - search->baseline, 2);
    }
    return n ? sqrt(squares / (double)n) : 0;
}

// Baseline and noise from the samples outside the windows (and not next to one, if that leaves
// enough). The baseline is the mean after trimming 10 % at each end: the median of a signal that
// counts clock ticks is off by up to half a tick.
static void learn_idle(struct search *search) {
    bool keeps_margin = gather(search, NULL, true) >= 5;
    size_t n = gather(search, NULL, keeps_margin);
    if (n < 3) {
        return; // busy throughout: what the pass before found stays
    }
    series_sort(search->scratch, n);
    size_t cut = n / 10;
    double sum = 0;
    for (size_t i = cut; i < n - cut; i++) {
        sum += search->scratch[i];
    }
    search->baseline = sum / (double)(n - 2 * cut);
    search->level_mad = series_mad_in_place(search->scratch, n, search->baseline);
    search->level_sd = idle_sd(search, gather(search, search->smooth, keeps_margin));
    n = gather(search, search->gradient, keeps_margin);
    search->gradient_mad = series_mad_in_place(search->scratch, n, 0);
}

// The plateau: the median of the smoothed samples in the upper half of the range.
static void learn_height(struct search *search) {
    double high = search->baseline;
    size_t n = 0;
    for (size_t i = 0; i < search->n; i++) {
        high = fmax(high, search->smooth[i]);
    }
    for (size_t i = 0; i < search->n; i++) {
        if (search->smooth[i] > (search->baseline + high) / 2) {
            search->scratch[n++] = search->smooth[i];
        }
    }
    search->height = n ? series_median_in_place(search->scratch, n) - search->baseline : 0;
}

static void choose_method(struct search *search) {
    search->threshold = search->options->threshold_mads * search->gradient_mad;
    // A full step has a central difference of half its height in two samples.
    search->uses_levels =
        search->threshold > search->height / 4 || search->gradient_mad < 0.0005 * search->height;
}

static bool rises(const struct search *search, size_t i, double sign) {
    return i + 1 < search->n && sign * search->gradient[i] > search->threshold &&
           sign * search->gradient[i + 1] > search->threshold;
}

struct levels {
    double enter;
    double release;
};

// What separates busy from idle. In quiet signals a quarter of the plateau does, in noisy ones
// half.
static struct levels find_levels(const struct search *search) {
    double noise = 4 * 1.4826 * search->level_mad, share = noise > search->height / 4 ? 0.5 : 0.25;
    // A quantised signal may have a MAD of 0 and noise all the same.
    double enter = fmax(share * search->height, search->options->min_height);
    enter = fmax(enter, 4 * search->level_sd);
    if (!search->uses_levels) {
        enter = fmax(fmax(noise, search->options->min_height), 0.05 * search->height);
    }
    return (struct levels){search->baseline + enter, search->baseline + enter / 2};
}

static bool begins(const struct search *search, const struct levels *levels, size_t i) {
    if (search->smooth[i] <= levels->enter) {
        return false;
    }
    if (search->uses_levels || i == 0) {
        return true;
    }
    // The rise may lie up to two samples back; a slow ramp counts once it is clearly up.
    return rises(search, i, 1) || rises(search, i - 1, 1) || (i > 1 && rises(search, i - 2, 1)) ||
           search->smooth[i] > search->baseline + search->height / 2;
}

// `busy_height` is the window's own so far: hysteresis follows it.
static bool ends(const struct search *search, const struct levels *levels, size_t i,
                 double busy_height) {
    double release = search->baseline + search->options->release_share * busy_height;
    return search->smooth[i] <= fmax(levels->release, search->uses_levels ? 0 : release);
}

static void mark_busy(struct search *search) {
    struct levels levels = find_levels(search);
    bool is_busy = false;
    double height = 0;
    for (size_t i = 0; i < search->n; i++) {
        if (!is_busy && begins(search, &levels, i)) {
            is_busy = true;
            height = 0;
        } else if (is_busy && ends(search, &levels, i, height)) {
            is_busy = false;
        }
        if (is_busy) {
            // The height follows the signal slowly, so that one spike does not raise the release.
            double now = search->smooth[i] - search->baseline;
            height = height == 0 ? now : height + (now - height) / 4;
        }
        search->is_busy[i] = is_busy;
    }
}

static double crossing_share(double from, double to, double level) {
    return to == from ? 0.5 : fmin(fmax((level - from) / (to - from), 0), 1);
}

static int64_t time_between(const struct series_point *a, const struct series_point *b,
                            double share) {
    return a->t_ns + (int64_t)(share * series_seconds(a->t_ns, b->t_ns) * 1e9);
}

static double median_height(struct search *search, size_t first, size_t last) {
    size_t n = last - first + 1;
    for (size_t i = 0; i < n; i++) {
        search->scratch[i] = search->points[first + i].value;
    }
    return series_median_in_place(search->scratch, n) - search->baseline;
}

// How far above the baseline a sample may be and still be idle.
static double foot_level(const struct search *search, double height) {
    return search->baseline + fmax(3 * 1.4826 * search->level_mad, 0.03 * height);
}

// The samples first..last are busy; finds where the edges cross half the height, and the feet.
static struct series_window locate(struct search *search, size_t first, size_t last) {
    const struct series_point *points = search->points;
    struct series_window window = {.height = median_height(search, first, last)};
    double half = search->baseline + window.height / 2, foot = foot_level(search, window.height);
    size_t up = first, down = last;
    while (up < last && points[up].value < half) {
        up++;
    }
    while (down > first && points[down].value < half) {
        down--;
    }
    window.t0_ns = points[up].t_ns;
    if (up > 0) {
        double share = crossing_share(points[up - 1].value, points[up].value, half);
        window.t0_ns = time_between(&points[up - 1], &points[up], share);
    }
    window.t1_ns = points[down].t_ns;
    if (down + 1 < search->n) {
        double share = crossing_share(points[down].value, points[down + 1].value, half);
        window.t1_ns = time_between(&points[down], &points[down + 1], share);
    }
    size_t start = up ? up - 1 : 0, end = down + 1 < search->n ? down + 1 : down;
    for (int i = 0; i < 2 && start > 0 && points[start].value > foot; i++) {
        start--;
    }
    for (int i = 0; i < 2 && end + 1 < search->n && points[end].value > foot; i++) {
        end++;
    }
    window.foot0_ns = points[start].t_ns;
    window.foot1_ns = points[end].t_ns;
    return window;
}

// Gaps between windows that are shorter than merge_gap_ns become busy.
static void close_gaps(struct search *search) {
    size_t n = search->n, last_busy = n;
    for (size_t i = 0; i < n; i++) {
        if (!search->is_busy[i]) {
            continue;
        }
        if (last_busy < n && last_busy + 1 < i &&
            search->points[i].t_ns - search->points[last_busy].t_ns <=
                search->options->merge_gap_ns) {
            memset(search->is_busy + last_busy + 1, 1, i - last_busy - 1);
        }
        last_busy = i;
    }
}

static bool is_kept(const struct search *search, const struct series_window *window) {
    return window->t1_ns - window->t0_ns >= search->options->min_window_ns &&
           window->height >= search->options->min_height;
}

static void collect(struct search *search, struct series_window *windows, size_t max_windows,
                    struct series_edges *out) {
    for (size_t i = 0; i < search->n; i++) {
        size_t first = i;
        while (i < search->n && search->is_busy[i]) {
            i++;
        }
        if (i == first) {
            continue;
        }
        struct series_window window = locate(search, first, i - 1);
        if (!is_kept(search, &window)) {
            out->n_dropped++;
        } else if (out->n_windows == max_windows) {
            out->is_truncated = true;
        } else {
            window.t0_ns -= search->options->lag_ns;
            window.t1_ns -= search->options->lag_ns;
            windows[out->n_windows++] = window;
            out->n_open += first == 0 || i == search->n;
        }
    }
}

static void run(struct search *search) {
    smooth_signal(search);
    start_from_lowest_stretch(search);
    for (int pass = 0; pass < N_PASSES; pass++) {
        learn_idle(search);
        learn_height(search);
        choose_method(search);
        mark_busy(search);
        close_gaps(search);
    }
    learn_idle(search);
}

enum wl_status series_edges_find(const struct series_point *points, size_t n,
                                 const struct series_edges_options *options,
                                 struct series_window *windows, size_t max_windows,
                                 struct series_edges *out, struct wl_err *err) {
    *out = (struct series_edges){0};
    struct search search = {.points = points, .n = n, .options = options};
    enum wl_status status = check_arguments(n, options, err);
    if (status != WL_OK) {
        return status;
    }
    if (!allocate(&search)) {
        return wl_err_set(err, WL_MEMORY, "no memory to search %zu samples", n);
    }
    run(&search);
    collect(&search, windows, max_windows, out);
    out->baseline = search.baseline;
    out->idle_mad = search.level_mad;
    out->threshold = search.threshold;
    out->used_levels = search.uses_levels;
    free(search.smooth);
    free(search.is_busy);
    return WL_OK;
}
