#include <math.h>

#include "stats/law_search.h"

// Residuals are winsorised here, and a normal sample keeps this share of its variance.
static const double WINSOR = 2.5, WINSOR_VARIANCE = 0.97761;
// Candidates for s0/r: 0 and a geometric grid over the range of |y|.
enum { N_CANDIDATES = 24 };
// A fixed part must raise the log-likelihood by this much to be believed (p about 0.08).
static const double LEAST_GAIN = 1.5;
enum { MIN_DOF_FOR_FIXED_NOISE = 8 };

double law_noise_shape(const struct law_problem *problem, double ratio, double fitted) {
    return hypot(ratio, fmax(fabs(fitted), 1e-3 * problem->largest));
}

double law_noise_scale(struct law_problem *problem, double ratio, size_t n_terms) {
    size_t n = problem->n, dropped = n_terms < n ? n_terms : n - 1;
    double *u = problem->scratch;
    for (size_t i = 0; i < n; i++) {
        double residual = problem->points[i].y - problem->fitted[i];
        u[i] = fabs(residual) / law_noise_shape(problem, ratio, problem->fitted[i]);
    }
    stats_sort(u, n);
    // The fit makes about as many residuals small as it has terms.
    double rough = STATS_MAD_TO_SD * stats_quantile_sorted(u + dropped, n - dropped, 0.5);
    rough = fmax(rough, 1e-9);
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        double clipped = fmin(u[i], WINSOR * rough);
        squares += clipped * clipped;
    }
    return fmax(sqrt(squares / (WINSOR_VARIANCE * (double)(n - dropped))), 1e-9);
}

static double log_likelihood(struct law_problem *problem, double ratio, size_t n_terms) {
    double sum = -(double)problem->n * log(law_noise_scale(problem, ratio, n_terms));
    for (size_t i = 0; i < problem->n; i++) {
        sum -= log(law_noise_shape(problem, ratio, problem->fitted[i]));
    }
    return sum;
}

double law_noise_ratio(struct law_problem *problem, size_t n_terms) {
    if (problem->n < n_terms + MIN_DOF_FOR_FIXED_NOISE) {
        return 0;
    }
    double least = INFINITY, best = 0;
    for (size_t i = 0; i < problem->n; i++) {
        least = fmin(least, fabs(problem->points[i].y));
    }
    double from = fmax(0.2 * least, 1e-3 * problem->largest), to = 20 * problem->largest;
    double best_value = log_likelihood(problem, 0, n_terms) + LEAST_GAIN;
    for (int i = 0; i < N_CANDIDATES; i++) {
        double ratio = from * pow(to / from, i / (N_CANDIDATES - 1.0));
        double value = log_likelihood(problem, ratio, n_terms);
        if (value > best_value) {
            best_value = value;
            best = ratio;
        }
    }
    return best;
}
