#include "stats/ratio.h"

#include <math.h>
#include <stdlib.h>

#include "stats/bootstrap.h"
#include "stats/special.h"

struct log_ratios {
    const double *values;
    double *scratch;
};

static double median_of_rows(const size_t *rows, size_t n, void *context) {
    const struct log_ratios *ratios = context;
    for (size_t i = 0; i < n; i++) {
        ratios->scratch[i] = ratios->values[rows[i]];
    }
    return stats_median_in_place(ratios->scratch, n);
}

// The roots of a quadratic in R.
struct stats_interval stats_fieller(const struct stats_moment_pair *pair, double dof) {
    double t = stats_student_quantile(0.975, dof);
    double a = pair->base * pair->base - t * t * pair->var_base;
    double b = pair->base * pair->changed - t * t * pair->covariance;
    double c = pair->changed * pair->changed - t * t * pair->var_changed;
    double root = b * b - a * c;
    if (!(a > 0) || !(root >= 0)) {
        return (struct stats_interval){NAN, NAN};
    }
    return (struct stats_interval){(b - sqrt(root)) / a, (b + sqrt(root)) / a};
}

static void find_mean_ratio(const double *base, const double *changed, size_t n,
                            struct stats_ratio *out) {
    double size = (double)n, scale = 1 / (size * (size - 1));
    struct stats_moment_pair means = {.base = stats_mean(base, n),
                                      .changed = stats_mean(changed, n)};
    for (size_t i = 0; i < n; i++) {
        double x = base[i] - means.base, y = changed[i] - means.changed;
        means.var_base += x * x * scale;
        means.var_changed += y * y * scale;
        means.covariance += x * y * scale;
    }
    out->mean_ratio = means.changed / means.base;
    out->mean_ci95 = stats_fieller(&means, size - 1);
    double difference = means.changed - means.base;
    double variance = means.var_base + means.var_changed - 2 * means.covariance;
    out->p_equal = variance > 0 ? stats_student_two_sided_p(difference / sqrt(variance), size - 1)
                                : difference == 0;
}

static enum wl_status check_pairs(const double *base, const double *changed, size_t n,
                                  struct wl_err *err) {
    if (n < 3) {
        return wl_err_set(err, WL_INPUT, "a ratio needs at least 3 pairs, found %zu", n);
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(base[i]) || !isfinite(changed[i]) || base[i] <= 0 || changed[i] <= 0) {
            return wl_err_set(err, WL_INPUT, "pair %zu is not two positive numbers", i);
        }
    }
    return WL_OK;
}

static size_t count_outliers(const double *values, double *scratch, size_t n) {
    for (size_t i = 0; i < n; i++) {
        scratch[i] = values[i];
    }
    double median = stats_median_in_place(scratch, n), mad = stats_mad_in_place(scratch, n);
    size_t n_outliers = 0;
    for (size_t i = 0; i < n && mad > 0; i++) {
        n_outliers += fabs(values[i] - median) > STATS_OUTLIER_SDS * STATS_MAD_TO_SD * mad;
    }
    return n_outliers;
}

enum wl_status stats_paired_ratio(const double *base, const double *changed, size_t n,
                                  uint64_t seed, struct stats_ratio *out, struct wl_err *err) {
    *out = (struct stats_ratio){.n = n};
    enum wl_status status = check_pairs(base, changed, n, err);
    if (status != WL_OK) {
        return status;
    }
    double *memory = calloc(n, 2 * sizeof *memory);
    if (!memory) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu pairs", n);
    }
    struct log_ratios ratios = {.values = memory, .scratch = memory + n};
    for (size_t i = 0; i < n; i++) {
        memory[i] = log(changed[i]) - log(base[i]);
    }
    struct stats_estimate median;
    status = stats_bootstrap(n, median_of_rows, &ratios, STATS_BOOTSTRAP_EXPANDED,
                             STATS_BOOTSTRAP_DRAWS, seed, &median, err);
    if (status == WL_OK) {
        find_mean_ratio(base, changed, n, out);
        out->median_ratio = exp(median.value);
        out->median_ci95 = (struct stats_interval){exp(median.ci95.low), exp(median.ci95.high)};
        out->n_outliers = count_outliers(memory, ratios.scratch, n);
    }
    free(memory);
    return status;
}
