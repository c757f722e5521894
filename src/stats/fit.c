#include "stats/fit.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "stats/special.h"

enum { K = STATS_FIT_MAX_COLUMNS };

// A column whose part outside the span of those before it is below this share of its length is
// called collinear: the rest would be rounding.
static const double COLLINEAR = 1e-9;

// The weighted, scaled problem A x = b on its way to R x = Q'b.
struct factorisation {
    size_t n;
    size_t k;
    double *a;            // n x k row-major, sqrt(weight) * row / scale
    double *b;            // n
    double scale[K];      // of the columns
    double r[K][K];       // upper triangle
    double inverse[K][K]; // of R, upper triangle
    double x[K];
};

static enum wl_status check_data(const struct stats_fit_data *data, struct wl_err *err) {
    size_t k = data->n_columns;
    if (k < 1 || k > K || data->n <= k) {
        return wl_err_set(err, WL_INPUT,
                          "a fit of %zu columns (1 to %d) needs more than as many rows, found %zu",
                          k, K, data->n);
    }
    for (size_t i = 0; i < data->n; i++) {
        double weight = data->weights ? data->weights[i] : 1;
        bool is_good = isfinite(data->y[i]) && isfinite(weight) && weight > 0;
        for (size_t j = 0; j < k; j++) {
            is_good = is_good && isfinite(data->rows[i * k + j]);
        }
        if (!is_good) {
            return wl_err_set(err, WL_INPUT,
                              "row %zu of the fit has a value that is not finite or a weight that "
                              "is not positive",
                              i);
        }
    }
    return WL_OK;
}

static void load(struct factorisation *f, const struct stats_fit_data *data) {
    for (size_t j = 0; j < f->k; j++) {
        double largest = 0, squares = 0;
        for (size_t i = 0; i < f->n; i++) {
            double root = data->weights ? sqrt(data->weights[i]) : 1;
            largest = fmax(largest, fabs(root * data->rows[i * f->k + j]));
        }
        for (size_t i = 0; i < f->n && largest > 0; i++) {
            double root = data->weights ? sqrt(data->weights[i]) : 1;
            double share = root * data->rows[i * f->k + j] / largest;
            squares += share * share;
        }
        f->scale[j] = largest > 0 ? largest * sqrt(squares) : 1;
    }
    for (size_t i = 0; i < f->n; i++) {
        double root = data->weights ? sqrt(data->weights[i]) : 1;
        for (size_t j = 0; j < f->k; j++) {
            f->a[i * f->k + j] = root * data->rows[i * f->k + j] / f->scale[j];
        }
        f->b[i] = root * data->y[i];
    }
}

static double column_length(const struct factorisation *f, size_t column, size_t from_row) {
    double squares = 0;
    for (size_t i = from_row; i < f->n; i++) {
        squares += f->a[i * f->k + column] * f->a[i * f->k + column];
    }
    return sqrt(squares);
}

// Reflects rows j.. so that column j becomes (.., r, 0, 0, ..). Golub & Van Loan, algorithm 5.1.1.
static void reflect(struct factorisation *f, size_t j, double length) {
    size_t k = f->k;
    double head = f->a[j * k + j], r = head > 0 ? -length : length;
    f->a[j * k + j] = head - r; // column j now holds the reflection's vector v
    double v_squared = 2 * length * (length + fabs(head));
    for (size_t c = j + 1; c <= k; c++) {
        double dot = 0;
        for (size_t i = j; i < f->n; i++) {
            dot += f->a[i * k + j] * (c < k ? f->a[i * k + c] : f->b[i]);
        }
        double factor = 2 * dot / v_squared;
        for (size_t i = j; i < f->n; i++) {
            double *target = c < k ? &f->a[i * k + c] : &f->b[i];
            *target -= factor * f->a[i * k + j];
        }
    }
    f->r[j][j] = r;
    for (size_t c = j + 1; c < k; c++) {
        f->r[j][c] = f->a[j * k + c];
    }
}

// Index of the first column that depends on those before it, or k.
static size_t factorise(struct factorisation *f) {
    for (size_t j = 0; j < f->k; j++) {
        double length = column_length(f, j, j);
        if (!(length > COLLINEAR)) { // the scaled columns have length 1
            return j;
        }
        reflect(f, j, length);
    }
    return f->k;
}

static void invert_triangle(struct factorisation *f) {
    for (size_t j = 0; j < f->k; j++) {
        f->inverse[j][j] = 1 / f->r[j][j];
        for (size_t i = j; i-- > 0;) {
            double sum = 0;
            for (size_t m = i + 1; m <= j; m++) {
                sum += f->r[i][m] * f->inverse[m][j];
            }
            f->inverse[i][j] = -sum / f->r[i][i];
        }
    }
}

static void solve(struct factorisation *f, struct stats_fit *out) {
    invert_triangle(f);
    for (size_t i = 0; i < f->k; i++) {
        f->x[i] = 0;
        for (size_t j = i; j < f->k; j++) {
            f->x[i] += f->inverse[i][j] * f->b[j];
        }
        out->coef[i] = f->x[i] / f->scale[i];
    }
}

// (A'A)^-1 of the scaled columns.
static double inverse_normal(const struct factorisation *f, size_t i, size_t j) {
    double sum = 0;
    for (size_t m = i > j ? i : j; m < f->k; m++) {
        sum += f->inverse[i][m] * f->inverse[j][m];
    }
    return sum;
}

static void set_plain_covariance(const struct factorisation *f, struct stats_fit *out) {
    for (size_t i = 0; i < f->k; i++) {
        for (size_t j = 0; j < f->k; j++) {
            out->inverse_normal[i][j] = inverse_normal(f, i, j) / (f->scale[i] * f->scale[j]);
            out->covariance[i][j] = out->residual_variance * out->inverse_normal[i][j];
        }
    }
}

static double fitted_value(const struct stats_fit *fit, const double *row) {
    double sum = 0;
    for (size_t j = 0; j < fit->n_columns; j++) {
        sum += fit->coef[j] * row[j];
    }
    return sum;
}

// Row i of A (A'A)^-1, and its leverage.
static double influence_of_row(const struct factorisation *f, const double *row, double root,
                               double influence[K]) {
    double leverage = 0;
    for (size_t i = 0; i < f->k; i++) {
        influence[i] = 0;
        for (size_t j = 0; j < f->k; j++) {
            influence[i] += inverse_normal(f, i, j) * root * row[j] / f->scale[j];
        }
        leverage += influence[i] * root * row[i] / f->scale[i];
    }
    return leverage;
}

// MacKinnon & White (1985): residuals divided by 1 - leverage.
static void set_hc3_covariance(const struct factorisation *f, const struct stats_fit_data *data,
                               struct stats_fit *out) {
    double sum[K][K] = {{0}};
    for (size_t i = 0; i < f->n; i++) {
        const double *row = data->rows + i * f->k;
        double root = data->weights ? sqrt(data->weights[i]) : 1, influence[K];
        double leverage = fmin(influence_of_row(f, row, root, influence), 1 - 1e-6);
        double e = root * (data->y[i] - fitted_value(out, row)) / (1 - leverage);
        for (size_t p = 0; p < f->k; p++) {
            for (size_t q = 0; q < f->k; q++) {
                sum[p][q] += e * e * influence[p] * influence[q];
            }
        }
    }
    for (size_t p = 0; p < f->k; p++) {
        for (size_t q = 0; q < f->k; q++) {
            out->covariance[p][q] = sum[p][q] / (f->scale[p] * f->scale[q]);
        }
    }
}

// Keeps the correlations, so that the matrix stays positive definite.
static void raise_variances(struct stats_fit *out, const double least[K]) {
    double factor[K];
    for (size_t j = 0; j < out->n_columns; j++) {
        double variance = out->covariance[j][j];
        factor[j] = variance > 0 && variance < least[j] ? sqrt(least[j] / variance) : 1;
    }
    for (size_t i = 0; i < out->n_columns; i++) {
        for (size_t j = 0; j < out->n_columns; j++) {
            out->covariance[i][j] *= factor[i] * factor[j];
        }
    }
}

static void set_goodness(const struct stats_fit_data *data, struct stats_fit *out) {
    double mean = stats_mean(data->y, data->n), total = 0, rest = 0, weighted = 0;
    for (size_t i = 0; i < data->n; i++) {
        double e = data->y[i] - fitted_value(out, data->rows + i * data->n_columns);
        rest += e * e;
        weighted += (data->weights ? data->weights[i] : 1) * e * e;
        total += (data->y[i] - mean) * (data->y[i] - mean);
    }
    double dof = (double)out->dof;
    out->residual_variance = weighted / dof;
    out->residual_sd = sqrt(rest / dof);
    out->r2 = total > 0 ? 1 - rest / total : NAN;
    out->r2_adjusted = 1 - (1 - out->r2) * (double)(data->n - 1) / dof;
}

static void set_intervals(struct stats_fit *out) {
    double t = stats_student_quantile(0.975, (double)out->dof);
    for (size_t j = 0; j < out->n_columns; j++) {
        double half = t * sqrt(out->covariance[j][j]);
        out->ci95[j] = (struct stats_interval){out->coef[j] - half, out->coef[j] + half};
    }
}

static enum wl_status fit_loaded(struct factorisation *f, const struct stats_fit_data *data,
                                 enum stats_covariance covariance, struct stats_fit *out,
                                 size_t *bad_column, struct wl_err *err) {
    load(f, data);
    size_t bad = factorise(f);
    if (bad < f->k) {
        *bad_column = bad;
        return wl_err_set(err, WL_INPUT,
                          "column %zu%s%s of the fit does not vary on its own: it is zero or a "
                          "combination of the columns before it",
                          bad, data->names ? " " : "", data->names ? data->names[bad] : "");
    }
    out->n = f->n;
    out->n_columns = f->k;
    out->dof = f->n - f->k;
    solve(f, out);
    set_goodness(data, out);
    set_plain_covariance(f, out);
    double plain_variance[K] = {0};
    for (size_t j = 0; j < f->k; j++) {
        plain_variance[j] = out->covariance[j][j];
    }
    if (covariance != STATS_COVARIANCE_PLAIN) {
        set_hc3_covariance(f, data, out);
    }
    if (covariance == STATS_COVARIANCE_LARGER) {
        raise_variances(out, plain_variance);
    }
    set_intervals(out);
    return WL_OK;
}

enum wl_status stats_fit(const struct stats_fit_data *data, enum stats_covariance covariance,
                         struct stats_fit *out, size_t *bad_column, struct wl_err *err) {
    size_t unused;
    bad_column = bad_column ? bad_column : &unused;
    *bad_column = SIZE_MAX;
    *out = (struct stats_fit){0};
    enum wl_status status = check_data(data, err);
    if (status != WL_OK) {
        return status;
    }
    struct factorisation f = {.n = data->n, .k = data->n_columns};
    f.a = calloc(f.n, K * sizeof *f.a);
    f.b = calloc(f.n, sizeof *f.b);
    if (f.a && f.b) {
        status = fit_loaded(&f, data, covariance, out, bad_column, err);
    } else {
        status = wl_err_set(err, WL_MEMORY, "no memory for a fit of %zu rows", data->n);
    }
    free(f.a);
    free(f.b);
    return status;
}

void stats_fit_predict(const struct stats_fit *fit, const double *row, double weight,
                       struct stats_prediction *out) {
    double variance = 0;
    for (size_t i = 0; i < fit->n_columns; i++) {
        for (size_t j = 0; j < fit->n_columns; j++) {
            variance += row[i] * row[j] * fit->covariance[i][j];
        }
    }
    variance = fmax(variance, 0);
    double t = stats_student_quantile(0.975, (double)fit->dof);
    out->value = fitted_value(fit, row);
    out->sd_mean = sqrt(variance);
    out->sd_single = sqrt(variance + fit->residual_variance / weight);
    double half = t * out->sd_mean, half_single = t * out->sd_single;
    out->ci95 = (struct stats_interval){out->value - half, out->value + half};
    out->pi95 = (struct stats_interval){out->value - half_single, out->value + half_single};
}
