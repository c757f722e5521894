#include "compress/nnls.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { N_MAX = NNLS_MAX_UNKNOWNS };
static const double LEAST_PIVOT = 1e-9; // of columns scaled to length 1
static const double SLACK = 1e-9;       // an unknown this little below 0 is 0

struct normal { // of columns scaled to length 1
    size_t n;
    double scale[N_MAX]; // lengths; 0: a column of zeros
    double gram[N_MAX][N_MAX], right[N_MAX];
};

static enum wl_status check(const double *a, const double *b, size_t m, size_t n,
                            struct wl_err *err) {
    if (m == 0 || n == 0 || n > N_MAX) {
        return wl_err_set(err, WL_INPUT,
                          "least squares of %zu rows and %zu unknowns, expected a row at least and "
                          "1 to %d unknowns",
                          m, n, N_MAX);
    }
    for (size_t i = 0; i < m; i++) {
        bool is_finite = isfinite(b[i]);
        for (size_t j = 0; j < n; j++) {
            is_finite = is_finite && isfinite(a[i * n + j]);
        }
        if (!is_finite) {
            return wl_err_set(err, WL_INPUT, "row %zu of the least squares is not finite", i + 1);
        }
    }
    return WL_OK;
}

static void make_normal(const double *a, const double *b, size_t m, size_t n, struct normal *out) {
    *out = (struct normal){.n = n};
    for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t i = 0; i < m; i++) {
            sum += a[i * n + j] * a[i * n + j];
        }
        out->scale[j] = sqrt(sum);
    }
    for (size_t j = 0; j < n; j++) {
        double by = out->scale[j] > 0 ? out->scale[j] : 1;
        for (size_t i = 0; i < m; i++) {
            out->right[j] += a[i * n + j] / by * b[i];
            for (size_t k = 0; k < n; k++) {
                double other = out->scale[k] > 0 ? out->scale[k] : 1;
                out->gram[j][k] += a[i * n + j] / by * a[i * n + k] / other;
            }
        }
    }
}

// Cholesky of the chosen columns; false when they depend on each other.
static bool factor(const struct normal *normal, const size_t *chosen, size_t n,
                   double low[N_MAX][N_MAX]) {
    for (size_t j = 0; j < n; j++) {
        for (size_t i = j; i < n; i++) {
            double sum = normal->gram[chosen[i]][chosen[j]];
            for (size_t k = 0; k < j; k++) {
                sum -= low[i][k] * low[j][k];
            }
            if (i == j && !(sum > LEAST_PIVOT)) {
                return false;
            }
            low[i][j] = i == j ? sqrt(sum) : sum / low[j][j];
        }
    }
    return true;
}

// x of the chosen columns, the others 0; false when there is none, or one is below 0.
static bool solve_set(const struct normal *normal, unsigned set, double *x) {
    double low[N_MAX][N_MAX] = {{0}}, y[N_MAX] = {0};
    size_t chosen[N_MAX], n = 0;
    for (size_t j = 0; j < normal->n; j++) {
        x[j] = 0;
        if (set >> j & 1) {
            chosen[n++] = j;
        }
    }
    if (!factor(normal, chosen, n, low)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        double sum = normal->right[chosen[i]];
        for (size_t k = 0; k < i; k++) {
            sum -= low[i][k] * y[k];
        }
        y[i] = sum / low[i][i];
    }
    bool is_fine = true;
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++) {
            y[i] -= low[k][i] * y[k];
        }
        y[i] /= low[i][i];
        is_fine = is_fine && y[i] >= -SLACK;
        x[chosen[i]] = y[i] > 0 ? y[i] / normal->scale[chosen[i]] : 0;
    }
    return is_fine;
}

static double distance(const double *a, const double *b, size_t m, size_t n, const double *x) {
    double squares = 0;
    for (size_t i = 0; i < m; i++) {
        double off = -b[i];
        for (size_t j = 0; j < n; j++) {
            off += a[i * n + j] * x[j];
        }
        squares += off * off;
    }
    return sqrt(squares);
}

enum wl_status nnls_solve(const double *a, const double *b, size_t m, size_t n, double *x,
                          double *residual, struct wl_err *err) {
    struct normal normal;
    double trial[N_MAX];
    enum wl_status status = check(a, b, m, n, err);
    if (status != WL_OK) {
        return status;
    }
    make_normal(a, b, m, n, &normal);
    memset(x, 0, n * sizeof *x);
    *residual = distance(a, b, m, n, x);
    for (unsigned set = 1; set < 1U << n; set++) {
        if (solve_set(&normal, set, trial)) {
            double r = distance(a, b, m, n, trial);
            if (r < *residual) {
                *residual = r;
                memcpy(x, trial, n * sizeof *x);
            }
        }
    }
    return WL_OK;
}
