// Every fallible function returns one of these; 0 is success. The message that goes with a failure
// lives in struct wl_err (err.h). One table keeps names, exit codes and HTTP codes together.
#ifndef WATTLAW_BASE_STATUS_H
#define WATTLAW_BASE_STATUS_H

// X(suffix, process exit code, HTTP status, short name)
#define WL_STATUS_LIST(X)                                                                          \
    X(OK, 0, 200, "ok")                                                                            \
    X(FAILED, 1, 500, "failed")             /* anything without a better word */                   \
    X(USAGE, 2, 400, "usage")               /* wrong option or argument */                         \
    X(UNTRUSTED, 3, 500, "untrusted")       /* ran, but the measurement is not trustworthy */      \
    X(GATE, 4, 412, "gate")                 /* a floor or gate was not met */                      \
    X(INTERRUPTED, 130, 499, "interrupted") /* SIGINT or SIGTERM */                                \
    X(INPUT, 1, 400, "bad-input")           /* malformed data from outside */                      \
    X(NOT_FOUND, 1, 404, "not-found")       /* no such file, zone, process, row */                 \
    X(PERMISSION, 1, 403, "permission")     /* exists, but may not be read */                      \
    X(UNSUPPORTED, 1, 501, "unsupported")   /* this machine or build cannot do it */               \
    X(LIMIT, 1, 413, "limit")               /* larger than a stated maximum */                     \
    X(IO, 1, 500, "io")                     /* the operating system refused */                     \
    X(TIMEOUT, 1, 504, "timeout")           /* a deadline passed */                                \
    X(CRASHED, 1, 502, "crashed")           /* the engine process died */                          \
    X(PROTOCOL, 1, 502, "protocol")         /* the engine process spoke nonsense */                \
    X(BUSY, 1, 503, "busy")                 /* in use by somebody else */                          \
    X(MEMORY, 1, 507, "memory")             /* would not fit in memory */

enum wl_status {
#define X(suffix, exit_code, http_code, name) WL_##suffix,
    WL_STATUS_LIST(X)
#undef X
};

// "bad-input"; "unknown" for a number outside the table.
const char *wl_status_name(enum wl_status status);
// The process exit code that `wattlaw` ends with.
int wl_status_exit_code(enum wl_status status);
// The HTTP status that the gateway answers with.
int wl_status_http_code(enum wl_status status);

#endif
