#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "openai/json_text.h"
#include "openai/request_parts.h"

static const double MAX_EXACT = 9007199254740992.0; // 2^53: whole numbers beyond are not exact

const char *const openai_limit_names[OPENAI_N_LIMIT_NAMES] = {"max_tokens", "max_completion_tokens",
                                                              "n_predict", "num_predict"};

bool openai_whole_number(const json_t *value, int64_t *out) {
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    double real = json_real_value(value); // 0 for what is none
    if (!json_is_real(value) || real < -MAX_EXACT || real > MAX_EXACT || floor(real) != real) {
        return false;
    }
    *out = (int64_t)real;
    return true;
}

static const char *found_text(const json_t *value) {
    static const char *const NAMES[] = {"an object", "a list", "text",  "a whole number",
                                        "a number",  "true",   "false", "null"};
    size_t type = (size_t)json_typeof(value);
    return type < sizeof NAMES / sizeof NAMES[0] ? NAMES[type] : "something else";
}

enum wl_status openai_wrong_type(struct openai_fault *fault, const char *param,
                                 const char *expected, const json_t *found) {
    if (!found) {
        return openai_fault_set(fault, WL_INPUT, "missing_required_parameter", param,
                                "'%s' is missing: expected %s", param, expected);
    }
    return openai_fault_set(fault, WL_INPUT, "invalid_type", param, "'%s': expected %s, found %s",
                            param, expected, found_text(found));
}

// ---- fields

// NULL when absent: clients send null for what they leave out.
static json_t *field(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static enum wl_status read_model(struct openai_request *request, struct openai_fault *fault) {
    const json_t *value = field(request->root, "model");
    if (value && !json_is_string(value)) {
        return openai_wrong_type(fault, "model", "text", value);
    }
    request->model = value ? json_string_value(value) : "";
    return WL_OK;
}

static enum wl_status read_bool(const json_t *object, const char *key, const char *param, bool *out,
                                struct openai_fault *fault) {
    const json_t *value = field(object, key);
    if (value && !json_is_boolean(value)) {
        return openai_wrong_type(fault, param, "true or false", value);
    }
    *out = json_is_true(value);
    return WL_OK;
}

static enum wl_status read_stream(struct openai_request *request, struct openai_fault *fault) {
    const json_t *options = field(request->root, "stream_options");
    if (options && !json_is_object(options)) {
        return openai_wrong_type(fault, "stream_options", "an object", options);
    }
    request->has_options = options != NULL;
    enum wl_status status = read_bool(options, "include_usage", "stream_options.include_usage",
                                      &request->wants_usage, fault);
    return status == WL_OK
               ? read_bool(request->root, "stream", "stream", &request->is_stream, fault)
               : status;
}

static enum wl_status read_limits(struct openai_request *request, struct openai_fault *fault) {
    for (size_t i = 0; i < OPENAI_N_LIMIT_NAMES; i++) {
        const char *name = openai_limit_names[i];
        const json_t *value = field(request->root, name);
        int64_t n = OPENAI_ABSENT;
        if (value && !openai_whole_number(value, &n)) {
            return openai_wrong_type(fault, name, "a whole number", value);
        }
        if (n < OPENAI_ABSENT) {
            return openai_fault_set(fault, WL_INPUT, "invalid_value", name,
                                    "'%s': expected 0 or more, or -1 for no limit, found %lld",
                                    name, (long long)n);
        }
        bool is_less = request->max_output == OPENAI_ABSENT || n < request->max_output;
        if (n != OPENAI_ABSENT && is_less) {
            request->max_output = n;
        }
    }
    return WL_OK;
}

static enum wl_status read_choices(struct openai_request *request, const char *name,
                                   struct openai_fault *fault) {
    const json_t *value = field(request->root, name);
    int64_t n = 1;
    if (value && !openai_whole_number(value, &n)) {
        return openai_wrong_type(fault, name, "a whole number", value);
    }
    if (n < 1 || n > OPENAI_MAX_CHOICES) {
        return openai_fault_set(fault, WL_INPUT, "invalid_value", name,
                                "'%s': expected 1 to %d, found %lld", name, OPENAI_MAX_CHOICES,
                                (long long)n);
    }
    if (n > request->n_choices) {
        request->n_choices = (uint32_t)n;
    }
    return WL_OK;
}

// One text, one list of tokens, or a list of either.
static size_t count_prompts(const json_t *value) {
    size_t n = json_array_size(value); // 0 for what is no list
    return n == 0 || json_is_integer(json_array_get(value, 0)) ? 1 : n;
}

static enum wl_status read_prompts(struct openai_request *request, struct openai_fault *fault) {
    request->n_prompts = count_prompts(json_object_get(request->root, "prompt"));
    if (request->n_prompts > OPENAI_MAX_CHOICES / request->n_choices) {
        return openai_fault_set(fault, WL_LIMIT, "array_above_max_length", "prompt",
                                "'prompt': expected at most %d choices in all, found %zu prompts "
                                "with %u choices each",
                                OPENAI_MAX_CHOICES, request->n_prompts,
                                (unsigned)request->n_choices);
    }
    return WL_OK;
}

static enum wl_status read_generation(struct openai_request *request, struct openai_fault *fault) {
    enum wl_status status;
    if ((status = read_stream(request, fault)) != WL_OK ||
        (status = read_limits(request, fault)) != WL_OK ||
        (status = read_choices(request, "n", fault)) != WL_OK ||
        (status = read_choices(request, "n_cmpl", fault)) != WL_OK) {
        return status;
    }
    if (request->endpoint == OPENAI_CHAT) {
        return openai_request_read_messages(request, fault);
    }
    status = read_choices(request, "best_of", fault);
    return status == WL_OK ? read_prompts(request, fault) : status;
}

static enum wl_status read_fields(struct openai_request *request, struct openai_fault *fault) {
    if (!json_is_object(request->root)) {
        return openai_fault_set(fault, WL_INPUT, "invalid_type", NULL,
                                "the request: expected an object, found %s",
                                found_text(request->root));
    }
    enum wl_status status = read_model(request, fault);
    if (status != WL_OK || request->endpoint != OPENAI_EMBEDDING) {
        return status == WL_OK ? read_generation(request, fault) : status;
    }
    request->n_prompts = count_prompts(json_object_get(request->root, "input"));
    return WL_OK;
}

enum wl_status openai_request_parse(enum openai_endpoint endpoint, const char *text, size_t n,
                                    struct openai_request *out, struct openai_fault *fault) {
    *out = (struct openai_request){.endpoint = endpoint,
                                   .model = "",
                                   .max_output = OPENAI_ABSENT,
                                   .n_choices = 1,
                                   .n_prompts = 1};
    struct wl_err err;
    enum wl_status status = openai_json_parse(text, n, &out->root, &err);
    if (status != WL_OK) {
        return openai_fault_set(fault, status, NULL, NULL, "the request: %s", err.message);
    }
    status = read_fields(out, fault);
    if (status != WL_OK) {
        openai_request_release(out);
    }
    return status;
}

void openai_request_release(struct openai_request *request) {
    free(request->images);
    json_decref(request->root);
    *request = (struct openai_request){.model = ""};
}
