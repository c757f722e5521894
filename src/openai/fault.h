// What is wrong with a request, in OpenAI's form: clients show `message`, programs look at `type`,
// `code` and `param`. PURE.
#ifndef WATTLAW_OPENAI_FAULT_H
#define WATTLAW_OPENAI_FAULT_H

#include "base/buf.h"
#include "base/err.h"

enum { OPENAI_PARAM_BYTES = 96 };

struct openai_fault {
    struct wl_err err;              // wl_status_http_code(err.status) is the answer's status
    const char *code;               // "context_length_exceeded"; NULL: null. A constant
    char param[OPENAI_PARAM_BYTES]; // "messages[2].content[0].image_url.url"; "": null
};

// Sets all of it and returns `status`; `fault` may be NULL, and so may `code` and `param`.
enum wl_status openai_fault_set(struct openai_fault *fault, enum wl_status status, const char *code,
                                const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

// Appends {"error":{"message","type","param","code"}}. The type follows from the HTTP status:
// 401 authentication_error, 403 permission_error, 404 not_found_error, 429 rate_limit_error,
// other 4xx invalid_request_error, 503 overloaded_error, other 5xx server_error.
void openai_fault_write(struct buf *buf, int http_status, const struct openai_fault *fault);

#endif
