#include "account/limits.h"

#include <math.h>

#include "base/json_fields.h"

static const int64_t MAX_TOKENS = INT32_MAX;

void limits_none(struct request_limits *limits) {
    *limits = (struct request_limits){LIMITS_NONE, LIMITS_NONE, INFINITY, INFINITY};
}

static int64_t lesser(int64_t a, int64_t b) {
    return a == LIMITS_NONE || (b != LIMITS_NONE && b < a) ? b : a;
}

void limits_tighten(struct request_limits *limits, const struct request_limits *more) {
    limits->input_tokens = lesser(limits->input_tokens, more->input_tokens);
    limits->output_tokens = lesser(limits->output_tokens, more->output_tokens);
    limits->seconds = fmin(limits->seconds, more->seconds);
    limits->joules = fmin(limits->joules, more->joules);
}

enum wl_status limits_read(const json_t *object, struct request_limits *out, struct wl_err *err) {
    enum wl_status status =
        json_fields_i64(object, "input_tokens", 1, MAX_TOKENS, &out->input_tokens, err);
    if (status == WL_OK) {
        status = json_fields_i64(object, "output_tokens", 1, MAX_TOKENS, &out->output_tokens, err);
    }
    if (status == WL_OK) {
        status = json_fields_double(object, "seconds", 0.001, INFINITY, &out->seconds, err);
    }
    return status == WL_OK
               ? json_fields_double(object, "joules", 0.001, INFINITY, &out->joules, err)
               : status;
}

bool limits_stop_answers(const struct request_limits *limits) {
    return isfinite(limits->seconds) || isfinite(limits->joules);
}
