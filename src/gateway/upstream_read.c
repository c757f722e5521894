#include "gateway/upstream_read.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "gateway/upstream_words.h"

static uint32_t small_number(const json_t *object, const char *key) {
    int64_t value = wl_json_opt_i64(object, key, 0);
    return value > 0 && value <= INT32_MAX ? (uint32_t)value : 0;
}

bool upstream_read_props(const json_t *json, struct upstream_facts *facts) {
    const json_t *settings = json_object_get(json, "default_generation_settings");
    if (!json_is_object(settings)) {
        return false;
    }
    char build[48];
    upstream_clean_copy(build, sizeof build, wl_json_opt_string(json, "build_info", ""));
    build[strcspn(build, "-")] = '\0'; // "b11669-Debian"
    snprintf(facts->engine, sizeof facts->engine, "llama.cpp%s%s", *build ? " " : "", build);
    facts->kind = UPSTREAM_LLAMA_SERVER;
    facts->n_slots = small_number(json, "total_slots");
    facts->n_ctx = small_number(settings, "n_ctx");
    facts->sees_images = wl_json_opt_bool(json_object_get(json, "modalities"), "vision", false);
    return true;
}

bool upstream_read_version(const json_t *json, struct upstream_facts *facts) {
    const char *version = wl_json_opt_string(json, "version", "");
    if (!*version) {
        return false;
    }
    upstream_clean_copy(facts->engine, sizeof facts->engine, version);
    return true;
}

static bool has_string(const json_t *list, const char *text) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *item = json_string_value(json_array_get(list, i));
        if (item && strcmp(item, text) == 0) {
            return true;
        }
    }
    return false;
}

static bool model_sees_images(const json_t *model) {
    const json_t *architecture = json_object_get(model, "architecture");
    return has_string(json_object_get(architecture, "input_modalities"), "image") ||
           has_string(json_object_get(model, "capabilities"), "vision");
}

bool upstream_read_models(const json_t *json, struct upstream_facts *facts) {
    const json_t *list = json_object_get(json, "data");
    if (!json_is_array(list)) {
        return false;
    }
    const json_t *model = json_array_get(list, 0);
    upstream_clean_copy(facts->model, sizeof facts->model, wl_json_opt_string(model, "id", ""));
    facts->n_models = (uint32_t)json_array_size(list);
    facts->n_ctx = facts->n_ctx ? facts->n_ctx : small_number(model, "max_model_len");
    facts->sees_images = facts->sees_images || model_sees_images(model);
    return true;
}

bool upstream_read_tags(const json_t *json, struct upstream_facts *facts) {
    const json_t *list = json_object_get(json, "models");
    if (!json_is_array(list)) {
        return false;
    }
    const json_t *model = json_array_get(list, 0);
    upstream_clean_copy(facts->model, sizeof facts->model, wl_json_opt_string(model, "name", ""));
    facts->n_models = (uint32_t)json_array_size(list);
    facts->sees_images = facts->sees_images || model_sees_images(model);
    return true;
}

const char *upstream_error_text(const json_t *json) {
    const json_t *error = json_object_get(json, "error");
    const char *text = json_is_object(error) ? json_string_value(json_object_get(error, "message"))
                                             : json_string_value(error);
    text = text ? text : json_string_value(json_object_get(json, "detail"));
    text = text ? text : json_string_value(json_object_get(json, "message"));
    return text && *text ? text : NULL;
}

bool upstream_says_loading(const json_t *json) {
    const char *text = upstream_error_text(json);
    return text && (strstr(text, "oading") != NULL);
}

// 404 is also what some servers say of a model they do not have.
bool upstream_has_endpoint(long http_status, const json_t *json) {
    const char *text = upstream_error_text(json);
    if (http_status == 404) {
        return text && strstr(text, "model") != NULL;
    }
    return http_status >= 200 && http_status != 405 && http_status != 501 && http_status != 502 &&
           http_status != 503;
}
