#include "report/strata.h"

#include <math.h>

#include "stats/special.h"

// Of one cell: means, and the sums of squared deviations from them.
struct stratum {
    size_t n;
    double mean_base, mean_vs;
    double sum_bb, sum_vv, sum_bv;
};

// The cell that begins at pairs[0]; returns its number of observations.
static size_t read_stratum(const struct strata_pair *pairs, size_t n, struct stratum *out) {
    *out = (struct stratum){0};
    while (out->n < n && pairs[out->n].cell == pairs[0].cell) {
        out->mean_base += pairs[out->n].base;
        out->mean_vs += pairs[out->n].vs;
        out->n++;
    }
    out->mean_base /= (double)out->n;
    out->mean_vs /= (double)out->n;
    for (size_t i = 0; i < out->n; i++) {
        double b = pairs[i].base - out->mean_base, v = pairs[i].vs - out->mean_vs;
        out->sum_bb += b * b;
        out->sum_vv += v * v;
        out->sum_bv += b * v;
    }
    return out->n;
}

struct moments {
    double bb, vv, bv;
};

// Variances relative to the means, pooled over the cells that have two or more observations.
static size_t pooled_relative(const struct strata_pair *pairs, size_t n, struct moments *out) {
    size_t dof = 0;
    struct stratum s;
    *out = (struct moments){0};
    for (size_t i = 0; i < n; i += s.n) {
        read_stratum(pairs + i, n - i, &s);
        double b = s.mean_base, v = s.mean_vs;
        dof += s.n - 1;
        out->bb += b != 0 ? s.sum_bb / (b * b) : 0;
        out->vv += v != 0 ? s.sum_vv / (v * v) : 0;
        out->bv += b != 0 && v != 0 ? s.sum_bv / (b * v) : 0;
    }
    if (dof > 0) {
        out->bb /= (double)dof;
        out->vv /= (double)dof;
        out->bv /= (double)dof;
    }
    return dof;
}

// Variances and covariance of a cell's means.
static struct moments of_means(const struct stratum *s, const struct moments *pooled) {
    double b = s->mean_base, v = s->mean_vs, n = (double)s->n;
    if (s->n == 1) {
        return (struct moments){pooled->bb * b * b, pooled->vv * v * v, pooled->bv * b * v};
    }
    double divisor = n * (n - 1);
    return (struct moments){s->sum_bb / divisor, s->sum_vv / divisor, s->sum_bv / divisor};
}

struct totals {
    size_t n_cells;
    double base, vs; // sums of means
    struct moments variance;
};

static struct totals add_up(const struct strata_pair *pairs, size_t n,
                            const struct moments *pooled) {
    struct totals t = {0};
    struct stratum s;
    for (size_t i = 0; i < n; i += s.n) {
        read_stratum(pairs + i, n - i, &s);
        struct moments m = of_means(&s, pooled);
        t.n_cells++;
        t.base += s.mean_base;
        t.vs += s.mean_vs;
        t.variance.bb += m.bb;
        t.variance.vv += m.vv;
        t.variance.bv += m.bv;
    }
    return t;
}

// Student's t for x * sum(base) + y * sum(vs), degrees of freedom after Welch and Satterthwaite.
static double t_of_contrast(const struct strata_pair *pairs, size_t n, const struct moments *pooled,
                            double x, double y) {
    double sum = 0, sum_of_parts = 0;
    struct stratum s;
    for (size_t i = 0; i < n; i += s.n) {
        read_stratum(pairs + i, n - i, &s);
        struct moments m = of_means(&s, pooled);
        double variance = x * x * m.bb + 2 * x * y * m.bv + y * y * m.vv;
        sum += variance;
        sum_of_parts += variance * variance / (s.n > 1 ? (double)(s.n - 1) : 1);
    }
    double dof = sum_of_parts > 0 ? sum * sum / sum_of_parts : 1;
    return stats_student_quantile(0.975, fmax(1, dof));
}

static struct stats_interval nowhere(void) {
    return (struct stats_interval){NAN, NAN};
}

void strata_mean(const struct strata_pair *pairs, size_t n, struct strata_result *out) {
    struct moments pooled;
    *out = (struct strata_result){.n = n, .value = NAN, .ci95 = nowhere()};
    if (n == 0) {
        return;
    }
    size_t dof = pooled_relative(pairs, n, &pooled);
    struct totals t = add_up(pairs, n, &pooled);
    out->n_cells = t.n_cells;
    out->value = t.base / (double)t.n_cells;
    if (dof == 0) {
        return;
    }
    double t95 = t_of_contrast(pairs, n, &pooled, 1, 0);
    double half = t95 * sqrt(t.variance.bb) / (double)t.n_cells;
    out->ci95 = (struct stats_interval){out->value - half, out->value + half};
}

// All ratios r that the data do not refute: (vs - r base)^2 <= t^2 var(vs - r base).
static struct stats_interval fieller(const struct totals *t, double t95) {
    double k = t95 * t95;
    double a = t->base * t->base - k * t->variance.bb;
    double b = t->base * t->vs - k * t->variance.bv;
    double c = t->vs * t->vs - k * t->variance.vv;
    double inside = b * b - a * c;
    if (!(a > 0) || !(inside >= 0)) {
        return nowhere(); // the base is not clearly different from 0
    }
    return (struct stats_interval){(b - sqrt(inside)) / a, (b + sqrt(inside)) / a};
}

void strata_ratio(const struct strata_pair *pairs, size_t n, struct strata_result *out) {
    struct moments pooled;
    *out = (struct strata_result){.n = n, .value = NAN, .ci95 = nowhere()};
    if (n == 0) {
        return;
    }
    size_t dof = pooled_relative(pairs, n, &pooled);
    struct totals t = add_up(pairs, n, &pooled);
    out->n_cells = t.n_cells;
    if (!(t.base > 0)) {
        return;
    }
    out->value = t.vs / t.base;
    if (dof > 0) {
        out->ci95 = fieller(&t, t_of_contrast(pairs, n, &pooled, -out->value, 1));
    }
}
