#include "stats/law_json.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LAW_JSON_VERSION = 1 };

// The plain figures of a fit: X(field).
#define DOUBLE_FIELDS(X)                                                                           \
    X(dof)                                                                                         \
    X(r2)                                                                                          \
    X(r2_adjusted)                                                                                 \
    X(r2_all)                                                                                      \
    X(residual_sd)                                                                                 \
    X(noise_fixed)                                                                                 \
    X(noise_share)                                                                                 \
    X(outlier_limit)                                                                               \
    X(p_quadratic)                                                                                 \
    X(p_interaction)                                                                               \
    X(max_quadratic_share)                                                                         \
    X(max_interaction_share)                                                                       \
    X(p_lack_of_fit)                                                                               \
    X(prompt_min)                                                                                  \
    X(prompt_max)                                                                                  \
    X(prompt_typical)                                                                              \
    X(generated_min)                                                                               \
    X(generated_max)                                                                               \
    X(generated_typical)                                                                           \
    X(mean_abs_pct_error)
#define COUNT_FIELDS(X)                                                                            \
    X(n)                                                                                           \
    X(n_outliers)                                                                                  \
    X(n_cells)                                                                                     \
    X(n_prompt_lengths)                                                                            \
    X(n_generated_lengths)
#define BOOL_FIELDS(X)                                                                             \
    X(is_lack_of_fit)                                                                              \
    X(has_negative_coef)

// jansson's _new setters take the reference and fail on NULL; one test at the end is enough.
static bool set(json_t *object, const char *key, json_t *value) {
    return json_object_set_new(object, key, value) == 0;
}

static json_t *term_to_json(const struct law_fit *fit, int term) {
    json_t *object = json_object();
    bool is_good = set(object, "name", json_string(law_term_name((enum law_term)term))) &&
                   set(object, "used", json_boolean(fit->has_term[term])) &&
                   set(object, "value", wl_json_real(fit->coef[term])) &&
                   set(object, "low", wl_json_real(fit->ci95[term].low)) &&
                   set(object, "high", wl_json_real(fit->ci95[term].high));
    json_t *row = json_array();
    for (int j = 0; j < LAW_N_TERMS; j++) {
        is_good =
            is_good && json_array_append_new(row, wl_json_real(fit->covariance[term][j])) == 0;
    }
    is_good = set(object, "covariance", row) && is_good;
    if (!is_good) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *law_to_json(const struct law_fit *fit) {
    json_t *object = json_object(), *terms = json_array();
    bool is_good = set(object, "version", json_integer(LAW_JSON_VERSION));
    for (int term = 0; term < LAW_N_TERMS; term++) {
        is_good = is_good && json_array_append_new(terms, term_to_json(fit, term)) == 0;
    }
    is_good = set(object, "terms", terms) && is_good;
#define X(field) is_good = is_good && set(object, #field, json_integer((json_int_t)fit->field));
    COUNT_FIELDS(X)
#undef X
#define X(field) is_good = is_good && set(object, #field, wl_json_real(fit->field));
    DOUBLE_FIELDS(X)
#undef X
#define X(field) is_good = is_good && set(object, #field, json_boolean(fit->field));
    BOOL_FIELDS(X)
#undef X
    if (!is_good) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static enum wl_status read_count(const json_t *json, const char *key, size_t *out,
                                 struct wl_err *err) {
    int64_t value = 0;
    enum wl_status status = wl_json_get_i64(json, key, &value, err);
    if (status == WL_OK && (value < 0 || value > LAW_MAX_POINTS)) {
        status = wl_err_set(err, WL_INPUT, "the law's %s is %lld, expected 0 to %d", key,
                            (long long)value, LAW_MAX_POINTS);
    }
    if (status == WL_OK) {
        *out = (size_t)value;
    }
    return status;
}

static enum wl_status read_covariance(const json_t *json, double out[LAW_N_TERMS],
                                      struct wl_err *err) {
    const json_t *row = json_object_get(json, "covariance");
    if (json_array_size(row) != LAW_N_TERMS) {
        return wl_err_set(err, WL_INPUT, "a law term's covariance is not an array of %d numbers",
                          LAW_N_TERMS);
    }
    for (size_t j = 0; j < LAW_N_TERMS; j++) {
        const json_t *value = json_array_get(row, j);
        if (!json_is_number(value)) {
            return wl_err_set(err, WL_INPUT, "a law term's covariance %zu is not a number", j);
        }
        out[j] = json_number_value(value);
    }
    return WL_OK;
}

static enum wl_status read_term(const json_t *json, int term, struct law_fit *out,
                                struct wl_err *err) {
    const char *name = NULL;
    enum wl_status status = wl_json_get_string(json, "name", &name, err);
    if (status == WL_OK && strcmp(name, law_term_name((enum law_term)term)) != 0) {
        status = wl_err_set(err, WL_INPUT, "the law's term %d is '%s', expected '%s'", term, name,
                            law_term_name((enum law_term)term));
    }
    if (status == WL_OK) {
        status = wl_json_get_bool(json, "used", &out->has_term[term], err);
    }
    if (status == WL_OK) {
        status = wl_json_get_double(json, "value", &out->coef[term], err);
    }
    if (status == WL_OK) {
        status = wl_json_get_double(json, "low", &out->ci95[term].low, err);
    }
    if (status == WL_OK) {
        status = wl_json_get_double(json, "high", &out->ci95[term].high, err);
    }
    if (status == WL_OK) {
        status = read_covariance(json, out->covariance[term], err);
    }
    return status;
}

static enum wl_status read_terms(const json_t *json, struct law_fit *out, struct wl_err *err) {
    const json_t *terms = json_object_get(json, "terms");
    if (json_array_size(terms) != LAW_N_TERMS) {
        return wl_err_set(err, WL_INPUT, "the law's terms are not an array of %d", LAW_N_TERMS);
    }
    enum wl_status status = WL_OK;
    for (int term = 0; status == WL_OK && term < LAW_N_TERMS; term++) {
        status = read_term(json_array_get(terms, (size_t)term), term, out, err);
    }
    return status;
}

static enum wl_status check(const struct law_fit *fit, struct wl_err *err) {
    bool is_good = fit->dof > 0 && fit->noise_fixed >= 0 && fit->noise_share >= 0 &&
                   fit->prompt_min <= fit->prompt_max && fit->generated_min <= fit->generated_max &&
                   fit->n_outliers <= fit->n;
    for (int term = 0; term < LAW_N_TERMS; term++) {
        is_good = is_good && isfinite(fit->coef[term]) && fit->covariance[term][term] >= 0 &&
                  (fit->has_term[term] || fit->coef[term] == 0);
    }
    if (!is_good) {
        return wl_err_set(err, WL_INPUT,
                          "the stored law contradicts itself: a negative variance, "
                          "no degrees of freedom, or ranges upside down");
    }
    return WL_OK;
}

static enum wl_status read_figures(const json_t *json, struct law_fit *out, struct wl_err *err) {
    enum wl_status status = WL_OK;
#define X(field) status = status == WL_OK ? read_count(json, #field, &out->field, err) : status;
    COUNT_FIELDS(X)
#undef X
#define X(field)                                                                                   \
    status = status == WL_OK ? wl_json_get_double(json, #field, &out->field, err) : status;
    DOUBLE_FIELDS(X)
#undef X
#define X(field)                                                                                   \
    status = status == WL_OK ? wl_json_get_bool(json, #field, &out->field, err) : status;
    BOOL_FIELDS(X)
#undef X
    return status;
}

enum wl_status law_from_json(const json_t *json, struct law_fit *out, struct wl_err *err) {
    struct law_fit fit = {0};
    *out = fit;
    int64_t version = 0;
    enum wl_status status = wl_json_get_i64(json, "version", &version, err);
    if (status == WL_OK && version != LAW_JSON_VERSION) {
        status = wl_err_set(err, WL_INPUT, "the stored law has version %lld, expected %d",
                            (long long)version, LAW_JSON_VERSION);
    }
    if (status == WL_OK) {
        status = read_terms(json, &fit, err);
    }
    if (status == WL_OK) {
        status = read_figures(json, &fit, err);
    }
    if (status == WL_OK) {
        status = check(&fit, err);
    }
    if (status == WL_OK) {
        *out = fit;
    }
    return status;
}
