// COUNT: what images of given sizes cost in tokens, or a whole prompt.
#ifndef WATTLAW_WORKER_COUNT_H
#define WATTLAW_WORKER_COUNT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/session.h"

enum wl_status count_request(const struct session *session, const json_t *request, json_t **result,
                             struct wl_err *err);
// `size` is sizes[i] of a request: [width, height].
enum wl_status count_take_size(const json_t *size, size_t i, uint32_t *width, uint32_t *height,
                               struct wl_err *err);

#endif
