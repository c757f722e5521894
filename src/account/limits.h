// What one request may cost at most: tokens in and out, time, energy. PURE.
//
//   {"input_tokens": 4000, "output_tokens": 500, "seconds": 60, "joules": 200}
#ifndef WATTLAW_ACCOUNT_LIMITS_H
#define WATTLAW_ACCOUNT_LIMITS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { LIMITS_NONE = -1 };

struct request_limits {
    int64_t input_tokens;  // LIMITS_NONE
    int64_t output_tokens; // of each choice; LIMITS_NONE
    double seconds;        // from when it goes to the model server; INFINITY: none
    double joules;         // gross; INFINITY: none
};

#define LIMITS_FIELD_LIST(X)                                                                       \
    X(input_tokens)                                                                                \
    X(output_tokens)                                                                               \
    X(seconds)                                                                                     \
    X(joules)

void limits_none(struct request_limits *limits);
// The least of both, one by one.
void limits_tighten(struct request_limits *limits, const struct request_limits *more);
// Takes the four fields that `object` has; the others stay. INPUT names the field.
enum wl_status limits_read(const json_t *object, struct request_limits *out, struct wl_err *err);
// An answer has to be stopped in the middle: it must be seen while it comes.
bool limits_stop_answers(const struct request_limits *limits);

#endif
