// The message that travels with a status. Say what, where, expected, found, and the next step:
//   cannot read 'm.gguf': tensor 12 'blk.0.attn_q' ends at byte 812 but the file has 640
// Lower case, no full stop. Libraries fill it; only cli and gateway print it.
#ifndef WATTLAW_BASE_ERR_H
#define WATTLAW_BASE_ERR_H

#include <stdarg.h>

#include "base/status.h"

enum { WL_ERR_MESSAGE_BYTES = 768 };

struct wl_err {
    enum wl_status status;
    char message[WL_ERR_MESSAGE_BYTES];
};

// Sets the message and returns `status`, so that a function can end with
// `return wl_err_set(err, WL_INPUT, "...")`. Too long a message is cut, control characters and what
// is not UTF-8 become '?', so that it can go to a terminal and into JSON. `err` may be NULL.
enum wl_status wl_err_set(struct wl_err *err, enum wl_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Puts "<context>: " in front of the message there is; returns err's status (FAILED if err is
// NULL).
enum wl_status wl_err_prefix(struct wl_err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Same as wl_err_set, with ": <strerror(errnum)>" at the end; the status follows from errnum
// (ENOENT -> NOT_FOUND, EACCES/EPERM -> PERMISSION, ENOMEM -> MEMORY, EINTR -> INTERRUPTED, else
// IO).
enum wl_status wl_err_errno(struct wl_err *err, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
