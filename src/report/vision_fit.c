// Knees against nominal pixels, the law against effective pixels.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/strata.h"
#include "report/vision_parts.h"

enum { MIN_KNEE_SIZES = 5 };
#define NORMAL_95 1.959963984540054

static const char NOT_MEASURED[] = "not measured";
static const char UNRESOLVED[] = "unresolved: the interval is wider than the value";

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the report");
}

static enum wl_status set_reason(char **out, const char *reason, struct wl_err *err) {
    *out = strdup(reason);
    return *out ? WL_OK : no_memory(err);
}

// ---- whether the images' energy says something ----

static int by_cell(const void *a, const void *b) {
    const struct strata_pair *x = a, *y = b;
    return (x->cell > y->cell) - (x->cell < y->cell);
}

// The mean over the cells, with the scatter within them and the source's own error.
static bool is_energy_resolved(const struct report_model *model, struct strata_pair *pairs) {
    double systematic_rel = 0;
    size_t n = 0;
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *record = &model->records[i];
        double joules = record->value[METRIC_image_net_j];
        if (!vision_is_used(record) || !isfinite(joules)) {
            continue;
        }
        pairs[n++] = (struct strata_pair){record->cell, joules, joules};
        if (record->n_energies > 0) {
            systematic_rel = fmax(systematic_rel, record->energy[0].systematic_rel);
        }
    }
    struct strata_result mean;
    qsort(pairs, n, sizeof *pairs, by_cell);
    strata_mean(pairs, n, &mean);
    double sd = (mean.ci95.high - mean.ci95.low) / 2 / NORMAL_95;
    return n > 0 && record_is_resolved(mean.value, isfinite(sd) ? sd : 0, systematic_rel);
}

// NULL when the law may be fitted to the `n` values.
static const char *reason_against(const struct report_vision *vision, enum report_image_law law,
                                  size_t n) {
    bool is_energy = report_image_metric(law) == METRIC_image_net_j;
    return n == 0 ? NOT_MEASURED : is_energy && !vision->is_energy_resolved ? UNRESOLVED : NULL;
}

// ---- knees ----

static size_t collect_squares(const struct report_model *model,
                              const struct report_image_budget *budget, enum metric_id metric,
                              struct knee_point *out) {
    size_t n = 0;
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *record = &model->records[i];
        const struct record_vision *seen = &record->vision;
        bool is_here = vision_is_used(record) && seen->width == seen->height &&
                       seen->image_max_tokens == budget->image_max_tokens;
        if (is_here && isfinite(record->value[metric])) {
            out[n++] =
                (struct knee_point){(double)seen->width * seen->height, record->value[metric]};
        }
    }
    return n;
}

static size_t count_squares(const struct report_image_budget *budget) {
    size_t n = 0;
    for (size_t i = 0; i < budget->n_points; i++) {
        n += budget->point[i].width == budget->point[i].height;
    }
    return n;
}

static enum wl_status fit_knee(const struct report_model *model, struct report_image_budget *budget,
                               enum report_image_law law, uint64_t seed, struct knee_point *points,
                               struct wl_err *err) {
    struct wl_err reason = {0};
    size_t n = collect_squares(model, budget, report_image_metric(law), points);
    const char *against = reason_against(&model->vision, law, n);
    if (!against && count_squares(budget) < MIN_KNEE_SIZES) {
        against = "fewer than 5 square sizes were measured";
    }
    if (against) {
        return set_reason(&budget->reason[law], against, err);
    }
    enum wl_status status = knee_fit(points, n, seed, &budget->knee[law], &reason);
    budget->has_knee[law] = status == WL_OK;
    return status == WL_OK       ? WL_OK
           : status == WL_MEMORY ? no_memory(err)
                                 : set_reason(&budget->reason[law], reason.message, err);
}

static enum wl_status fit_knees(struct report_model *model, uint64_t seed,
                                struct knee_point *points, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t b = 0; b < model->vision.n_budgets; b++) {
        for (unsigned law = 0; law < REPORT_N_IMAGE_LAWS && status == WL_OK; law++) {
            uint64_t own_seed = seed + 0x9e3779b97f4a7c15u * (b * REPORT_N_IMAGE_LAWS + law + 1);
            status = fit_knee(model, &model->vision.budget[b], (enum report_image_law)law, own_seed,
                              points, err);
        }
    }
    return status;
}

// ---- laws ----

static size_t collect_costs(const struct report_model *model, enum metric_id metric,
                            struct law_point *out) {
    size_t n = 0;
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *record = &model->records[i];
        if (vision_is_used(record) && isfinite(record->value[metric])) {
            out[n++] =
                (struct law_point){vision_law_x(&model->vision, record), 0, record->value[metric]};
        }
    }
    return n;
}

static bool is_constant(const struct law_point *points, size_t n) {
    size_t i = 1;
    while (i < n && points[i].prompt_tokens == points[0].prompt_tokens) {
        i++;
    }
    return i >= n;
}

// A family that brings every picture to one size: the law is a mean.
static enum wl_status fit_constant(const struct law_point *points, size_t n, struct law_fit *out,
                                   struct wl_err *err) {
    double *values = calloc(n, sizeof *values);
    struct stats_summary summary = {0};
    if (!values) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        values[i] = points[i].y;
    }
    enum wl_status status = n < 3 ? wl_err_set(err, WL_INPUT, "fewer than 3 windows")
                                  : stats_describe(values, n, &summary, err);
    free(values);
    if (status != WL_OK) {
        return status;
    }
    double x = points[0].prompt_tokens;
    *out = (struct law_fit){.has_term = {[LAW_FIXED] = true},
                            .coef = {[LAW_FIXED] = summary.mean},
                            .n = n,
                            .n_cells = 1,
                            .n_prompt_lengths = 1,
                            .n_generated_lengths = 1,
                            .dof = (double)n - 1,
                            .residual_sd = summary.sd,
                            .noise_fixed = summary.sd,
                            .outlier_limit = INFINITY,
                            .p_quadratic = NAN,
                            .p_interaction = NAN,
                            .p_lack_of_fit = NAN,
                            .prompt_min = x,
                            .prompt_max = x,
                            .prompt_typical = x,
                            .mean_abs_pct_error = NAN};
    out->covariance[LAW_FIXED][LAW_FIXED] = summary.sd * summary.sd / (double)n;
    for (unsigned term = 0; term < LAW_N_TERMS; term++) {
        out->ci95[term] = term == LAW_FIXED ? summary.ci95_mean : (struct stats_interval){NAN, NAN};
    }
    return WL_OK;
}

static enum wl_status fit_law(struct report_model *model, enum report_image_law law,
                              struct law_point *points, struct wl_err *err) {
    struct report_vision *vision = &model->vision;
    struct wl_err reason = {0};
    size_t n = collect_costs(model, report_image_metric(law), points);
    const char *against = reason_against(vision, law, n);
    if (against) {
        return set_reason(&vision->law_reason[law], against, err);
    }
    enum wl_status status = is_constant(points, n)
                                ? fit_constant(points, n, &vision->law[law], &reason)
                                : law_fit(points, n, &vision->law[law], &reason);
    vision->has_law[law] = status == WL_OK;
    return status == WL_OK       ? WL_OK
           : status == WL_MEMORY ? no_memory(err)
                                 : set_reason(&vision->law_reason[law], reason.message, err);
}

// `squares` and `costs` have room for every record.
static enum wl_status fit_all(struct report_model *model, uint64_t seed, struct knee_point *squares,
                              struct law_point *costs, struct wl_err *err) {
    enum wl_status status = fit_knees(model, seed, squares, err);
    for (unsigned law = 0; law < REPORT_N_IMAGE_LAWS && status == WL_OK; law++) {
        status = fit_law(model, (enum report_image_law)law, costs, err);
    }
    return status;
}

enum wl_status vision_fit(struct report_model *model, uint64_t seed, struct wl_err *err) {
    if (model->vision.n_budgets == 0) {
        return WL_OK;
    }
    size_t room = model->n_records + 1;
    struct knee_point *squares = calloc(room, sizeof *squares);
    struct law_point *costs = calloc(room, sizeof *costs);
    struct strata_pair *pairs = calloc(room, sizeof *pairs);
    enum wl_status status = WL_MEMORY;
    if (squares && costs && pairs) {
        model->vision.is_energy_resolved = is_energy_resolved(model, pairs);
        status = fit_all(model, seed, squares, costs, err);
    } else {
        no_memory(err);
    }
    free(squares);
    free(costs);
    free(pairs);
    return status;
}
