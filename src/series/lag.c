#include "series/lag.h"

#include <math.h>
#include <stdlib.h>

enum { MIN_POINTS = 10 };
static const double MIN_LAG_S = -1, MAX_LAG_S = 6, LAG_STEP_S = 0.1;
enum { N_LAGS = 71 }; // from MIN_LAG_S to MAX_LAG_S
static const double TAUS_S[] = {0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0};
enum { N_TAUS = sizeof TAUS_S / sizeof TAUS_S[0] };
static const double MAX_TAU_S = 4;
static const double GRID_S = 0.02;     // of the signal
static const double FINEST_S = 0.0005; // where the pattern search ends
static const double MIN_CORRELATION = 0.5;
enum { MAX_GRID = 100000 };

// The signal on an even grid, and the same smoothed.
struct search {
    const struct series_point *power;
    size_t n_power;
    int64_t origin_ns;
    double signal_period_s;
    double *signal, *smooth;
    size_t n;
    double tau_s; // of `smooth`
};

// What one choice of lag and tau explains.
struct score {
    double correlation;
    double unexplained; // share of the power's variance: 1 - correlation^2
    double slope, intercept;
};

static void smooth_signal(struct search *s, double tau_s) {
    // Exact for a signal that is constant over each step of the grid.
    double keep = tau_s > 0 ? exp(-GRID_S / tau_s) : 0;
    s->smooth[0] = s->signal[0];
    for (size_t i = 1; i < s->n; i++) {
        // The middle of the step before and this one: no delay of the grid's own.
        double input = tau_s > 0 ? (s->signal[i - 1] + s->signal[i]) / 2 : s->signal[i];
        s->smooth[i] = keep * s->smooth[i - 1] + (1 - keep) * input;
    }
    s->tau_s = tau_s;
}

static double signal_at(const struct search *s, int64_t t_ns, double lag_s) {
    double at = (series_seconds(s->origin_ns, t_ns) - lag_s) / GRID_S;
    if (at <= 0) {
        return s->smooth[0];
    }
    if (at >= (double)(s->n - 1)) {
        return s->smooth[s->n - 1];
    }
    size_t i = (size_t)at;
    double share = at - (double)i;
    return s->smooth[i] + share * (s->smooth[i + 1] - s->smooth[i]);
}

static struct score score_of(struct search *s, double lag_s, double tau_s) {
    if (tau_s != s->tau_s) {
        smooth_signal(s, tau_s);
    }
    double mean_u = 0, mean_p = 0, uu = 0, pp = 0, up = 0;
    for (size_t i = 0; i < s->n_power; i++) {
        // Welford's updates of the two variances and the covariance.
        double u = signal_at(s, s->power[i].t_ns, lag_s), p = s->power[i].value;
        double n = (double)(i + 1), du = u - mean_u, dp = p - mean_p;
        mean_u += du / n;
        mean_p += dp / n;
        uu += du * (u - mean_u);
        pp += dp * (p - mean_p);
        up += du * (p - mean_p);
    }
    struct score score = {.unexplained = 1, .intercept = mean_p};
    if (uu > 0 && pp > 0) {
        score.correlation = up / sqrt(uu * pp);
        score.slope = up / uu;
        score.intercept = mean_p - score.slope * mean_u;
        // More power with less work is no answer.
        score.unexplained = up > 0 ? 1 - score.correlation * score.correlation : 1;
    }
    return score;
}

static bool is_ordered(const struct series_point *points, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(points[i].value) || (i && points[i].t_ns < points[i - 1].t_ns)) {
            return false;
        }
    }
    return true;
}

static enum wl_status make_grid(struct search *s, const struct series_point *signal, size_t n,
                                struct wl_err *err) {
    double length_s = series_seconds(signal[0].t_ns, signal[n - 1].t_ns);
    double steps = ceil(length_s / GRID_S) + 1;
    if (!(steps >= 2 && steps <= MAX_GRID)) {
        wl_err_set(err, WL_INPUT, "the signal is %g s long, expected up to %g s", length_s,
                   MAX_GRID * GRID_S);
        return WL_INPUT;
    }
    s->n = (size_t)steps;
    s->origin_ns = signal[0].t_ns;
    s->signal_period_s = (double)series_median_period_ns(signal, n) * 1e-9;
    s->signal = malloc(s->n * sizeof *s->signal);
    s->smooth = malloc(s->n * sizeof *s->smooth);
    if (!s->signal || !s->smooth) {
        wl_err_set(err, WL_MEMORY, "out of memory");
        return WL_MEMORY;
    }
    size_t right = 1;
    for (size_t i = 0; i < s->n; i++) {
        double t_s = (double)i * GRID_S;
        while (right + 1 < n && series_seconds(s->origin_ns, signal[right].t_ns) < t_s) {
            right++;
        }
        const struct series_point *a = &signal[right - 1], *b = &signal[right];
        double from_s = series_seconds(s->origin_ns, a->t_ns);
        double step_s = series_seconds(a->t_ns, b->t_ns);
        double share = step_s > 0 ? fmin(fmax((t_s - from_s) / step_s, 0), 1) : 1;
        s->signal[i] = a->value + share * (b->value - a->value);
    }
    smooth_signal(s, 0);
    return WL_OK;
}

static double clamp(double value, double low, double high) {
    return value < low ? low : value > high ? high : value;
}

static void search_grid(struct search *s, double *lag_s, double *tau_s) {
    double best = 2;
    for (size_t k = 0; k < N_TAUS; k++) {
        for (int i = 0; i < N_LAGS; i++) {
            double lag = MIN_LAG_S + i * LAG_STEP_S;
            double unexplained = score_of(s, lag, TAUS_S[k]).unexplained;
            if (unexplained < best) {
                best = unexplained;
                *lag_s = lag;
                *tau_s = TAUS_S[k];
            }
        }
    }
}

// Tries the neighbours, the diagonals (less lag, more smoothing) included, and halves the step when
// none is better.
static void search_pattern(struct search *s, double *lag_s, double *tau_s) {
    static const double MOVES[][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}, {1, -1}, {-1, 1}};
    double best = score_of(s, *lag_s, *tau_s).unexplained;
    for (double step_s = LAG_STEP_S; step_s > FINEST_S;) {
        bool is_better = false;
        for (size_t i = 0; i < sizeof MOVES / sizeof MOVES[0]; i++) {
            double lag = clamp(*lag_s + step_s * MOVES[i][0], MIN_LAG_S, MAX_LAG_S);
            double tau = clamp(*tau_s + step_s * MOVES[i][1], 0, MAX_TAU_S);
            double unexplained = score_of(s, lag, tau).unexplained;
            if (unexplained < best) {
                best = unexplained;
                *lag_s = lag;
                *tau_s = tau;
                is_better = true;
            }
        }
        step_s = is_better ? step_s : step_s / 2;
    }
}

// Of one reading; neighbouring readings err alike: their lag-1 autocorrelation.
static double residual_variance(struct search *s, double lag_s, double tau_s,
                                double *autocorrelation) {
    struct score score = score_of(s, lag_s, tau_s);
    double before = 0, products = 0, squares = 0;
    for (size_t i = 0; i < s->n_power; i++) {
        double fitted = score.intercept + score.slope * signal_at(s, s->power[i].t_ns, lag_s);
        double residual = s->power[i].value - fitted;
        products += i ? before * residual : 0;
        squares += residual * residual;
        before = residual;
    }
    *autocorrelation = squares > 0 ? clamp(products / squares, 0, 0.95) : 0;
    return squares / fmax((double)s->n_power - 4, 1);
}

// How the fitted power changes with lag and smoothing, at each reading.
struct slopes {
    double *lag, *tau, *signal;
};

static void find_slopes(struct search *s, double lag_s, double tau_s, double step_s,
                        struct slopes *out) {
    double slope = score_of(s, lag_s, tau_s).slope;
    for (size_t i = 0; i < s->n_power; i++) {
        int64_t t_ns = s->power[i].t_ns;
        double later = signal_at(s, t_ns, lag_s + step_s),
               sooner = signal_at(s, t_ns, lag_s - step_s);
        out->signal[i] = signal_at(s, t_ns, lag_s);
        out->lag[i] = slope * (later - sooner) / (2 * step_s);
    }
    smooth_signal(s, tau_s + step_s); // one-sided: there is no tau below 0
    for (size_t i = 0; i < s->n_power; i++) {
        double smoother = signal_at(s, s->power[i].t_ns, lag_s);
        out->tau[i] = slope * (smoother - out->signal[i]) / step_s;
    }
}

static double mean_of(const double *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
    }
    return sum / (double)n;
}

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

// What is left of `values` once `other` (of mean 0) is taken out.
static void take_out(double *values, const double *other, size_t n) {
    double squares = dot(other, other, n);
    double share = squares > 0 ? dot(values, other, n) / squares : 0;
    for (size_t i = 0; i < n; i++) {
        values[i] -= share * other[i];
    }
}

static void centre(double *values, size_t n) {
    double mean = mean_of(values, n);
    for (size_t i = 0; i < n; i++) {
        values[i] -= mean;
    }
}

// The lag's variance as least squares has it: residual variance over what of the lag's column is
// explained neither by the constant, nor by the signal, nor by smoothing.
static double fit_variance(struct search *s, double lag_s, double tau_s, double step_s,
                           double *columns) {
    size_t n = s->n_power;
    struct slopes slopes = {columns, columns + n, columns + 2 * n};
    double r;
    double noise = residual_variance(s, lag_s, tau_s, &r);
    find_slopes(s, lag_s, tau_s, step_s, &slopes);
    centre(slopes.signal, n);
    centre(slopes.lag, n);
    centre(slopes.tau, n);
    take_out(slopes.lag, slopes.signal, n);
    take_out(slopes.tau, slopes.signal, n);
    take_out(slopes.lag, slopes.tau, n);
    double squares = dot(slopes.lag, slopes.lag, n);
    return squares > 0 ? noise * (1 + r) / (1 - r) / squares : INFINITY;
}

// Passages of the signal through its middle: what the lag can be told by.
static size_t count_steps(const struct search *s) {
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < s->n; i++) {
        low = fmin(low, s->signal[i]);
        high = fmax(high, s->signal[i]);
    }
    size_t n_steps = 0;
    int side = 0;
    for (size_t i = 0; i < s->n; i++) {
        double share = high > low ? (s->signal[i] - low) / (high - low) : 0.5;
        int now = share > 0.7 ? 1 : share < 0.3 ? -1 : side;
        n_steps += side && now != side;
        side = now;
    }
    return n_steps;
}

static enum wl_status judge(struct search *s, double lag_s, double tau_s, struct series_lag *out,
                            struct wl_err *err) {
    double *columns = calloc(3 * s->n_power, sizeof *columns);
    if (!columns) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }

    double period_s = (double)series_median_period_ns(s->power, s->n_power) * 1e-9;
    double step_s = clamp(period_s / 2, 0.1, 0.5);
    size_t n_steps = count_steps(s);
    double variance = fit_variance(s, lag_s, tau_s, step_s, columns);
    free(columns);
    // Where within a period a step fell is unknown, and may be alike at all steps (pulses that beat
    // with the readings): their number does not help.
    variance += (s->signal_period_s * s->signal_period_s + period_s * period_s) / 12;
    double sd_s = sqrt(variance);
    out->correlation = score_of(s, lag_s, tau_s).correlation;
    out->lag_ns = (int64_t)llround(lag_s * 1e9);
    out->smoothing_ns = (int64_t)llround(tau_s * 1e9);
    out->lag_sd_ns = isfinite(sd_s) ? (int64_t)llround(fmin(sd_s, 60) * 1e9) : 60000000000;
    out->is_found = n_steps >= 2 && out->correlation > MIN_CORRELATION && sd_s < 1 &&
                    lag_s > MIN_LAG_S + FINEST_S && lag_s < MAX_LAG_S - FINEST_S;
    return WL_OK;
}

enum wl_status series_find_lag(const struct series_point *signal, size_t n_signal,
                               const struct series_point *power, size_t n_power,
                               struct series_lag *out, struct wl_err *err) {
    *out = (struct series_lag){0};
    if (n_signal < MIN_POINTS || n_power < MIN_POINTS) {
        return wl_err_set(err, WL_INPUT, "to find a lag: expected %d points or more, found %zu",
                          MIN_POINTS, n_signal < n_power ? n_signal : n_power);
    }
    if (!is_ordered(signal, n_signal) || !is_ordered(power, n_power)) {
        return wl_err_set(err, WL_INPUT, "to find a lag: expected finite points in order of time");
    }
    struct search search = {.power = power, .n_power = n_power};
    enum wl_status status = make_grid(&search, signal, n_signal, err);
    if (status == WL_OK) {
        double lag_s = 0, tau_s = 0;
        search_grid(&search, &lag_s, &tau_s);
        search_pattern(&search, &lag_s, &tau_s);
        status = judge(&search, lag_s, tau_s, out, err);
    }
    free(search.signal);
    free(search.smooth);
    return status;
}
