#include "stats/knee_json.h"

#include <math.h>
#include <stdint.h>

#include "stats/law.h"

enum { KNEE_JSON_VERSION = 1 };

// The figures of a fit: X(field).
#define BOOL_FIELDS(X)                                                                             \
    X(has_knee)                                                                                    \
    X(is_at_edge)                                                                                  \
    X(has_quadratic)                                                                               \
    X(has_slope_above)                                                                             \
    X(is_flat_above)                                                                               \
    X(is_lack_of_fit)
#define DOUBLE_FIELDS(X)                                                                           \
    X(p_no_knee)                                                                                   \
    X(knee_x)                                                                                      \
    X(fixed)                                                                                       \
    X(slope)                                                                                       \
    X(quadratic)                                                                                   \
    X(slope_above)                                                                                 \
    X(level_above)                                                                                 \
    X(x_min)                                                                                       \
    X(x_max)                                                                                       \
    X(dof)                                                                                         \
    X(noise_fixed)                                                                                 \
    X(noise_share)                                                                                 \
    X(p_lack_of_fit)                                                                               \
    X(r2)
#define INTERVAL_FIELDS(X)                                                                         \
    X(knee_ci95)                                                                                   \
    X(slope_ci95)                                                                                  \
    X(slope_above_ci95)                                                                            \
    X(level_above_ci95)
#define COUNT_FIELDS(X)                                                                            \
    X(n)                                                                                           \
    X(n_x)                                                                                         \
    X(n_outliers)

// jansson's _new setters take the reference and fail on NULL; one test at the end is enough.
static bool set(json_t *object, const char *key, json_t *value) {
    return json_object_set_new(object, key, value) == 0;
}

static json_t *interval_to_json(struct stats_interval interval) {
    json_t *object = json_object();
    bool is_good = set(object, "low", wl_json_real(interval.low)) &&
                   set(object, "high", wl_json_real(interval.high));
    if (!is_good) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *knee_to_json(const struct knee_fit *fit) {
    json_t *object = json_object();
    bool is_good = set(object, "version", json_integer(KNEE_JSON_VERSION));
#define X(field) is_good = is_good && set(object, #field, json_boolean(fit->field));
    BOOL_FIELDS(X)
#undef X
#define X(field) is_good = is_good && set(object, #field, wl_json_real(fit->field));
    DOUBLE_FIELDS(X)
#undef X
#define X(field) is_good = is_good && set(object, #field, interval_to_json(fit->field));
    INTERVAL_FIELDS(X)
#undef X
#define X(field) is_good = is_good && set(object, #field, json_integer((json_int_t)fit->field));
    COUNT_FIELDS(X)
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
        status = wl_err_set(err, WL_INPUT, "the knee's %s is %lld, expected 0 to %d", key,
                            (long long)value, LAW_MAX_POINTS);
    }
    if (status == WL_OK) {
        *out = (size_t)value;
    }
    return status;
}

static enum wl_status read_interval(const json_t *json, const char *key, struct stats_interval *out,
                                    struct wl_err *err) {
    const json_t *interval = json_object_get(json, key);
    if (!json_is_object(interval)) {
        return wl_err_set(err, WL_INPUT, "the knee's %s is not an object with low and high", key);
    }
    enum wl_status status = wl_json_get_double(interval, "low", &out->low, err);
    if (status == WL_OK) {
        status = wl_json_get_double(interval, "high", &out->high, err);
    }
    if (status == WL_OK && (isnan(out->low) != isnan(out->high) || out->low > out->high)) {
        status = wl_err_set(err, WL_INPUT, "the knee's %s is upside down: %g to %g", key, out->low,
                            out->high);
    }
    return status;
}

static enum wl_status read_figures(const json_t *json, struct knee_fit *out, struct wl_err *err) {
    enum wl_status status = WL_OK;
#define X(field)                                                                                   \
    status = status == WL_OK ? wl_json_get_bool(json, #field, &out->field, err) : status;
    BOOL_FIELDS(X)
#undef X
#define X(field)                                                                                   \
    status = status == WL_OK ? wl_json_get_double(json, #field, &out->field, err) : status;
    DOUBLE_FIELDS(X)
#undef X
#define X(field) status = status == WL_OK ? read_interval(json, #field, &out->field, err) : status;
    INTERVAL_FIELDS(X)
#undef X
#define X(field) status = status == WL_OK ? read_count(json, #field, &out->field, err) : status;
    COUNT_FIELDS(X)
#undef X
    return status;
}

static bool is_in_range(const struct knee_fit *fit, double x) {
    return fit->x_min <= x && x <= fit->x_max;
}

static enum wl_status check(const struct knee_fit *fit, struct wl_err *err) {
    bool has_bend = !isnan(fit->knee_x);
    bool is_good =
        fit->p_no_knee >= 0 && fit->p_no_knee <= 1 && isfinite(fit->fixed) &&
        isfinite(fit->slope) && isfinite(fit->quadratic) && isfinite(fit->level_above) &&
        fit->dof > 0 && fit->noise_fixed >= 0 && fit->noise_share >= 0 && fit->x_min >= 0 &&
        fit->x_min < fit->x_max && fit->n_x <= fit->n && fit->n_outliers <= fit->n &&
        (fit->has_quadratic || fit->quadratic == 0) &&
        (has_bend ? is_in_range(fit, fit->knee_x) && isfinite(fit->slope_above) &&
                        is_in_range(fit, fit->knee_ci95.low) &&
                        is_in_range(fit, fit->knee_ci95.high) && fit->has_knee != fit->is_at_edge
                  : !fit->has_knee && !fit->is_at_edge && !fit->has_slope_above);
    if (!is_good) {
        return wl_err_set(err, WL_INPUT,
                          "the stored knee contradicts itself: a knee outside of its sizes, no "
                          "degrees of freedom, or figures of a knee where there is none");
    }
    return WL_OK;
}

enum wl_status knee_from_json(const json_t *json, struct knee_fit *out, struct wl_err *err) {
    struct knee_fit fit = {0};
    *out = fit;
    int64_t version = 0;
    enum wl_status status = wl_json_get_i64(json, "version", &version, err);
    if (status == WL_OK && version != KNEE_JSON_VERSION) {
        status = wl_err_set(err, WL_INPUT, "the stored knee has version %lld, expected %d",
                            (long long)version, KNEE_JSON_VERSION);
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
