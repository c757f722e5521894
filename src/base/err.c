#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

// Text from outside may carry terminal escapes; a message must never act on the terminal.
static void replace_controls(char *text) {
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if ((*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f) {
            *p = '?';
        }
    }
}

static void set_message(struct wl_err *err, enum wl_status status, const char *format,
                        va_list args) {
    if (!err) {
        return;
    }
    // The arguments may point into err->message itself.
    char text[WL_ERR_MESSAGE_BYTES];
    vsnprintf(text, sizeof text, format, args);
    replace_controls(text);
    err->status = status;
    memcpy(err->message, text, sizeof text);
}

enum wl_status wl_err_set(struct wl_err *err, enum wl_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    set_message(err, status, format, args);
    va_end(args);
    return status;
}

enum wl_status wl_err_prefix(struct wl_err *err, const char *format, ...) {
    if (!err) {
        return WL_FAILED;
    }
    char context[WL_ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
    char message[WL_ERR_MESSAGE_BYTES];
    memcpy(message, err->message, sizeof message);
    return wl_err_set(err, err->status, "%.380s: %.380s", context, message);
}

static enum wl_status status_of_errno(int errnum) {
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
    case ESRCH: return WL_NOT_FOUND;
    case EACCES:
    case EPERM: return WL_PERMISSION;
    case ENOMEM: return WL_MEMORY;
    case EINTR: return WL_INTERRUPTED;
    case EFBIG: return WL_LIMIT;
    default: return WL_IO;
    }
}

enum wl_status wl_err_errno(struct wl_err *err, int errnum, const char *format, ...) {
    va_list args;
    va_start(args, format);
    set_message(err, status_of_errno(errnum), format, args);
    va_end(args);
    if (err) {
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, ": %s", strerror(errnum));
    }
    return status_of_errno(errnum);
}
