#include "meter/plug_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

// Parsed, and an object.
static enum wl_status parse_object(struct plug_text text, json_t **out, struct wl_err *err) {
    enum wl_status status = wl_json_parse(text.data, text.len, out, err);
    if (status == WL_OK && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        status = wl_err_set(err, WL_INPUT, "expected a JSON object");
    }
    return status;
}

static enum wl_status take_power(const json_t *value, const char *key, double *power_w,
                                 struct wl_err *err) {
    if (!json_is_number(value)) {
        return wl_err_set(err, WL_INPUT, "'%s' is %s; expected watts", key,
                          !value                  ? "missing"
                          : json_is_null(value)   ? "null"
                          : json_is_string(value) ? "text"
                                                  : "no number");
    }
    double number = json_number_value(value);
    if (!(number >= 0 && number <= PLUG_MAX_POWER_W)) {
        return wl_err_set(err, WL_INPUT, "'%s' is %g; expected 0 to %g W", key, number,
                          PLUG_MAX_POWER_W);
    }
    *power_w = number;
    return WL_OK;
}

// --- Shelly -------------------------------------------------------------------------------------

enum wl_status shelly_parse_generation(struct plug_text text, int *generation, struct wl_err *err) {
    json_t *root;
    enum wl_status status = parse_object(text, &root, err);
    if (status != WL_OK) {
        return status;
    }
    int64_t number = wl_json_opt_i64(root, "gen", 0);
    bool is_first = !json_object_get(root, "gen") && wl_json_opt_string(root, "type", NULL);
    if (is_first || (number >= 2 && number <= 99)) {
        *generation = is_first ? 1 : (int)number;
    } else {
        status = wl_err_set(err, WL_INPUT, "this is no Shelly: expected \"gen\" or \"type\"");
    }
    json_decref(root);
    return status;
}

// Kinds of parts that meter power, and where each says how much; the first that is there is taken.
static const struct {
    const char *key;    // of the status, before ":<id>"
    const char *method; // of the call that gives this part alone
    const char *power;
} COMPONENTS[] = {
    {"switch", "Switch", "apower"},  {"pm1", "PM1", "apower"},     {"em1", "EM1", "act_power"},
    {"em", "EM", "total_act_power"}, {"cover", "Cover", "apower"}, {"light", "Light", "apower"},
};

static bool find_rpc(const json_t *root, unsigned id, struct shelly_component *out) {
    for (size_t i = 0; i < sizeof COMPONENTS / sizeof COMPONENTS[0]; i++) {
        snprintf(out->name, sizeof out->name, "%s:%u", COMPONENTS[i].key, id);
        const json_t *part = json_object_get(root, out->name);
        if (json_object_get(part, COMPONENTS[i].power)) {
            snprintf(out->path, sizeof out->path, "/rpc/%s.GetStatus?id=%u", COMPONENTS[i].method,
                     id);
            return true;
        }
    }
    return false;
}

static bool find_meter(const json_t *root, unsigned id, struct shelly_component *out) {
    static const char *const LISTS[] = {"emeters", "meters"};
    for (size_t i = 0; i < sizeof LISTS / sizeof LISTS[0]; i++) {
        const json_t *meter = json_array_get(json_object_get(root, LISTS[i]), id);
        if (json_object_get(meter, "power")) {
            int len = (int)strlen(LISTS[i]) - 1; // "meters" lists what "/meter/<id>" gives
            snprintf(out->name, sizeof out->name, "%.*s %u", len, LISTS[i], id);
            snprintf(out->path, sizeof out->path, "/%.*s/%u", len, LISTS[i], id);
            return true;
        }
    }
    return false;
}

enum wl_status shelly_find_component(struct plug_text text, int generation, unsigned id,
                                     struct shelly_component *out, struct wl_err *err) {
    json_t *root;
    enum wl_status status = parse_object(text, &root, err);
    if (status != WL_OK) {
        return status;
    }
    if (!(generation == 1 ? find_meter(root, id, out) : find_rpc(root, id, out))) {
        *out = (struct shelly_component){0};
        status = wl_err_set(err, WL_NOT_FOUND,
                            "this Shelly has no power meter number %u (a model without 'PM', 'EM' "
                            "or 'Plug' in its name meters nothing)",
                            id);
    }
    json_decref(root);
    return status;
}

enum wl_status shelly_parse_power(struct plug_text text, double *power_w, struct wl_err *err) {
    static const char *const KEYS[] = {"apower", "act_power", "total_act_power", "power"};
    enum { N_KEYS = sizeof KEYS / sizeof KEYS[0] };
    json_t *root;
    enum wl_status status = parse_object(text, &root, err);
    if (status != WL_OK) {
        return status;
    }
    size_t i = 0;
    while (i + 1 < N_KEYS && !json_object_get(root, KEYS[i])) {
        i++;
    }
    if (json_is_false(json_object_get(root, "is_valid"))) { // Gen1 only
        status = wl_err_set(err, WL_INPUT, "the meter says that its value is not valid");
    } else {
        status = take_power(json_object_get(root, KEYS[i]), KEYS[i], power_w, err);
    }
    json_decref(root);
    return status;
}

// --- Tasmota ------------------------------------------------------------------------------------

// Tasmota prints as many decimals as its WattRes says, 0 to 3; zeros at the end are lost in
// parsing, so that the step is taken too large rather than too small.
static double quantum_of(const json_t *value, double power_w) {
    if (json_is_integer(value)) {
        return 1;
    }
    double quantum = 0.1;
    for (int digits = 1; digits < 3; digits++, quantum /= 10) {
        double steps = power_w / quantum;
        if (fabs(steps - round(steps)) < 1e-6 * fmax(steps, 1)) {
            break;
        }
    }
    return quantum;
}

// The number itself, or the channel's place in a list of several.
static enum wl_status pick_channel(const json_t *power, unsigned channel, const json_t **out,
                                   struct wl_err *err) {
    size_t n = json_is_array(power) ? json_array_size(power) : 1;
    if (channel == 0 && n > 1) {
        return wl_err_set(err, WL_USAGE,
                          "this Tasmota meters %zu channels; say which one: 'tasmota:HOST/1'", n);
    }
    size_t index = channel ? channel - 1 : 0;
    if (index >= n) {
        return wl_err_set(err, WL_NOT_FOUND, "this Tasmota has %zu metered channels, not %u", n,
                          channel);
    }
    *out = json_is_array(power) ? json_array_get(power, index) : power;
    return WL_OK;
}

static enum wl_status find_power(const json_t *root, const json_t **out, struct wl_err *err) {
    const json_t *energy = json_object_get(json_object_get(root, "StatusSNS"), "ENERGY");
    if (!energy) { // firmware before 5.x
        energy = json_object_get(root, "StatusPWR");
    }
    if (!energy && wl_json_opt_string(root, "WARNING", NULL)) { // with HTTP status 200
        return wl_err_set(err, WL_PERMISSION, "this Tasmota wants a password");
    }
    *out = json_object_get(energy, "Power");
    if (!*out) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "this Tasmota meters no power: no StatusSNS.ENERGY.Power");
    }
    return WL_OK;
}

enum wl_status tasmota_parse_power(struct plug_text text, unsigned channel,
                                   struct tasmota_power *out, struct wl_err *err) {
    json_t *root;
    const json_t *power = NULL, *value = NULL;
    enum wl_status status = parse_object(text, &root, err);
    if (status != WL_OK) {
        return status;
    }
    status = find_power(root, &power, err);
    if (status == WL_OK) {
        status = pick_channel(power, channel, &value, err);
    }
    if (status == WL_OK) {
        status = take_power(value, "Power", &out->power_w, err);
    }
    if (status == WL_OK) {
        out->quantum_w = quantum_of(value, out->power_w);
    }
    json_decref(root);
    return status;
}
