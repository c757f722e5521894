#include <math.h>

#include "stats/law.h"
#include "stats/law_search.h"
#include "stats/ratio.h"
#include "stats/special.h"

// Value and variance of the mean cost.
static double mean_cost(const struct law_fit *fit, double prompt_tokens, double generated_tokens,
                        double *variance) {
    static const bool all[LAW_N_TERMS] = {true, true, true, true, true};
    double row[LAW_N_TERMS], value = 0;
    law_row(all, prompt_tokens, generated_tokens, row);
    *variance = 0;
    for (int i = 0; i < LAW_N_TERMS; i++) {
        value += fit->coef[i] * row[i]; // unused terms are 0
        for (int j = 0; j < LAW_N_TERMS; j++) {
            *variance += row[i] * row[j] * fit->covariance[i][j];
        }
    }
    *variance = fmax(*variance, 0);
    return value;
}

static double noise_variance(const struct law_fit *fit, double value) {
    return fit->noise_fixed * fit->noise_fixed +
           fit->noise_share * fit->noise_share * value * value;
}

static struct stats_interval around(double value, double half) {
    return (struct stats_interval){value - half, value + half};
}

static bool is_outside(const struct law_fit *fit, double prompt_tokens, double generated_tokens) {
    return prompt_tokens < fit->prompt_min || prompt_tokens > fit->prompt_max ||
           generated_tokens < fit->generated_min || generated_tokens > fit->generated_max;
}

void law_predict(const struct law_fit *fit, double prompt_tokens, double generated_tokens,
                 struct law_prediction *out) {
    double variance, t = stats_student_quantile(0.975, fit->dof);
    out->value = mean_cost(fit, prompt_tokens, generated_tokens, &variance);
    out->ci95 = around(out->value, t * sqrt(variance));
    out->pi95 = around(out->value, t * sqrt(variance + noise_variance(fit, out->value)));
    out->is_extrapolated = is_outside(fit, prompt_tokens, generated_tokens);
}

void law_residuals(const struct law_fit *fit, const struct law_point *points, size_t n,
                   struct law_residual *out) {
    for (size_t i = 0; i < n; i++) {
        double variance;
        double fitted =
            mean_cost(fit, points[i].prompt_tokens, points[i].generated_tokens, &variance);
        double sd = sqrt(noise_variance(fit, fitted)), residual = points[i].y - fitted;
        double standardised = sd > 0 ? residual / sd : 0;
        out[i] = (struct law_residual){fitted, residual, standardised,
                                       fabs(standardised) > fit->outlier_limit};
    }
}

// Two independent estimates of one quantity.
struct estimate_pair {
    struct stats_moment_pair moments;
    double dof_base;
    double dof_changed;
};

// Welch-Satterthwaite degrees of freedom of the difference.
static double welch_dof(const struct estimate_pair *pair) {
    double a = pair->moments.var_base, b = pair->moments.var_changed;
    double below = a * a / pair->dof_base + b * b / pair->dof_changed;
    return below > 0 ? (a + b) * (a + b) / below : pair->dof_base + pair->dof_changed;
}

static void contrast(const struct estimate_pair *pair, struct law_contrast *out) {
    const struct stats_moment_pair *m = &pair->moments;
    double dof = welch_dof(pair), t = stats_student_quantile(0.975, dof);
    double sd = sqrt(m->var_base + m->var_changed);
    out->is_valid = true;
    out->difference = m->changed - m->base;
    out->difference_ci95 = around(out->difference, t * sd);
    out->p_equal =
        sd > 0 ? stats_student_two_sided_p(out->difference / sd, dof) : out->difference == 0;
    out->ratio = m->base != 0 ? m->changed / m->base : NAN;
    out->ratio_ci95 = stats_fieller(m, dof);
}

static void compare_term(const struct law_fit *base, const struct law_fit *changed, int term,
                         struct law_contrast *out) {
    struct estimate_pair pair = {.moments = {.base = base->coef[term],
                                             .changed = changed->coef[term],
                                             .var_base = base->covariance[term][term],
                                             .var_changed = changed->covariance[term][term]},
                                 .dof_base = base->dof,
                                 .dof_changed = changed->dof};
    contrast(&pair, out);
}

void law_compare(const struct law_fit *base, const struct law_fit *changed, double prompt_tokens,
                 double generated_tokens, struct law_comparison *out) {
    *out = (struct law_comparison){.prompt_tokens = prompt_tokens,
                                   .generated_tokens = generated_tokens};
    for (int term = 0; term < LAW_N_TERMS; term++) {
        if (base->has_term[term] && changed->has_term[term]) {
            compare_term(base, changed, term, &out->term[term]);
        }
    }
    struct estimate_pair pair = {.dof_base = base->dof, .dof_changed = changed->dof};
    struct stats_moment_pair *m = &pair.moments;
    m->base = mean_cost(base, prompt_tokens, generated_tokens, &m->var_base);
    m->changed = mean_cost(changed, prompt_tokens, generated_tokens, &m->var_changed);
    contrast(&pair, &out->cost);
    out->is_extrapolated = is_outside(base, prompt_tokens, generated_tokens) ||
                           is_outside(changed, prompt_tokens, generated_tokens);
}
