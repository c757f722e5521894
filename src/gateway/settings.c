#include "gateway/settings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_fields.h"
#include "base/str.h"

enum field_kind { TEXT, WHOLE, REAL, FLAG };

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset, size;
    double min, max;
};

#define AT(field)                                                                                  \
    offsetof(struct gateway_settings, field), sizeof(((struct gateway_settings *)0)->field)

static const struct field FIELDS[] = {
    {"host", TEXT, AT(host), 0, 0},
    {"port", WHOLE, AT(port), 0, 65535},
    {"upstream", TEXT, AT(upstream), 0, 0},
    {"upstream_key_file", TEXT, AT(upstream_key_file), 0, 0},
    {"server", TEXT, AT(server), 0, 0},
    {"count_model", TEXT, AT(count_model), 0, 0},
    {"profile", TEXT, AT(profile), 0, 0},
    {"keys", TEXT, AT(keys), 0, 0},
    {"ledger", TEXT, AT(ledger), 0, 0},
    {"retention_days", WHOLE, AT(retention_days), 0, 36500},
    {"keeps_text", FLAG, AT(keeps_text), 0, 0},
    {"meter", TEXT, AT(meter), 0, 0},
    {"root", TEXT, AT(root), 0, 0},
    {"idle_w", REAL, AT(idle_w), 0, 1e5},
    {"concurrency", WHOLE, AT(concurrency), 0, 4096},
    {"queue", WHOLE, AT(queue), 0, 100000},
    {"queue_s", REAL, AT(queue_s), 0, 86400},
    {"body_bytes", WHOLE, AT(body_bytes), 1024, INT64_C(1) << 32},
    {"connections", WHOLE, AT(connections), 1, 65536},
    {"silence_s", REAL, AT(silence_s), 1, 86400},
    {"answer_s", REAL, AT(answer_s), 0, 864000},
    {"drain_s", REAL, AT(drain_s), 0, 86400},
    {"canary_tasks", TEXT, AT(canary_tasks), 0, 0},
    {"canary_every_s", REAL, AT(canary_every_s), 1, 1e8},
    {"canary_limit", WHOLE, AT(canary_limit), 1, 100000},
    {"canary_accuracy_floor", REAL, AT(canary_accuracy_floor), 0, 1},
    {"canary_wh_ceiling", REAL, AT(canary_wh_ceiling), 0, 1e6},
    {"log_json", FLAG, AT(log_json), 0, 0},
    {"is_quiet", FLAG, AT(is_quiet), 0, 0},
};
enum { N_FIELDS = sizeof FIELDS / sizeof FIELDS[0] };

void settings_init(struct gateway_settings *settings) {
    *settings = (struct gateway_settings){.host = "127.0.0.1",
                                          .port = 8600,
                                          .retention_days = 90,
                                          .meter = "auto",
                                          .idle_w = NAN,
                                          .queue = 64,
                                          .queue_s = 60,
                                          .body_bytes = 32 << 20,
                                          .connections = 1024,
                                          .silence_s = 60,
                                          .drain_s = 30,
                                          .canary_every_s = 3600,
                                          .canary_limit = 16,
                                          .canary_accuracy_floor = NAN,
                                          .canary_wh_ceiling = NAN};
}

void settings_release(struct gateway_settings *settings) {
    for (size_t i = 0; settings->server_args[i]; i++) {
        free(settings->server_args[i]);
    }
    json_decref(settings->override);
    settings_init(settings);
}

static enum wl_status read_field(const json_t *object, const struct field *f,
                                 struct gateway_settings *settings, struct wl_err *err) {
    void *at = (char *)settings + f->offset;
    switch (f->kind) {
    case TEXT: return json_fields_text(object, f->name, at, f->size, err);
    case WHOLE: return json_fields_i64(object, f->name, (int64_t)f->min, (int64_t)f->max, at, err);
    case REAL: return json_fields_double(object, f->name, f->min, f->max, at, err);
    case FLAG: return json_fields_bool(object, f->name, at, err);
    }
    return WL_FAILED;
}

static enum wl_status read_args(const json_t *list, struct gateway_settings *settings,
                                struct wl_err *err) {
    if (!list) {
        return WL_OK;
    }
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > SETTINGS_MAX_ARGS) {
        return json_fields_wrong("server_args", "a list of at most 32 texts", list, err);
    }
    for (size_t i = 0; i < n; i++) {
        const char *arg = json_string_value(json_array_get(list, i));
        settings->server_args[i] = arg ? strdup(arg) : NULL;
        if (!settings->server_args[i]) {
            return json_fields_wrong("server_args", "a list of texts", json_array_get(list, i),
                                     err);
        }
    }
    return WL_OK;
}

// "03:05"; -1 for anything else.
static int minutes_of(const char *text) {
    if (strlen(text) != 5 || text[2] != ':' || strspn(text, "0123456789:") != 5) {
        return -1;
    }
    int hours = (text[0] - '0') * 10 + text[1] - '0',
        minutes = (text[3] - '0') * 10 + text[4] - '0';
    return hours < 24 && minutes < 60 ? hours * 60 + minutes : -1;
}

static enum wl_status read_times(const json_t *list, struct gateway_settings *settings,
                                 struct wl_err *err) {
    static const char EXPECTED[] = "a list of at most 24 times like \"03:30\"";
    if (!list) {
        return WL_OK;
    }
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > SETTINGS_MAX_TIMES) {
        return json_fields_wrong("canary_at", EXPECTED, list, err);
    }
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        int minutes = text ? minutes_of(text) : -1;
        if (minutes < 0) {
            return text ? wl_err_set(err, WL_INPUT, "field 'canary_at': expected %s, found '%.40s'",
                                     EXPECTED, text)
                        : json_fields_wrong("canary_at", EXPECTED, json_array_get(list, i), err);
        }
        settings->canary_at[i] = (int16_t)minutes;
    }
    settings->n_canary_at = n;
    return WL_OK;
}

static enum wl_status read_all(json_t *root, struct gateway_settings *out, struct wl_err *err) {
    const char *names[N_FIELDS + 4] = {"override", "server_args", "canary_at"};
    for (size_t i = 0; i < N_FIELDS; i++) {
        names[3 + i] = FIELDS[i].name;
    }
    enum wl_status status = json_fields_check(root, "an object {\"host\": ...}", names, err);
    for (size_t i = 0; i < N_FIELDS && status == WL_OK; i++) {
        status = read_field(root, &FIELDS[i], out, err);
    }
    if (status == WL_OK) {
        status = read_args(json_object_get(root, "server_args"), out, err);
    }
    if (status == WL_OK) {
        status = read_times(json_object_get(root, "canary_at"), out, err);
    }
    json_t *override = json_object_get(root, "override");
    if (status == WL_OK && override && !json_is_object(override)) {
        status = json_fields_wrong("override", "an object as a profile has it", override, err);
    }
    out->override = status == WL_OK ? json_incref(override) : NULL;
    return status;
}

enum wl_status settings_parse(const char *text, size_t n, struct gateway_settings *out,
                              struct wl_err *err) {
    json_t *root;
    settings_init(out);
    enum wl_status status = wl_json_parse(text, n, &root, err);
    if (status == WL_OK) {
        status = read_all(root, out, err);
        json_decref(root);
    }
    if (status != WL_OK) {
        settings_release(out);
    }
    return status;
}
