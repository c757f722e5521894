#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "report/analysis.h"

enum { MAX_LAYERS = 4096, MAX_SIDE = 1 << 28 };
static const double MOST_ERROR = 2; // about 1 when all has gone
static const double MOST = 1e12;    // of other figures: larger ones are none

// ---- numbers ----

static enum wl_status take_number(const json_t *json, const char *key, double most, double *out,
                                  struct wl_err *err) {
    enum wl_status status = wl_json_get_double(json, key, out, err);
    return status != WL_OK || (*out >= 0 && *out <= most)
               ? status
               : wl_err_set(err, WL_INPUT, "key '%s': expected a number from 0 to %g, found %g",
                            key, most, *out);
}

static enum wl_status take_count(const json_t *json, const char *key, int64_t low, int64_t high,
                                 int64_t *out, struct wl_err *err) {
    enum wl_status status = wl_json_get_i64(json, key, out, err);
    return status != WL_OK || (*out >= low && *out <= high)
               ? status
               : wl_err_set(err, WL_INPUT,
                            "key '%s': expected %" PRId64 " to %" PRId64 ", found %" PRId64, key,
                            low, high, *out);
}

// A name of lower-case letters, digits and the like.
static enum wl_status take_word(const json_t *json, const char *key, char out[32],
                                struct wl_err *err) {
    const char *text;
    enum wl_status status = wl_json_get_string(json, key, &text, err);
    if (status == WL_OK &&
        (strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != strlen(text) ||
         !str_copy(out, 32, text))) {
        status =
            wl_err_set(err, WL_INPUT, "key '%s': expected a short name, found '%.40s'", key, text);
    }
    return status;
}

static enum wl_status take_array(const json_t *json, const char *key, size_t low, size_t high,
                                 const json_t **out, struct wl_err *err) {
    *out = json_object_get(json, key);
    size_t n = json_array_size(*out);
    return json_is_array(*out) && n >= low && n <= high
               ? WL_OK
               : wl_err_set(err, WL_INPUT, "key '%s': expected an array of %zu to %zu", key, low,
                            high);
}

static enum wl_status take_curve(const json_t *json, const char *key, size_t n, double *out,
                                 struct wl_err *err) {
    const json_t *array;
    enum wl_status status = take_array(json, key, n, n, &array, err);
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        const json_t *item = json_array_get(array, i);
        out[i] = json_is_number(item) ? json_number_value(item) : NAN;
        if (!(out[i] >= 0 && out[i] <= MOST_ERROR)) {
            status = wl_err_set(err, WL_INPUT, "key '%s': expected numbers from 0 to %g, found %g",
                                key, MOST_ERROR, out[i]);
        }
    }
    return status;
}

// ---- a block ----

static enum wl_status take_widths(const json_t *json, uint32_t *widths, struct wl_err *err) {
    const json_t *array;
    enum wl_status status =
        take_array(json, "widths", REPORT_ANALYSIS_WIDTHS, REPORT_ANALYSIS_WIDTHS, &array, err);
    for (size_t i = 0; i < REPORT_ANALYSIS_WIDTHS && status == WL_OK; i++) {
        json_int_t low = i > 0 ? (json_int_t)widths[i - 1] : 1;
        json_int_t value = json_integer_value(json_array_get(array, i)); // 0: no whole number
        if (value < low || value > MAX_SIDE) {
            return wl_err_set(err, WL_INPUT,
                              "key 'widths': expected whole numbers that never fall, from 1 to %d",
                              MAX_SIDE);
        }
        widths[i] = (uint32_t)value;
    }
    return status;
}

static enum wl_status take_spectrum(const json_t *json, const char *what,
                                    struct report_spectrum *out, struct wl_err *err) {
    int64_t rank = 0, chi_10 = 0, chi_1 = 0;
    enum wl_status status;
    if (!json_is_object(json)) {
        return wl_err_set(err, WL_INPUT, "key '%s': expected an object", what);
    }
    if ((status = take_count(json, "rank", 1, MAX_SIDE, &rank, err)) ||
        (status = take_count(json, "chi_1", 0, rank, &chi_1, err)) ||
        (status = take_count(json, "chi_10", 0, chi_1, &chi_10, err))) {
        return status;
    }
    out->rank = (uint32_t)rank;
    out->chi_10 = (uint32_t)chi_10;
    out->chi_1 = (uint32_t)chi_1;
    return take_number(json, "entropy", log((double)rank) * 1.001 + 1e-3, &out->entropy, err);
}

static enum wl_status take_bonds(const json_t *json, struct report_analysis *out,
                                 struct report_analysis_layer *layer, struct wl_err *err) {
    const json_t *array;
    enum wl_status status = take_array(json, "bonds", 0, REPORT_ANALYSIS_BONDS, &array, err);
    size_t n = json_array_size(array), expected = out->has_bonds ? REPORT_ANALYSIS_BONDS : 0;
    if (status == WL_OK && layer == out->layers) {
        out->has_bonds = n > 0;
        expected = n > 0 ? REPORT_ANALYSIS_BONDS : 0;
    }
    if (status == WL_OK && n != expected) {
        return wl_err_set(err, WL_INPUT, "key 'bonds': expected an array of %zu, found %zu",
                          expected, n);
    }
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        status = take_spectrum(json_array_get(array, i), "bonds", &layer->bonds[i], err);
    }
    return status;
}

static enum wl_status take_groups(const json_t *json, struct report_analysis_layer *layer,
                                  struct wl_err *err) {
    const json_t *array;
    enum wl_status status = take_array(json, "group_error", 1, REPORT_ANALYSIS_GROUPS, &array, err);
    if (status != WL_OK) {
        return status;
    }
    size_t n = json_array_size(array);
    layer->n_groups = (uint32_t)n;
    status = take_curve(json, "group_error", n, layer->group_error, err);
    return status == WL_OK ? take_curve(json, "group_tail", n, layer->group_tail, err) : status;
}

static enum wl_status take_figures(const json_t *json, struct report_analysis_layer *layer,
                                   struct wl_err *err) {
    const struct {
        const char *key;
        double *out;
        double most;
    } rows[] = {{"influence", &layer->influence, 2},
                {"attention_share", &layer->attention_share, MOST},
                {"ffn_share", &layer->ffn_share, MOST},
                {"ffn_sensitivity", &layer->ffn_sensitivity, MOST},
                {"attention_sensitivity", &layer->attention_sensitivity, MOST},
                {"kl_no_attention", &layer->kl_no_attention, MOST},
                {"kl_removed", &layer->kl_removed, MOST}};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == WL_OK; i++) {
        status = take_number(json, rows[i].key, rows[i].most, rows[i].out, err);
    }
    return status;
}

static enum wl_status take_layer(const json_t *json, struct report_analysis *out, uint32_t number,
                                 struct wl_err *err) {
    struct report_analysis_layer *layer = &out->layers[number];
    int64_t found;
    enum wl_status status;
    if ((status = take_count(json, "layer", number, number, &found, err)) ||
        (status = take_figures(json, layer, err)) ||
        (status = take_widths(json, layer->widths, err)) ||
        (status = take_curve(json, "ffn_error", REPORT_ANALYSIS_WIDTHS, layer->ffn_error, err)) ||
        (status = take_curve(json, "ffn_tail", REPORT_ANALYSIS_WIDTHS, layer->ffn_tail, err)) ||
        (status = take_groups(json, layer, err)) ||
        (status = take_spectrum(json_object_get(json, "ffn"), "ffn", &layer->ffn, err)) ||
        (status = take_spectrum(json_object_get(json, "attention"), "attention", &layer->attention,
                                err)) ||
        (status = take_bonds(json, out, layer, err))) {
        wl_err_prefix(err, "block %" PRIu32, number);
    }
    return status;
}

// ---- all of it ----

static enum wl_status take_layers(const json_t *json, struct report_analysis *out,
                                  struct wl_err *err) {
    const json_t *array;
    enum wl_status status = take_array(json, "layers", 1, MAX_LAYERS, &array, err);
    if (status != WL_OK) {
        return status;
    }
    out->n_layer = (uint32_t)json_array_size(array);
    out->layers = calloc(out->n_layer, sizeof *out->layers);
    if (!out->layers) {
        return wl_err_set(err, WL_MEMORY, "no memory for %" PRIu32 " blocks", out->n_layer);
    }
    for (uint32_t i = 0; i < out->n_layer && status == WL_OK; i++) {
        status = take_layer(json_array_get(array, i), out, i, err);
    }
    return status;
}

static enum wl_status take_model(const json_t *json, struct report_analysis *out,
                                 struct wl_err *err) {
    const struct {
        const char *key;
        int64_t *out;
    } rows[] = {{"file_bytes", &out->file_bytes},
                {"n_embd", &out->n_embd},
                {"n_vocab", &out->n_vocab},
                {"n_head", &out->n_head},
                {"n_head_kv", &out->n_head_kv},
                {"n_ff", &out->n_ff},
                {"step", &out->step},
                {"ffn_weights", &out->ffn_weights},
                {"attention_weights", &out->attention_weights}};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == WL_OK; i++) {
        status = take_count(json, rows[i].key, 1, INT64_MAX, rows[i].out, err);
    }
    return status == WL_OK ? take_word(json, "flexible", out->flexible, err) : status;
}

enum wl_status report_analysis_read(const json_t *document, struct report_analysis *out,
                                    struct wl_err *err) {
    const json_t *analysis = json_object_get(document, "analysis");
    const json_t *model = json_object_get(document, "model");
    enum wl_status status;
    *out = (struct report_analysis){0};
    if (!json_is_object(analysis) || !json_is_object(model)) {
        return wl_err_set(err, WL_INPUT,
                          "it is no analysis: expected an object with 'model' and 'analysis'");
    }
    if ((status = take_model(model, out, err)) ||
        (status = take_number(document, "text_seconds", MOST, &out->text_seconds, err)) ||
        (status = take_word(analysis, "arch", out->arch, err)) ||
        (status = take_count(analysis, "n_tokens", 1, INT64_MAX, &out->n_tokens, err)) ||
        (status = take_count(analysis, "n_tokens_kl", 1, INT64_MAX, &out->n_tokens_kl, err)) ||
        (status = take_number(analysis, "seconds", MOST, &out->seconds, err)) ||
        (status = take_layers(analysis, out, err))) {
        report_analysis_release(out);
        wl_err_prefix(err, "analysis");
    }
    return status;
}
