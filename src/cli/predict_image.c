#include "cli/predict_image.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "cli/study_result.h"
#include "image/image.h"
#include "stats/law_json.h"

bool predict_image_parse(const char *text, struct engine_image_size *out) {
    char width[16];
    uint64_t w, h;
    size_t len = strcspn(text, "x");
    if (len == 0 || len >= sizeof width || text[len] != 'x') {
        return false;
    }
    memcpy(width, text, len);
    width[len] = '\0';
    if (!str_parse_u64(width, &w) || !str_parse_u64(text + len + 1, &h) || w < 1 || h < 1 ||
        w > IMAGE_LIMITS.max_side || h > IMAGE_LIMITS.max_side) {
        return false;
    }
    *out = (struct engine_image_size){(uint32_t)w, (uint32_t)h};
    return true;
}

// ---- the engine's count ----

// The path of the encoder that the model was studied with; NULL for none. Borrowed from `options`.
static const char *mmproj_of(const json_t *options, size_t index) {
    const json_t *model = json_array_get(json_object_get(options, "models"), index);
    return wl_json_opt_string(model, "mmproj", NULL);
}

static enum wl_status count_with(const char *mmproj, const struct store_model *model,
                                 struct predict_image *image, struct wl_err *err) {
    struct engine *engine;
    struct engine_counter_options options = {.mmproj = mmproj,
                                             .model = model->path,
                                             .image_min_tokens = (int32_t)image->image_min_tokens,
                                             .image_max_tokens = (int32_t)image->image_max_tokens};
    enum wl_status status = engine_start(NULL, &engine, err);
    if (status != WL_OK) {
        return status;
    }
    status = engine_open_counter(engine, &options, NULL, err);
    if (status == WL_OK) {
        status = engine_count_images(engine, &image->size, 1, &image->count, err);
    }
    engine_stop(engine);
    return status;
}

static enum wl_status count(const struct store_study *study, const struct store_model *model,
                            size_t index, struct predict_image *image, struct wl_err *err) {
    json_t *options;
    enum wl_status status =
        wl_json_parse(study->options_json, strlen(study->options_json), &options, err);
    if (status != WL_OK) {
        return wl_err_prefix(err, "the study's options");
    }
    const char *mmproj = mmproj_of(options, index);
    status = mmproj ? count_with(mmproj, model, image, err)
                    : wl_err_set(err, WL_NOT_FOUND, "'%s' was studied without an image encoder",
                                 model->label);
    json_decref(options);
    return status;
}

// ---- the second law ----

static enum wl_status predict_law(const struct store_fit *fit, struct predict_image *image,
                                  enum report_image_law law, struct wl_err *err) {
    json_t *json;
    struct law_fit law_fit;
    enum wl_status status = wl_json_parse(fit->json, strlen(fit->json), &json, err);
    if (status == WL_OK) {
        status = law_from_json(json, &law_fit, err);
    }
    if (status == WL_OK) {
        const char *x = wl_json_opt_string(json, STUDY_RESULT_LAW_X, "");
        bool is_per_token = strcmp(x, STUDY_RESULT_PER_TOKEN) == 0;
        double kpx = (double)image->count.effective_pixels / 1000;
        law_predict(&law_fit, is_per_token ? image->count.image_tokens : kpx, 0, &image->law[law]);
        image->has_law[law] = is_per_token || kpx > 0;
    }
    json_decref(json);
    return status;
}

enum wl_status predict_image_fill(struct predict_image *image, const struct store_study *study,
                                  const struct store_model *model, size_t index,
                                  const struct store_fit *fits, size_t n_fits, struct wl_err *err) {
    const struct store_fit *found[REPORT_N_IMAGE_LAWS] = {NULL};
    for (size_t i = 0; i < n_fits; i++) {
        for (int law = 0; law < REPORT_IMAGE_WINDOW; law++) {
            enum metric_id metric = report_image_metric((enum report_image_law)law);
            if (fits[i].model_id == model->id && metric_by_id(fits[i].metric) == metric) {
                found[law] = &fits[i];
            }
        }
    }
    if (!found[REPORT_IMAGE_TIME]) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "study %lld has no law for images of '%s': leave --image out, or run "
                          "'wattlaw study' on a model with an image encoder",
                          (long long)study->id, model->label);
    }
    enum wl_status status = count(study, model, index, image, err);
    for (int law = 0; law < REPORT_IMAGE_WINDOW && status == WL_OK; law++) {
        image->has_law[law] = false;
        if (found[law]) {
            status = predict_law(found[law], image, (enum report_image_law)law, err);
        }
    }
    return status;
}

// ---- text and image together ----

static struct stats_interval sum_of(struct stats_interval a, double a_value,
                                    struct stats_interval b, double b_value) {
    double value = a_value + b_value;
    return (struct stats_interval){value - hypot(a_value - a.low, b_value - b.low),
                                   value + hypot(a.high - a_value, b.high - b_value)};
}

// Two independent fits.
static void add(struct law_prediction *cost, const struct law_prediction *part) {
    cost->ci95 = sum_of(cost->ci95, cost->value, part->ci95, part->value);
    cost->pi95 = sum_of(cost->pi95, cost->value, part->pi95, part->value);
    cost->value += part->value;
    cost->is_extrapolated = cost->is_extrapolated || part->is_extrapolated;
}

static struct law_prediction scaled(const struct law_prediction *part, double factor) {
    struct law_prediction out = *part;
    out.value *= factor;
    out.ci95 = (struct stats_interval){factor * part->ci95.low, factor * part->ci95.high};
    out.pi95 = (struct stats_interval){factor * part->pi95.low, factor * part->pi95.high};
    return out;
}

// Net energy and idle power for as long as it takes. Both grow with the time, so ends add to ends.
static struct law_prediction gross_of(const struct predict_image *image) {
    struct law_prediction gross = image->law[REPORT_IMAGE_ENERGY];
    struct law_prediction idle = scaled(&image->law[REPORT_IMAGE_TIME], image->idle_w);
    gross.value += idle.value;
    gross.ci95.low += idle.ci95.low;
    gross.ci95.high += idle.ci95.high;
    gross.pi95.low += idle.pi95.low;
    gross.pi95.high += idle.pi95.high;
    return gross;
}

bool predict_image_add(const struct predict_image *image, enum metric_id metric,
                       struct law_prediction *cost) {
    struct law_prediction part;
    bool has_energy = image->has_law[REPORT_IMAGE_ENERGY];
    if (metric == METRIC_prefill_s || metric == METRIC_decode_s) {
        return true; // of the text alone
    }
    if (metric == METRIC_time_s && image->has_law[REPORT_IMAGE_TIME]) {
        part = image->law[REPORT_IMAGE_TIME];
    } else if (metric == METRIC_cpu_auc_pct_s && image->has_law[REPORT_IMAGE_CPU] &&
               image->n_cores > 0) {
        part = scaled(&image->law[REPORT_IMAGE_CPU], 100 / image->n_cores);
    } else if (metric == METRIC_energy_net_j && has_energy) {
        part = image->law[REPORT_IMAGE_ENERGY];
    } else if (metric == METRIC_energy_gross_j && has_energy && isfinite(image->idle_w)) {
        part = gross_of(image);
    } else {
        return false;
    }
    add(cost, &part);
    return true;
}

json_t *predict_image_json(const struct predict_image *image) {
    const struct engine_image_count *n = &image->count;
    json_t *pixels = n->effective_pixels > 0 ? json_integer((json_int_t)n->effective_pixels)
                                             : json_null(); // the family does not tell
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "width", (json_int_t)image->size.width,
                     "height", (json_int_t)image->size.height, "image_max_tokens",
                     (json_int_t)image->image_max_tokens, "image_tokens",
                     (json_int_t)n->image_tokens, "text_tokens", (json_int_t)n->text_tokens,
                     "n_views", (json_int_t)n->n_views, "effective_pixels", pixels);
}
