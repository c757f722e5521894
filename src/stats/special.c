#include "stats/special.h"

#include <math.h>

static const double LN_SQRT_2PI = 0.91893853320467274178, PI = 3.14159265358979323846;

double stats_ln_gamma(double x) {
    if (!(x > 0)) {
        return NAN;
    }
    if (isinf(x)) {
        return INFINITY;
    }
    double shift = 0;
    while (x < 10) {
        shift += log(x);
        x += 1;
    }
    // Bernoulli numbers over 2k(2k-1): the error at x = 10 is below 1e-16.
    double y = 1 / (x * x);
    double series =
        1.0 / 12 +
        y * (-1.0 / 360 +
             y * (1.0 / 1260 +
                  y * (-1.0 / 1680 + y * (1.0 / 1188 + y * (-691.0 / 360360 + y * (1.0 / 156))))));
    return (x - 0.5) * log(x) - x + LN_SQRT_2PI + series / x - shift;
}

static double not_zero(double value) {
    return fabs(value) < 1e-300 ? 1e-300 : value;
}

// DLMF 8.17.22: converges fast for x < (a+1)/(a+b+2).
static double beta_fraction(double a, double b, double x) {
    double c = 1, d = 1 / not_zero(1 - (a + b) * x / (a + 1)), h = d;
    for (int m = 1; m <= 20000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1 / not_zero(1 + even * d);
        c = not_zero(1 + even / c);
        h *= d * c;
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / not_zero(1 + odd * d);
        c = not_zero(1 + odd / c);
        double step = d * c;
        h *= step;
        if (fabs(step - 1) < 1e-15) {
            break;
        }
    }
    return h;
}

// I_x(a, b) from x and 1-x, of which the smaller one carries the precision.
static double beta_from_both(double a, double b, double x, double one_minus_x) {
    if (x <= 0) {
        return 0;
    }
    if (one_minus_x <= 0) {
        return 1;
    }
    double ln_front = stats_ln_gamma(a + b) - stats_ln_gamma(a) - stats_ln_gamma(b) + a * log(x) +
                      b * log(one_minus_x);
    if (x < (a + 1) / (a + b + 2)) {
        return exp(ln_front) * beta_fraction(a, b, x) / a;
    }
    return 1 - exp(ln_front) * beta_fraction(b, a, one_minus_x) / b;
}

double stats_incomplete_beta(double a, double b, double x) {
    if (!(a > 0) || !(b > 0) || !(x >= 0) || !(x <= 1)) {
        return NAN;
    }
    return beta_from_both(a, b, x, 1 - x);
}

double stats_normal_cdf(double z) {
    return erfc(-z / sqrt(2)) / 2;
}

// Abramowitz & Stegun 26.2.23 (error below 4.5e-4), then Newton's method on the exact cdf.
double stats_normal_quantile(double p) {
    if (!(p > 0) || !(p < 1)) {
        return NAN;
    }
    double tail = fmin(p, 1 - p), t = sqrt(-2 * log(tail));
    double z = t - (2.515517 + t * (0.802853 + t * 0.010328)) /
                       (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    for (int i = 0; i < 4; i++) {
        double error = stats_normal_cdf(-z) - tail;
        z += error / (exp(-z * z / 2) / sqrt(2 * PI));
    }
    return p < 0.5 ? -z : z;
}

double stats_student_two_sided_p(double t, double dof) {
    if (!(dof > 0) || isnan(t)) {
        return NAN;
    }
    if (isinf(t)) {
        return 0;
    }
    double sum = dof + t * t;
    return beta_from_both(dof / 2, 0.5, dof / sum, t * t / sum);
}

double stats_student_cdf(double t, double dof) {
    double tail = stats_student_two_sided_p(t, dof) / 2;
    return t < 0 ? tail : 1 - tail;
}

static double student_density(double t, double dof) {
    double ln_front = stats_ln_gamma((dof + 1) / 2) - stats_ln_gamma(dof / 2);
    return exp(ln_front - (dof + 1) / 2 * log1p(t * t / dof)) / sqrt(dof * PI);
}

// Newton's method, kept inside a bracket that each step narrows: bisection where it would leave it.
double stats_student_quantile(double p, double dof) {
    if (!(p > 0) || !(p < 1) || !(dof > 0)) {
        return NAN;
    }
    double tail = 2 * fmin(p, 1 - p), low = 0, high = 2;
    while (stats_student_two_sided_p(high, dof) > tail && high < 1e300) {
        low = high;
        high *= 2;
    }
    double t = fmin(fmax(-stats_normal_quantile(tail / 2), low), high);
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        double error = stats_student_two_sided_p(t, dof) - tail;
        *(error > 0 ? &low : &high) = t;
        double next = t + error / (2 * student_density(t, dof));
        next = next > low && next < high ? next : (low + high) / 2;
        if (fabs(next - t) <= 1e-14 * t) {
            break;
        }
        t = next;
    }
    return p < 0.5 ? -t : t;
}

double stats_f_upper_p(double f, double dof1, double dof2) {
    if (!(dof1 > 0) || !(dof2 > 0) || isnan(f)) {
        return NAN;
    }
    if (f <= 0) {
        return 1;
    }
    if (isinf(f)) {
        return 0;
    }
    double sum = dof2 + dof1 * f;
    return beta_from_both(dof2 / 2, dof1 / 2, dof2 / sum, dof1 * f / sum);
}

double stats_f_cdf(double f, double dof1, double dof2) {
    return f <= 0 ? 0 : 1 - stats_f_upper_p(f, dof1, dof2);
}
