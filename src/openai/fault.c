#include "openai/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "openai/json_text.h"

enum wl_status openai_fault_set(struct openai_fault *fault, enum wl_status status, const char *code,
                                const char *param, const char *format, ...) {
    if (!fault) {
        return status;
    }
    char message[WL_ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    fault->code = code;
    str_copy(fault->param, sizeof fault->param, param ? param : "");
    return wl_err_set(&fault->err, status, "%s", message);
}

static const char *type_of(int http_status) {
    switch (http_status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return http_status < 500 ? "invalid_request_error" : "server_error";
    }
}

// An error must always be valid JSON, even when its text was put together without openai_fault_set.
static void write_text(struct buf *buf, const char *text) {
    char valid[WL_ERR_MESSAGE_BYTES];
    size_t n = 0;
    while (n < sizeof valid && text[n]) {
        size_t len = str_utf8_len(text + n);
        if (len == 0 || n + len > sizeof valid) {
            valid[n++] = '?';
        } else {
            memcpy(valid + n, text + n, len);
            n += len;
        }
    }
    openai_json_write_string(buf, valid, n);
}

static void write_text_or_null(struct buf *buf, const char *text) {
    if (text && text[0]) {
        write_text(buf, text);
    } else {
        buf_puts(buf, "null");
    }
}

void openai_fault_write(struct buf *buf, int http_status, const struct openai_fault *fault) {
    const char *message = fault->err.message[0] ? fault->err.message : "the request failed";
    buf_puts(buf, "{\"error\":{\"message\":");
    write_text(buf, message);
    buf_puts(buf, ",\"type\":");
    write_text(buf, type_of(http_status));
    buf_puts(buf, ",\"param\":");
    write_text_or_null(buf, fault->param);
    buf_puts(buf, ",\"code\":");
    write_text_or_null(buf, fault->code);
    buf_puts(buf, "}}");
}
