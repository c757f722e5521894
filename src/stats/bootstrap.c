#include "stats/bootstrap.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "stats/special.h"

struct resampling {
    size_t n;
    double (*statistic)(const size_t *rows, size_t n, void *context);
    void *context;
    size_t *rows;
    double *draws;
    size_t n_draws; // finite ones
    double value;   // on the whole sample
};

static void draw_all(struct resampling *r, size_t n_draws, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    r->n_draws = 0;
    for (size_t draw = 0; draw < n_draws; draw++) {
        for (size_t i = 0; i < r->n; i++) {
            r->rows[i] = rng_below(&rng, (uint32_t)r->n);
        }
        double value = r->statistic(r->rows, r->n, r->context);
        if (isfinite(value)) {
            r->draws[r->n_draws++] = value;
        }
    }
    stats_sort(r->draws, r->n_draws);
}

static double statistic_without(struct resampling *r, size_t left_out) {
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (i != left_out) {
            r->rows[n++] = i;
        }
    }
    return r->statistic(r->rows, n, r->context);
}

// Efron's acceleration: the skewness of the leave-one-out values, over 6.
static double find_acceleration(struct resampling *r) {
    double mean = 0, squares = 0, cubes = 0;
    for (size_t i = 0; i < r->n; i++) {
        mean += statistic_without(r, i) / (double)r->n;
    }
    for (size_t i = 0; i < r->n; i++) {
        double d = mean - statistic_without(r, i);
        squares += d * d;
        cubes += d * d * d;
    }
    double acceleration = cubes / (6 * pow(squares, 1.5));
    return isfinite(acceleration) ? acceleration : 0;
}

// Share of the draws below the value; ties count half.
static double share_below(const struct resampling *r) {
    double n_below = 0;
    for (size_t i = 0; i < r->n_draws; i++) {
        n_below += r->draws[i] < r->value ? 1 : r->draws[i] == r->value ? 0.5 : 0;
    }
    double share = n_below / (double)r->n_draws, least = 0.5 / (double)r->n_draws;
    return fmin(fmax(share, least), 1 - least);
}

// The two quantiles of the draws that make the interval.
static struct stats_interval find_shares(struct resampling *r, enum stats_bootstrap_method method) {
    double z = stats_normal_quantile(0.975), n = (double)r->n;
    if (method == STATS_BOOTSTRAP_EXPANDED) {
        z = stats_student_quantile(0.975, n - 1) * sqrt(n / (n - 1));
    }
    if (method != STATS_BOOTSTRAP_BCA) {
        return (struct stats_interval){stats_normal_cdf(-z), stats_normal_cdf(z)};
    }
    double bias = stats_normal_quantile(share_below(r)), a = find_acceleration(r);
    double low = bias + (bias - z) / (1 - a * (bias - z));
    double high = bias + (bias + z) / (1 - a * (bias + z));
    return (struct stats_interval){stats_normal_cdf(low), stats_normal_cdf(high)};
}

static enum wl_status check_arguments(size_t n, size_t n_draws, struct wl_err *err) {
    if (n < 3 || n > UINT32_MAX) {
        return wl_err_set(err, WL_INPUT, "a bootstrap needs at least 3 values, found %zu", n);
    }
    if (n_draws < 100) {
        return wl_err_set(err, WL_INPUT, "a bootstrap needs at least 100 draws, found %zu",
                          n_draws);
    }
    return WL_OK;
}

static enum wl_status resample(struct resampling *r, enum stats_bootstrap_method method,
                               size_t n_draws, uint64_t seed, struct stats_estimate *out,
                               struct wl_err *err) {
    for (size_t i = 0; i < r->n; i++) {
        r->rows[i] = i;
    }
    r->value = r->statistic(r->rows, r->n, r->context);
    if (!isfinite(r->value)) {
        return wl_err_set(err, WL_INPUT, "the statistic of the whole sample is not finite");
    }
    draw_all(r, n_draws, seed);
    if (r->n_draws < n_draws / 2) {
        return wl_err_set(err, WL_INPUT, "the statistic is not finite on %zu of %zu draws",
                          n_draws - r->n_draws, n_draws);
    }
    struct stats_interval shares = find_shares(r, method);
    out->value = r->value;
    out->ci95.low = stats_quantile_sorted(r->draws, r->n_draws, shares.low);
    out->ci95.high = stats_quantile_sorted(r->draws, r->n_draws, shares.high);
    return WL_OK;
}

enum wl_status stats_bootstrap(size_t n,
                               double (*statistic)(const size_t *rows, size_t n, void *context),
                               void *context, enum stats_bootstrap_method method, size_t n_draws,
                               uint64_t seed, struct stats_estimate *out, struct wl_err *err) {
    *out = (struct stats_estimate){NAN, {NAN, NAN}};
    enum wl_status status = check_arguments(n, n_draws, err);
    if (status != WL_OK) {
        return status;
    }
    struct resampling r = {.n = n, .statistic = statistic, .context = context};
    r.rows = calloc(n, sizeof *r.rows);
    r.draws = calloc(n_draws, sizeof *r.draws);
    if (r.rows && r.draws) {
        status = resample(&r, method, n_draws, seed, out, err);
    } else {
        status = wl_err_set(err, WL_MEMORY, "no memory for %zu draws of %zu values", n_draws, n);
    }
    free(r.rows);
    free(r.draws);
    return status;
}
