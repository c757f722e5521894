// COUNT: what images of given sizes cost in tokens.
#ifndef WATTLAW_WORKER_COUNT_H
#define WATTLAW_WORKER_COUNT_H

#include <jansson.h>

#include "base/err.h"
#include "worker/vision.h"

enum wl_status count_request(const struct vision *vision, const json_t *request, json_t **result,
                             struct wl_err *err);

#endif
