#include "stats/nonneg.h"

#include <math.h>
#include <string.h>

enum { MAX = STATS_NONNEG_MAX_TERMS };

// In units of the priors' sds and about the priors: term = prior + prior_sd * z, z beforehand
// standard normal. Minimise z'(A'A + 1)z - 2 b'z with z >= floor.
struct problem {
    size_t n;
    double matrix[MAX][MAX];
    double right[MAX];
    double floor[MAX];
};

static enum wl_status check(const struct stats_nonneg_data *d, struct wl_err *err) {
    if (d->n_terms < 1 || d->n_terms > MAX || d->n < 1) {
        return wl_err_set(err, WL_INPUT, "expected 1 to %d terms and some data", MAX);
    }
    for (size_t i = 0; i < d->n; i++) {
        bool is_sound = isfinite(d->y[i]) && isfinite(d->sd[i]) && d->sd[i] > 0;
        for (size_t k = 0; k < d->n_terms; k++) {
            is_sound = is_sound && isfinite(d->rows[i * d->n_terms + k]);
        }
        if (!is_sound) {
            return wl_err_set(err, WL_INPUT, "block %zu: expected finite values, sd above 0",
                              i + 1);
        }
    }
    for (size_t k = 0; k < d->n_terms; k++) {
        if (!isfinite(d->prior[k]) || d->prior[k] < 0 || !isfinite(d->prior_sd[k]) ||
            !(d->prior_sd[k] > 0)) {
            return wl_err_set(err, WL_INPUT, "term %zu: expected a prior from 0, its sd above 0",
                              k + 1);
        }
    }
    return WL_OK;
}

static void pose(const struct stats_nonneg_data *d, struct problem *p) {
    *p = (struct problem){.n = d->n_terms};
    for (size_t k = 0; k < p->n; k++) {
        p->matrix[k][k] = 1;
        p->floor[k] = -d->prior[k] / d->prior_sd[k];
    }
    for (size_t i = 0; i < d->n; i++) {
        const double *row = d->rows + i * d->n_terms;
        double column[MAX], rest = d->y[i];
        for (size_t k = 0; k < p->n; k++) {
            column[k] = row[k] * d->prior_sd[k] / d->sd[i];
            rest -= row[k] * d->prior[k];
        }
        rest /= d->sd[i];
        for (size_t k = 0; k < p->n; k++) {
            p->right[k] += column[k] * rest;
            for (size_t j = 0; j < p->n; j++) {
                p->matrix[k][j] += column[k] * column[j];
            }
        }
    }
}

// Cholesky: the matrix is 1 + a positive semidefinite one. Fills the lower triangle of `factor`.
static void decompose(const struct problem *p, double factor[MAX][MAX]) {
    for (size_t i = 0; i < p->n; i++) {
        for (size_t j = 0; j <= i; j++) {
            double sum = p->matrix[i][j];
            for (size_t k = 0; k < j; k++) {
                sum -= factor[i][k] * factor[j][k];
            }
            factor[i][j] = i == j ? sqrt(fmax(sum, 1e-12)) : sum / factor[j][j];
        }
    }
}

static void solve(const struct problem *p, const double right[MAX], double z[MAX]) {
    double factor[MAX][MAX] = {{0}};
    decompose(p, factor);
    for (size_t i = 0; i < p->n; i++) {
        z[i] = right[i];
        for (size_t k = 0; k < i; k++) {
            z[i] -= factor[i][k] * z[k];
        }
        z[i] /= factor[i][i];
    }
    for (size_t i = p->n; i-- > 0;) {
        for (size_t k = i + 1; k < p->n; k++) {
            z[i] -= factor[k][i] * z[k];
        }
        z[i] /= factor[i][i];
    }
}

// The minimum with the terms of the bit set `held` on their bounds, the others free.
static void solve_held(const struct problem *p, unsigned held, double z[MAX]) {
    struct problem part = *p;
    double right[MAX];
    for (size_t i = 0; i < p->n; i++) {
        right[i] = p->right[i];
        for (size_t j = 0; j < p->n; j++) {
            right[i] -= held >> j & 1 ? p->matrix[i][j] * p->floor[j] : 0;
        }
    }
    for (size_t i = 0; i < p->n; i++) {
        for (size_t j = 0; held >> i & 1 && j < p->n; j++) {
            part.matrix[i][j] = part.matrix[j][i] = i == j;
        }
        right[i] = held >> i & 1 ? p->floor[i] : right[i];
    }
    solve(&part, right, z);
}

static double objective(const struct problem *p, const double z[MAX]) {
    double sum = 0;
    for (size_t i = 0; i < p->n; i++) {
        sum -= 2 * p->right[i] * z[i];
        for (size_t j = 0; j < p->n; j++) {
            sum += z[i] * p->matrix[i][j] * z[j];
        }
    }
    return sum;
}

static bool is_allowed(const struct problem *p, const double z[MAX]) {
    for (size_t i = 0; i < p->n; i++) {
        if (z[i] < p->floor[i] - 1e-12 * fmax(fabs(p->floor[i]), 1)) {
            return false;
        }
    }
    return true;
}

// At most 2^6 choices: all are tried.
static void minimise(const struct problem *p, double best[MAX]) {
    double least = INFINITY;
    for (unsigned held = 0; held < 1u << p->n; held++) {
        double z[MAX] = {0};
        solve_held(p, held, z);
        if (is_allowed(p, z) && objective(p, z) < least) {
            least = objective(p, z);
            memcpy(best, z, sizeof z);
        }
    }
}

static void fill_covariance(const struct stats_nonneg_data *d, const struct problem *p,
                            struct stats_nonneg *out) {
    for (size_t j = 0; j < p->n; j++) {
        double unit[MAX] = {0}, column[MAX] = {0};
        unit[j] = 1;
        solve(p, unit, column);
        for (size_t i = 0; i < p->n; i++) {
            out->covariance[i][j] = column[i] * d->prior_sd[i] * d->prior_sd[j];
        }
        out->is_fitted[j] = sqrt(fmax(column[j], 0)) <= 0.5;
        out->n_effective += 1 - column[j];
    }
}

enum wl_status stats_nonneg_fit(const struct stats_nonneg_data *data, struct stats_nonneg *out,
                                struct wl_err *err) {
    *out = (struct stats_nonneg){0};
    enum wl_status status = check(data, err);
    if (status != WL_OK) {
        return status;
    }
    struct problem problem;
    double z[MAX] = {0};
    pose(data, &problem);
    minimise(&problem, z);
    for (size_t k = 0; k < data->n_terms; k++) {
        out->value[k] = fmax(data->prior[k] + data->prior_sd[k] * z[k], 0);
    }
    fill_covariance(data, &problem, out);
    for (size_t i = 0; i < data->n; i++) {
        double residual = data->y[i];
        for (size_t k = 0; k < data->n_terms; k++) {
            residual -= data->rows[i * data->n_terms + k] * out->value[k];
        }
        out->chi2 += residual * residual / (data->sd[i] * data->sd[i]);
    }
    return WL_OK;
}
