// What the gateway puts into a request: limits, and the wish for a stream that tells its usage.
#include "openai/json_text.h"
#include "openai/request_parts.h"

bool openai_request_write(const struct openai_request *request, struct buf *out) {
    return openai_json_write(out, request->root);
}

static bool set_field(struct openai_request *request, json_t *object, const char *key,
                      json_t *value) {
    request->is_changed = true;
    return json_object_set_new_nocheck(object, key, value) == 0; // also fails for a NULL value
}

// Nothing where the request has a limit that is as low. `always`: also where it has none.
static bool limit_field(struct openai_request *request, const char *name, int64_t n_tokens,
                        bool always) {
    const json_t *value = json_object_get(request->root, name);
    int64_t n = OPENAI_ABSENT;
    if (!value && !always) {
        return true;
    }
    if (openai_whole_number(value, &n) && n >= 0 && n <= n_tokens) {
        return true;
    }
    return set_field(request, request->root, name, json_integer(n_tokens));
}

bool openai_request_limit_output(struct openai_request *request, int64_t n_tokens) {
    if (request->endpoint == OPENAI_EMBEDDING) {
        return true;
    }
    int64_t asked = request->max_output, allowed = n_tokens > 0 ? n_tokens : 0;
    request->max_output = asked != OPENAI_ABSENT && asked < allowed ? asked : allowed;
    bool is_fine = true;
    for (size_t i = 0; i < OPENAI_N_LIMIT_NAMES; i++) {
        is_fine &= limit_field(request, openai_limit_names[i], request->max_output, i == 0);
    }
    return is_fine;
}

bool openai_request_ask_usage(struct openai_request *request, bool as_stream) {
    bool is_stream = json_is_true(json_object_get(request->root, "stream"));
    if (request->endpoint == OPENAI_EMBEDDING || (!is_stream && !as_stream)) {
        return true;
    }
    if (!is_stream && !set_field(request, request->root, "stream", json_true())) {
        return false;
    }
    json_t *options = json_object_get(request->root, "stream_options");
    if (!json_is_object(options)) {
        options = json_object();
        if (!set_field(request, request->root, "stream_options", options)) {
            return false;
        }
    }
    return json_is_true(json_object_get(options, "include_usage")) ||
           set_field(request, options, "include_usage", json_true());
}
