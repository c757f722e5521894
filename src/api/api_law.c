// Laws of the public library.
#include <stdlib.h>

#include "api/api.h"
#include "stats/law_json.h"

_Static_assert(sizeof(struct wattlaw_law_point) == sizeof(struct law_point), "law point");
_Static_assert((int)WATTLAW_LAW_INTERACTION == (int)LAW_INTERACTION, "law terms");

// A law's JSON is about 3 KiB.
enum { MAX_LAW_JSON_BYTES = 65536 };

struct wattlaw_law {
    struct law_fit fit;
};

static enum wl_status new_law(struct wattlaw_law **out, struct wl_err *err) {
    *out = calloc(1, sizeof **out);
    return *out ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for a law");
}

static enum wl_status copy_points(const struct wattlaw_law_point *points, size_t n,
                                  struct law_point **out, struct wl_err *err) {
    if (n > LAW_MAX_POINTS) {
        return wl_err_set(err, WL_LIMIT, "a law is fitted to at most %d points, found %zu",
                          LAW_MAX_POINTS, n);
    }
    *out = calloc(n ? n : 1, sizeof **out);
    if (!*out) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu points", n);
    }
    for (size_t i = 0; i < n; i++) {
        (*out)[i] =
            (struct law_point){points[i].prompt_tokens, points[i].generated_tokens, points[i].cost};
    }
    return WL_OK;
}

enum wattlaw_status wattlaw_law_fit(const struct wattlaw_law_point *points, size_t n,
                                    struct wattlaw_law **out, struct wattlaw_error *error) {
    if (!out || (n && !points)) {
        return api_missing("the law or its points", error);
    }
    struct wl_err err = {0};
    struct law_point *copy = NULL;
    *out = NULL;
    enum wl_status status = copy_points(points, n, &copy, &err);
    if (status == WL_OK) {
        status = new_law(out, &err);
    }
    if (status == WL_OK) {
        status = law_fit(copy, n, &(*out)->fit, &err);
    }
    free(copy);
    if (status != WL_OK) {
        wattlaw_law_free(*out);
        *out = NULL;
    }
    return api_result(status, &err, error);
}

enum wattlaw_status wattlaw_law_coefficient(const struct wattlaw_law *law,
                                            enum wattlaw_law_term term,
                                            struct wattlaw_coefficient *out,
                                            struct wattlaw_error *error) {
    struct wl_err err = {0};
    if ((int)term < 0 || (int)term >= LAW_N_TERMS) {
        wl_err_set(&err, WL_INPUT, "a law has terms 0 to %d, not %d", LAW_N_TERMS - 1, (int)term);
        return api_result(WL_INPUT, &err, error);
    }
    const struct law_fit *fit = &law->fit;
    const struct wattlaw_coefficient value = {.size = sizeof value,
                                              .is_used = fit->has_term[term],
                                              .value = fit->coef[term],
                                              .low = fit->ci95[term].low,
                                              .high = fit->ci95[term].high};
    if (!api_copy_out(out, &value, sizeof value)) {
        return api_missing("the coefficient", error);
    }
    return api_result(WL_OK, &err, error);
}

enum wattlaw_status wattlaw_law_quality(const struct wattlaw_law *law,
                                        struct wattlaw_law_quality *out,
                                        struct wattlaw_error *error) {
    const struct law_fit *fit = &law->fit;
    const struct wattlaw_law_quality value = {.size = sizeof value,
                                              .n = fit->n,
                                              .n_outliers = fit->n_outliers,
                                              .r2 = fit->r2,
                                              .residual_sd = fit->residual_sd,
                                              .mean_abs_pct_error = fit->mean_abs_pct_error,
                                              .p_quadratic = fit->p_quadratic,
                                              .p_interaction = fit->p_interaction,
                                              .p_lack_of_fit = fit->p_lack_of_fit};
    struct wl_err err = {0};
    if (!api_copy_out(out, &value, sizeof value)) {
        return api_missing("the law's quality", error);
    }
    return api_result(WL_OK, &err, error);
}

enum wattlaw_status wattlaw_law_predict(const struct wattlaw_law *law, double prompt_tokens,
                                        double generated_tokens, struct wattlaw_prediction *out,
                                        struct wattlaw_error *error) {
    struct law_prediction prediction;
    law_predict(&law->fit, prompt_tokens, generated_tokens, &prediction);
    const struct wattlaw_prediction value = {.size = sizeof value,
                                             .value = prediction.value,
                                             .mean_low = prediction.ci95.low,
                                             .mean_high = prediction.ci95.high,
                                             .run_low = prediction.pi95.low,
                                             .run_high = prediction.pi95.high,
                                             .is_extrapolated = prediction.is_extrapolated};
    struct wl_err err = {0};
    if (!api_copy_out(out, &value, sizeof value)) {
        return api_missing("the prediction", error);
    }
    return api_result(WL_OK, &err, error);
}

enum wattlaw_status wattlaw_law_compare(const struct wattlaw_law *base,
                                        const struct wattlaw_law *changed, double prompt_tokens,
                                        double generated_tokens, struct wattlaw_ratio *out,
                                        struct wattlaw_error *error) {
    struct law_comparison comparison;
    law_compare(&base->fit, &changed->fit, prompt_tokens, generated_tokens, &comparison);
    const struct wattlaw_ratio value = {.size = sizeof value,
                                        .value = comparison.cost.ratio,
                                        .low = comparison.cost.ratio_ci95.low,
                                        .high = comparison.cost.ratio_ci95.high,
                                        .p_equal = comparison.cost.p_equal};
    struct wl_err err = {0};
    if (!api_copy_out(out, &value, sizeof value)) {
        return api_missing("the ratio", error);
    }
    return api_result(WL_OK, &err, error);
}

enum wattlaw_status wattlaw_law_to_json(const struct wattlaw_law *law, char **text,
                                        struct wattlaw_error *error) {
    struct wl_err err = {0};
    enum wl_status status = WL_OK;
    struct buf buf;
    json_t *json = law_to_json(&law->fit);
    buf_init(&buf, MAX_LAW_JSON_BYTES);
    if (!json || !wl_json_write(&buf, json)) {
        status = wl_err_set(&err, WL_MEMORY, "no memory for the law's JSON");
    }
    *text = status == WL_OK ? buf_detach(&buf) : NULL;
    buf_release(&buf);
    json_decref(json);
    return api_result(status, &err, error);
}

enum wattlaw_status wattlaw_law_from_json(const char *text, size_t len, struct wattlaw_law **out,
                                          struct wattlaw_error *error) {
    struct wl_err err = {0};
    json_t *json = NULL;
    enum wl_status status = WL_OK;
    *out = NULL;
    if (len > MAX_LAW_JSON_BYTES) {
        status = wl_err_set(&err, WL_LIMIT, "a law's JSON has at most %d bytes, found %zu",
                            MAX_LAW_JSON_BYTES, len);
    }
    if (status == WL_OK) {
        status = wl_json_parse(text, len, &json, &err);
    }
    if (status == WL_OK) {
        status = new_law(out, &err);
    }
    if (status == WL_OK) {
        status = law_from_json(json, &(*out)->fit, &err);
    }
    json_decref(json);
    if (status != WL_OK) {
        wattlaw_law_free(*out);
        *out = NULL;
    }
    return api_result(status, &err, error);
}

void wattlaw_law_free(struct wattlaw_law *law) {
    free(law);
}
