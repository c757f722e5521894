#include "meter/calibration.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "os/file.h"

enum { SCHEMA_VERSION = 1, MAX_FILE_BYTES = 1 << 18 };
static const char *const TERM_NAMES[METER_CALIBRATION_TERMS] = {"idle_w", "core_w", "byte_j",
                                                                "flop_j"};

const struct meter_calibration *meter_calibration_find(const struct meter_calibration_set *set,
                                                       const char *source) {
    for (size_t i = 0; set && i < set->n; i++) {
        if (strcmp(set->item[i].source, source) == 0) {
            return &set->item[i];
        }
    }
    return NULL;
}

enum wl_status meter_calibration_put(struct meter_calibration_set *set,
                                     const struct meter_calibration *item, struct wl_err *err) {
    for (size_t i = 0; i < set->n; i++) {
        if (strcmp(set->item[i].source, item->source) == 0) {
            set->item[i] = *item;
            return WL_OK;
        }
    }
    if (set->n == METER_MAX_CALIBRATIONS) {
        return wl_err_set(err, WL_LIMIT, "more than %d calibrated sources", METER_MAX_CALIBRATIONS);
    }
    set->item[set->n++] = *item;
    return WL_OK;
}

bool meter_calibration_remove(struct meter_calibration_set *set, const char *source) {
    for (size_t i = 0; i < set->n; i++) {
        if (strcmp(set->item[i].source, source) == 0) {
            set->n--;
            memmove(&set->item[i], &set->item[i + 1], (set->n - i) * sizeof set->item[i]);
            return true;
        }
    }
    return false;
}

void meter_calibration_device(const struct meter_info *info, char out[METER_DEVICE_BYTES]) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < info->n_channels; i++) {
        if (info->channel[i].is_counted && used + METER_NAME_BYTES + 1 < METER_DEVICE_BYTES) {
            int n = snprintf(out + used, METER_DEVICE_BYTES - used, "%s%s", used ? "+" : "",
                             info->channel[i].name);
            used += n > 0 ? (size_t)n : 0;
        }
    }
}

static bool is_of_device(const struct meter_calibration *item, const struct meter_info *info) {
    char device[METER_DEVICE_BYTES];
    meter_calibration_device(info, device);
    return !item->device[0] || strcmp(item->device, device) == 0;
}

static void apply_lag(const struct meter_calibration *item, struct meter_info *info) {
    if (item->lag_sd_ns > 0) {
        info->lag_ns = item->lag_ns;
        info->lag_sd_ns = item->lag_sd_ns;
        info->smoothing_ns = item->smoothing_ns;
    }
}

void meter_calibration_apply(const struct meter_calibration *item, struct meter_info *info) {
    const struct meter_gain *gain = &item->gain;
    if (!is_of_device(item, info)) {
        return;
    }
    apply_lag(item, info);
    if (item->is_lag_only) {
        return;
    }
    for (size_t i = 0; i < info->n_channels; i++) {
        info->channel[i].scale *= gain->gain;
    }
    info->quantum *= gain->gain;
    info->noise_sd_w *= gain->gain;
    info->max_power_w *= fmax(gain->gain, 1);
    info->offset_w = gain->offset_w;
    info->gain_error_rel = gain->gain_sd / gain->gain;
    info->offset_error_w = gain->offset_sd_w;
    info->scope = item->scope > info->scope ? item->scope : info->scope;
    info->label = LABEL_CALIBRATED;
}

// --- to JSON ------------------------------------------------------------------------------------

static json_t *gain_json(const struct meter_gain *gain) {
    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "gain", gain->gain, "offset_w", gain->offset_w,
                     "gain_sd", gain->gain_sd, "offset_sd_w", gain->offset_sd_w, "covariance",
                     gain->covariance);
}

static json_t *terms_json(const struct meter_terms *terms) {
    json_t *object = json_object();
    json_t *rows = json_array();
    for (int i = 0; i < METER_CALIBRATION_TERMS; i++) {
        json_t *row = json_array();
        for (int j = 0; j < METER_CALIBRATION_TERMS; j++) {
            json_array_append_new(row, wl_json_real(terms->covariance[i][j]));
        }
        json_array_append_new(rows, row);
        json_object_set_new(
            object, TERM_NAMES[i],
            json_pack("{s:f, s:b}", "value", terms->value[i], "is_fitted", terms->is_fitted[i]));
    }
    json_object_set_new(object, "covariance", rows);
    json_object_set_new(object, "rel_sd", wl_json_real(terms->rel_sd));
    return object;
}

static json_t *item_json(const struct meter_calibration *item) {
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:i}", "source", item->source, "device",
                  item->device, "reference", item->reference, "scope",
                  meter_scope_name(item->scope), "lag_ns", (json_int_t)item->lag_ns, "lag_sd_ns",
                  (json_int_t)item->lag_sd_ns, "smoothing_ns", (json_int_t)item->smoothing_ns,
                  "wall_ns", (json_int_t)item->wall_ns, "n_blocks", (int)item->n_blocks);
    json_object_set_new(object, "r2", wl_json_real(item->r2));
    json_object_set_new(object, "residual_sd_w", wl_json_real(item->residual_sd_w));
    if (!item->is_lag_only) {
        json_object_set_new(object, item->is_model ? "terms" : "line",
                            item->is_model ? terms_json(&item->terms) : gain_json(&item->gain));
    }
    return object;
}

json_t *meter_calibration_to_json(const struct meter_calibration_set *set) {
    json_t *items = json_array();
    for (size_t i = 0; i < set->n; i++) {
        json_array_append_new(items, item_json(&set->item[i]));
    }
    return json_pack("{s:i, s:s, s:s, s:s, s:o}", "schema_version", SCHEMA_VERSION, "machine",
                     set->machine, "governor", set->governor, "kernel", set->kernel, "calibrations",
                     items);
}

// --- from JSON ----------------------------------------------------------------------------------

static enum wl_status bad(struct wl_err *err, const char *what, const char *expected) {
    return wl_err_set(err, WL_INPUT, "%s: expected %s", what, expected);
}

static enum wl_status read_gain(const json_t *object, struct meter_gain *out, struct wl_err *err) {
    enum wl_status status;
    if ((status = wl_json_get_double(object, "gain", &out->gain, err)) ||
        (status = wl_json_get_double(object, "offset_w", &out->offset_w, err)) ||
        (status = wl_json_get_double(object, "gain_sd", &out->gain_sd, err)) ||
        (status = wl_json_get_double(object, "offset_sd_w", &out->offset_sd_w, err)) ||
        (status = wl_json_get_double(object, "covariance", &out->covariance, err))) {
        return status;
    }
    if (!(out->gain > 1e-3 && out->gain < 1e3)) {
        return bad(err, "gain", "0.001 to 1000");
    }
    if (!(fabs(out->offset_w) < 1e5) || !(out->gain_sd >= 0 && out->gain_sd < 1e3) ||
        !(out->offset_sd_w >= 0 && out->offset_sd_w < 1e5)) {
        return bad(err, "offset_w, gain_sd, offset_sd_w", "finite numbers, no negative deviations");
    }
    bool is_sound = fabs(out->covariance) <= out->gain_sd * out->offset_sd_w * (1 + 1e-6);
    return is_sound ? WL_OK : bad(err, "covariance", "at most gain_sd x offset_sd_w");
}

// The terms' units differ by many powers of ten, so every pair is compared with its own deviations.
static bool is_covariance(const struct meter_terms *terms) {
    for (size_t i = 0; i < METER_CALIBRATION_TERMS; i++) {
        for (size_t j = 0; j < i; j++) {
            double a = terms->covariance[i][j], b = terms->covariance[j][i];
            double most = sqrt(terms->covariance[i][i]) * sqrt(terms->covariance[j][j]);
            if (!(fabs(a) <= most * (1 + 1e-6)) || !(fabs(a - b) <= 1e-6 * most)) {
                return false;
            }
        }
    }
    return true;
}

static enum wl_status read_covariance(const json_t *rows, struct meter_terms *out,
                                      struct wl_err *err) {
    for (size_t i = 0; i < METER_CALIBRATION_TERMS; i++) {
        const json_t *row = json_array_get(rows, i);
        for (size_t j = 0; j < METER_CALIBRATION_TERMS; j++) {
            const json_t *value = json_array_get(row, j);
            if (!json_is_number(value) || !isfinite(json_number_value(value))) {
                return bad(err, "covariance", "4 rows of 4 numbers");
            }
            out->covariance[i][j] = json_number_value(value);
        }
        if (out->covariance[i][i] < 0) {
            return bad(err, "covariance", "no negative variance");
        }
    }
    return is_covariance(out) ? WL_OK
                              : bad(err, "covariance", "symmetric, with correlations up to 1");
}

static enum wl_status read_terms(const json_t *object, struct meter_terms *out,
                                 struct wl_err *err) {
    for (int i = 0; i < METER_CALIBRATION_TERMS; i++) {
        const json_t *term = json_object_get(object, TERM_NAMES[i]);
        enum wl_status status;
        if ((status = wl_json_get_double(term, "value", &out->value[i], err)) ||
            (status = wl_json_get_bool(term, "is_fitted", &out->is_fitted[i], err))) {
            wl_err_prefix(err, "%s", TERM_NAMES[i]);
            return status;
        }
        if (!(out->value[i] >= 0 && out->value[i] < 1e5)) {
            return bad(err, TERM_NAMES[i], "a number from 0");
        }
    }
    enum wl_status status = wl_json_get_double(object, "rel_sd", &out->rel_sd, err);
    if (status == WL_OK && !(out->rel_sd >= 0 && out->rel_sd < 100)) {
        return bad(err, "rel_sd", "a number from 0");
    }
    return status ? status : read_covariance(json_object_get(object, "covariance"), out, err);
}

static enum wl_status read_scope(const json_t *object, enum meter_scope *out, struct wl_err *err) {
    const char *name;
    enum wl_status status = wl_json_get_string(object, "scope", &name, err);
    for (int s = METER_SCOPE_CPU; status == WL_OK && s <= METER_SCOPE_WALL; s++) {
        if (strcmp(meter_scope_name((enum meter_scope)s), name) == 0) {
            *out = (enum meter_scope)s;
            return WL_OK;
        }
    }
    return status ? status : bad(err, "scope", "cpu, soc, board or wall");
}

static enum wl_status read_item(const json_t *object, struct meter_calibration *out,
                                struct wl_err *err) {
    const char *source, *reference;
    enum wl_status status;
    *out = (struct meter_calibration){0};
    if ((status = wl_json_get_string(object, "source", &source, err)) ||
        (status = wl_json_get_string(object, "reference", &reference, err)) ||
        (status = read_scope(object, &out->scope, err))) {
        return status;
    }
    str_copy(out->source, sizeof out->source, source);
    str_copy(out->reference, sizeof out->reference, reference);
    str_copy(out->device, sizeof out->device, wl_json_opt_string(object, "device", ""));
    out->lag_ns = wl_json_opt_i64(object, "lag_ns", 0);
    out->lag_sd_ns = wl_json_opt_i64(object, "lag_sd_ns", 0);
    out->smoothing_ns = wl_json_opt_i64(object, "smoothing_ns", 0);
    out->wall_ns = wl_json_opt_i64(object, "wall_ns", 0);
    int64_t n_blocks = wl_json_opt_i64(object, "n_blocks", 0);
    out->n_blocks = n_blocks >= 0 && n_blocks <= INT32_MAX ? (uint32_t)n_blocks : 0;
    out->r2 = wl_json_opt_double(object, "r2", NAN);
    out->residual_sd_w = wl_json_opt_double(object, "residual_sd_w", NAN);
    static const int64_t LONGEST_NS = 60000000000;
    if (llabs(out->lag_ns) > LONGEST_NS || out->lag_sd_ns < 0 || out->lag_sd_ns > LONGEST_NS ||
        out->smoothing_ns < 0 || out->smoothing_ns > LONGEST_NS) {
        return bad(err, "lag_ns, lag_sd_ns, smoothing_ns", "at most 60 s");
    }
    const json_t *terms = json_object_get(object, "terms");
    out->is_model = terms != NULL;
    out->is_lag_only = !terms && !json_object_get(object, "line") && out->lag_sd_ns > 0;
    if (out->is_lag_only) {
        return WL_OK;
    }
    return terms ? read_terms(terms, &out->terms, err)
                 : read_gain(json_object_get(object, "line"), &out->gain, err);
}

enum wl_status meter_calibration_from_json(const json_t *object, struct meter_calibration_set *out,
                                           struct wl_err *err) {
    *out = (struct meter_calibration_set){0};
    int64_t version;
    enum wl_status status = wl_json_get_i64(object, "schema_version", &version, err);
    if (status != WL_OK) {
        return status;
    }
    if (version != SCHEMA_VERSION) {
        return wl_err_set(err, WL_INPUT,
                          "schema_version is %lld, expected %d: run 'wattlaw calibrate'",
                          (long long)version, SCHEMA_VERSION);
    }
    str_copy(out->machine, sizeof out->machine, wl_json_opt_string(object, "machine", ""));
    str_copy(out->governor, sizeof out->governor, wl_json_opt_string(object, "governor", ""));
    str_copy(out->kernel, sizeof out->kernel, wl_json_opt_string(object, "kernel", ""));
    const json_t *items = json_object_get(object, "calibrations");
    if (!json_is_array(items)) {
        return bad(err, "calibrations", "a list");
    }
    for (size_t i = 0; i < json_array_size(items); i++) {
        struct meter_calibration item;
        if ((status = read_item(json_array_get(items, i), &item, err)) ||
            (status = meter_calibration_put(out, &item, err))) {
            wl_err_prefix(err, "calibration %zu", i + 1);
            return status;
        }
    }
    return WL_OK;
}

// --- files --------------------------------------------------------------------------------------

static enum wl_status default_path(const char *path, char out[OS_PATH_BYTES], struct wl_err *err) {
    char dir[OS_PATH_BYTES];
    if (path) {
        str_copy(out, OS_PATH_BYTES, path);
        return WL_OK;
    }
    enum wl_status status = os_data_dir(dir, err);
    return status ? status : os_path_join(out, dir, "machine.json", err);
}

enum wl_status meter_calibration_load(const char *path, struct meter_calibration_set *out,
                                      struct wl_err *err) {
    char full[OS_PATH_BYTES];
    struct buf text;
    json_t *json = NULL;
    *out = (struct meter_calibration_set){0};
    enum wl_status status = default_path(path, full, err);
    if (status != WL_OK) {
        return status;
    }
    buf_init(&text, MAX_FILE_BYTES);
    if ((status = os_slurp(full, &text, err)) == WL_OK &&
        (status = wl_json_parse(buf_text(&text), text.len, &json, err)) == WL_OK) {
        status = meter_calibration_from_json(json, out, err);
    }
    if (status != WL_OK && status != WL_NOT_FOUND) {
        wl_err_prefix(err, "calibration file '%s'", full);
        *out = (struct meter_calibration_set){0};
    }
    json_decref(json);
    buf_release(&text);
    return status;
}

enum wl_status meter_calibration_save(const char *path, const struct meter_calibration_set *set,
                                      struct wl_err *err) {
    char full[OS_PATH_BYTES], dir[OS_PATH_BYTES];
    struct buf text;
    enum wl_status status = default_path(path, full, err);
    if (status == WL_OK && !path && (status = os_data_dir(dir, err)) == WL_OK) {
        status = os_make_dirs(dir, err);
    }
    if (status != WL_OK) {
        return status;
    }
    json_t *json = meter_calibration_to_json(set);
    buf_init(&text, MAX_FILE_BYTES);
    status = json && wl_json_write_pretty(&text, json)
                 ? os_write_atomic(full, buf_text(&text), text.len, err)
                 : wl_err_set(err, WL_MEMORY, "no memory to write '%s'", full);
    json_decref(json);
    buf_release(&text);
    return status;
}
