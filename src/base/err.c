#include "base/err.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

// U+0000 to U+001F, U+007F, and U+0080 to U+009F, which some terminals obey like ESC.
static bool is_control(const char *text) {
    unsigned char c = (unsigned char)text[0];
    return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ||
           (c == 0xc2 && (unsigned char)text[1] < 0xa0);
}

// Text from outside may carry terminal escapes, and paths need not be UTF-8; a message must never
// act on the terminal, and must fit into JSON.
static void replace_harmful(char *text) {
    for (char *p = text; *p;) {
        size_t len = str_utf8_len(p);
        if (len == 0 || is_control(p)) {
            len = len ? len : 1;
            memset(p, '?', len);
        }
        p += len;
    }
}

// A cut in the middle of a character leaves a piece of it at the end.
static void drop_cut_character(char text[WL_ERR_MESSAGE_BYTES]) {
    size_t end = strlen(text);
    if (end < WL_ERR_MESSAGE_BYTES - 1) {
        return;
    }
    size_t start = end - 1;
    while (end - start < 4 && ((unsigned char)text[start] & 0xc0) == 0x80) {
        start--;
    }
    if (str_utf8_len(text + start) == 0) {
        text[start] = '\0';
    }
}

static void set_message(struct wl_err *err, enum wl_status status, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void set_message(struct wl_err *err, enum wl_status status, const char *format,
                        va_list args) {
    if (!err) {
        return;
    }
    // The arguments may point into err->message itself.
    char text[WL_ERR_MESSAGE_BYTES];
    vsnprintf(text, sizeof text, format, args);
    drop_cut_character(text);
    replace_harmful(text);
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
        drop_cut_character(err->message);
        replace_harmful(err->message);
    }
    return status_of_errno(errnum);
}
