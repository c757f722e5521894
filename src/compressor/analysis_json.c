#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/str.h"
#include "compressor/analysis.h"

enum { MAX_LAYERS = 4096, MAX_SIDE = 1 << 28 };
static const double MOST_SECONDS = 1e12;
static const double ROUNDING = 1e-6; // by which a curve may rise

// The numbers of a block, with the largest that they may be; none is below 0.
static const struct {
    const char *key;
    size_t offset;
    double most;
} NUMBERS[] = {
    {"influence", offsetof(struct analysis_layer, influence), 2},
    {"attention_share", offsetof(struct analysis_layer, attention_share), 1e12},
    {"ffn_share", offsetof(struct analysis_layer, ffn_share), 1e12},
    {"ffn_sensitivity", offsetof(struct analysis_layer, ffn_sensitivity), 1e12},
    {"attention_sensitivity", offsetof(struct analysis_layer, attention_sensitivity), 1e12},
    {"kl_no_attention", offsetof(struct analysis_layer, kl_no_attention), 1e12},
    {"kl_removed", offsetof(struct analysis_layer, kl_removed), 1e12},
};
enum { N_NUMBERS = sizeof NUMBERS / sizeof NUMBERS[0] };

static double *number_at(const struct analysis_layer *layer, size_t i) {
    return (double *)((char *)layer + NUMBERS[i].offset);
}

// ---- writing ----

static json_t *reals_json(const double *values, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(array, wl_json_real(values[i]));
    }
    return array;
}

static json_t *widths_json(const uint32_t *widths) {
    json_t *array = json_array();
    for (size_t i = 0; i < ANALYSIS_WIDTHS; i++) {
        json_array_append_new(array, json_integer(widths[i]));
    }
    return array;
}

static json_t *spectrum_json(const struct analysis_spectrum *s) {
    return json_pack("{s:o, s:I, s:I, s:I}", "entropy", wl_json_real(s->entropy), "rank",
                     (json_int_t)s->rank, "chi_10", (json_int_t)s->chi_10, "chi_1",
                     (json_int_t)s->chi_1);
}

// [] when they were not asked for.
static json_t *bonds_json(const struct analysis_layer *layer) {
    json_t *array = json_array();
    for (size_t i = 0; i < ANALYSIS_BONDS && layer->bonds[0].rank > 0; i++) {
        json_array_append_new(array, spectrum_json(&layer->bonds[i]));
    }
    return array;
}

static json_t *layer_json(const struct analysis_layer *layer) {
    json_t *json =
        json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "layer",
                  (json_int_t)layer->layer, "widths", widths_json(layer->widths), "ffn_error",
                  reals_json(layer->ffn_error, ANALYSIS_WIDTHS), "ffn_tail",
                  reals_json(layer->ffn_tail, ANALYSIS_WIDTHS), "group_error",
                  reals_json(layer->group_error, layer->n_groups), "group_tail",
                  reals_json(layer->group_tail, layer->n_groups), "ffn", spectrum_json(&layer->ffn),
                  "attention", spectrum_json(&layer->attention), "bonds", bonds_json(layer));
    for (size_t i = 0; i < N_NUMBERS && json; i++) {
        json_object_set_new(json, NUMBERS[i].key, wl_json_real(*number_at(layer, i)));
    }
    return json;
}

json_t *analysis_json(const struct analysis *analysis) {
    json_t *layers = json_array();
    for (uint32_t i = 0; i < analysis->n_layer; i++) {
        json_array_append_new(layers, layer_json(&analysis->layers[i]));
    }
    if (json_array_size(layers) != analysis->n_layer) {
        json_decref(layers);
        return NULL;
    }
    return json_pack("{s:s, s:I, s:I, s:o, s:o}", "arch", analysis->arch, "n_tokens",
                     (json_int_t)analysis->n_tokens, "n_tokens_kl",
                     (json_int_t)analysis->n_tokens_kl, "seconds", wl_json_real(analysis->seconds),
                     "layers", layers);
}

// ---- reading ----

static enum wl_status check_number(const char *what, double value, double most,
                                   struct wl_err *err) {
    return value >= 0 && value <= most
               ? WL_OK
               : wl_err_set(err, WL_INPUT, "%s: expected a number from 0 to %g, found %g", what,
                            most, value);
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

// An array of `n` numbers from 0 to 2 that never rise: an error is about 1 when
// all has gone.
static enum wl_status take_curve(const json_t *json, const char *key, size_t n, double *out,
                                 struct wl_err *err) {
    const json_t *array = json_object_get(json, key);
    if (!json_is_array(array) || json_array_size(array) != n) {
        return wl_err_set(err, WL_INPUT, "key '%s': expected an array of %zu numbers", key, n);
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        const json_t *item = json_array_get(array, i);
        out[i] = json_is_number(item) ? json_number_value(item) : NAN;
        status = check_number(key, out[i], 2, err);
        if (status == WL_OK && i > 0 && out[i] > out[i - 1] + ROUNDING) {
            status = wl_err_set(err, WL_INPUT, "key '%s': expected numbers that never rise", key);
        }
    }
    return status;
}

static enum wl_status take_widths(const json_t *json, uint32_t *widths, struct wl_err *err) {
    const json_t *array = json_object_get(json, "widths");
    if (!json_is_array(array) || json_array_size(array) != ANALYSIS_WIDTHS) {
        return wl_err_set(err, WL_INPUT, "key 'widths': expected an array of %d numbers",
                          ANALYSIS_WIDTHS);
    }
    for (size_t i = 0; i < ANALYSIS_WIDTHS; i++) {
        json_int_t low = i > 0 ? widths[i - 1] : 1;
        json_int_t value = json_integer_value(json_array_get(array, i)); // 0: none
        if (value < low || value > MAX_SIDE) {
            return wl_err_set(err, WL_INPUT,
                              "key 'widths': expected whole numbers that never fall, from 1 to %d",
                              MAX_SIDE);
        }
        widths[i] = (uint32_t)value;
    }
    return WL_OK;
}

static enum wl_status take_spectrum(const json_t *json, const char *what,
                                    struct analysis_spectrum *out, struct wl_err *err) {
    int64_t rank = 0, chi_10 = 0, chi_1 = 0;
    enum wl_status status;
    if (!json_is_object(json)) {
        return wl_err_set(err, WL_INPUT, "key '%s': expected an object", what);
    }
    if ((status = take_count(json, "rank", 1, MAX_SIDE, &rank, err)) ||
        (status = take_count(json, "chi_1", 0, rank, &chi_1, err)) ||
        (status = take_count(json, "chi_10", 0, chi_1, &chi_10, err)) ||
        (status = wl_json_get_double(json, "entropy", &out->entropy, err))) {
        return status;
    }
    out->rank = (uint32_t)rank;
    out->chi_10 = (uint32_t)chi_10;
    out->chi_1 = (uint32_t)chi_1;
    return check_number("entropy", out->entropy, log((double)rank) * 1.001 + 1e-3, err);
}

static enum wl_status take_bonds(const json_t *json, struct analysis_layer *layer,
                                 struct wl_err *err) {
    const json_t *array = json_object_get(json, "bonds");
    size_t n = json_array_size(array);
    if (!json_is_array(array) || (n != 0 && n != ANALYSIS_BONDS)) {
        return wl_err_set(err, WL_INPUT, "key 'bonds': expected an array of none or %d",
                          ANALYSIS_BONDS);
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        status = take_spectrum(json_array_get(array, i), "bonds", &layer->bonds[i], err);
    }
    return status;
}

static enum wl_status take_groups(const json_t *json, struct analysis_layer *layer,
                                  struct wl_err *err) {
    size_t n = json_array_size(json_object_get(json, "group_error"));
    if (n < 1 || n > ANALYSIS_MAX_GROUPS) {
        return wl_err_set(err, WL_INPUT, "key 'group_error': expected an array of 1 to %d",
                          ANALYSIS_MAX_GROUPS);
    }
    layer->n_groups = (uint32_t)n;
    enum wl_status status = take_curve(json, "group_error", n, layer->group_error, err);
    return status == WL_OK ? take_curve(json, "group_tail", n, layer->group_tail, err) : status;
}

static enum wl_status take_layer(const json_t *json, uint32_t number, struct analysis_layer *layer,
                                 struct wl_err *err) {
    int64_t found;
    enum wl_status status;
    if ((status = take_count(json, "layer", number, number, &found, err)) ||
        (status = take_widths(json, layer->widths, err)) ||
        (status = take_curve(json, "ffn_error", ANALYSIS_WIDTHS, layer->ffn_error, err)) ||
        (status = take_curve(json, "ffn_tail", ANALYSIS_WIDTHS, layer->ffn_tail, err)) ||
        (status = take_groups(json, layer, err)) ||
        (status = take_spectrum(json_object_get(json, "ffn"), "ffn", &layer->ffn, err)) ||
        (status = take_spectrum(json_object_get(json, "attention"), "attention", &layer->attention,
                                err)) ||
        (status = take_bonds(json, layer, err))) {
        return status;
    }
    layer->layer = number;
    for (size_t i = 0; i < N_NUMBERS && status == WL_OK; i++) {
        double *out = number_at(layer, i);
        status = wl_json_get_double(json, NUMBERS[i].key, out, err);
        if (status == WL_OK) {
            status = check_number(NUMBERS[i].key, *out, NUMBERS[i].most, err);
        }
    }
    return status;
}

static enum wl_status take_layers(const json_t *json, struct analysis *out, struct wl_err *err) {
    const json_t *array = json_object_get(json, "layers");
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n < 1 || n > MAX_LAYERS) {
        return wl_err_set(err, WL_INPUT, "key 'layers': expected an array of 1 to %d", MAX_LAYERS);
    }
    out->layers = calloc(n, sizeof *out->layers);
    if (!out->layers) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu blocks", n);
    }
    out->n_layer = (uint32_t)n;
    enum wl_status status = WL_OK;
    for (uint32_t i = 0; i < n && status == WL_OK; i++) {
        status = take_layer(json_array_get(array, i), i, &out->layers[i], err);
        if (status != WL_OK) {
            wl_err_prefix(err, "block %" PRIu32, i);
        }
    }
    return status;
}

enum wl_status analysis_parse(const json_t *json, struct analysis *out, struct wl_err *err) {
    const char *arch;
    int64_t n_tokens = 0, n_tokens_kl = 0;
    enum wl_status status;
    *out = (struct analysis){0};
    if ((status = wl_json_get_string(json, "arch", &arch, err)) ||
        (status = take_count(json, "n_tokens", 1, INT64_MAX, &n_tokens, err)) ||
        (status = take_count(json, "n_tokens_kl", 1, INT64_MAX, &n_tokens_kl, err)) ||
        (status = wl_json_get_double(json, "seconds", &out->seconds, err)) ||
        (status = check_number("seconds", out->seconds, MOST_SECONDS, err)) ||
        (status = take_layers(json, out, err))) {
        analysis_release(out);
        wl_err_prefix(err, "analysis");
        return status;
    }
    out->n_tokens = (size_t)n_tokens;
    out->n_tokens_kl = (size_t)n_tokens_kl;
    if (!str_copy(out->arch, sizeof out->arch, arch)) {
        analysis_release(out);
        return wl_err_set(err, WL_INPUT, "analysis: key 'arch': expected up to 31 bytes");
    }
    return WL_OK;
}
