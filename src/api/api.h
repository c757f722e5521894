// What the files of the public library share: statuses, errors and structs that can grow.
#ifndef WATTLAW_API_API_H
#define WATTLAW_API_API_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "wattlaw/wattlaw.h"

// Copies an inner error to the caller's (which may be NULL) and returns its status.
enum wattlaw_status api_result(enum wl_status status, const struct wl_err *err,
                               struct wattlaw_error *error);
// INPUT with "<what> is missing".
enum wattlaw_status api_missing(const char *what, struct wattlaw_error *error);
// Writes as much of `value` as the caller's struct has room for; its `size` stays what it was.
// Both begin with a size_t. False when the caller's size cannot be one.
bool api_copy_out(void *out, const void *value, size_t value_size);
// Reads an options struct that may be shorter than ours: what it lacks stays as in `value`.
// `options` may be NULL. False when its size cannot be one.
bool api_copy_in(void *value, size_t value_size, const void *options);

#endif
