#include "api/api.h"

#include <stdlib.h>
#include <string.h>

#include "os/clock.h"

#define SAME(name) _Static_assert((int)WATTLAW_##name == (int)WL_##name, "status " #name)
SAME(OK);
SAME(FAILED);
SAME(UNTRUSTED);
SAME(INTERRUPTED);
SAME(INPUT);
SAME(NOT_FOUND);
SAME(PERMISSION);
SAME(UNSUPPORTED);
SAME(LIMIT);
SAME(IO);
SAME(TIMEOUT);
SAME(BUSY);
SAME(MEMORY);
_Static_assert(sizeof(((struct wattlaw_error *)0)->message) == WL_ERR_MESSAGE_BYTES, "message");

// More than any struct of ours, now or later: a size beyond it was never set.
enum { MAX_STRUCT_BYTES = 65536 };

#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *wattlaw_version(void) {
    return VERSION(WATTLAW_VERSION_MAJOR, WATTLAW_VERSION_MINOR, WATTLAW_VERSION_PATCH);
}

const char *wattlaw_status_name(enum wattlaw_status status) {
    return wl_status_name((enum wl_status)status);
}

int64_t wattlaw_now_ns(void) {
    return os_now_ns();
}

void wattlaw_free(void *text) {
    free(text);
}

enum wattlaw_status api_result(enum wl_status status, const struct wl_err *err,
                               struct wattlaw_error *error) {
    if (error) {
        error->status = (enum wattlaw_status)status;
        error->message[0] = '\0';
        if (status != WL_OK) {
            memcpy(error->message, err->message, sizeof error->message);
        }
    }
    return (enum wattlaw_status)status;
}

enum wattlaw_status api_missing(const char *what, struct wattlaw_error *error) {
    struct wl_err err;
    wl_err_set(&err, WL_INPUT, "%s is missing, or its size is not set", what);
    return api_result(WL_INPUT, &err, error);
}

static size_t size_of(const void *sized) {
    size_t size;
    memcpy(&size, sized, sizeof size);
    return size;
}

static bool is_plausible(size_t size) {
    return size >= sizeof size && size <= MAX_STRUCT_BYTES;
}

bool api_copy_out(void *out, const void *value, size_t value_size) {
    if (!out || !is_plausible(size_of(out))) {
        return false;
    }
    size_t size = size_of(out), n = size < value_size ? size : value_size;
    memcpy((char *)out + sizeof size, (const char *)value + sizeof size, n - sizeof size);
    return true;
}

bool api_copy_in(void *value, size_t value_size, const void *options) {
    if (!options) {
        return true;
    }
    size_t size = size_of(options);
    if (!is_plausible(size)) {
        return false;
    }
    memcpy(value, options, size < value_size ? size : value_size);
    return true;
}
