// RUN: one prompt with its images, prefill and decode, with the clocks at every border.
#ifndef WATTLAW_WORKER_RUN_H
#define WATTLAW_WORKER_RUN_H

#include <jansson.h>

#include "worker/image_slots.h"
#include "worker/session.h"

enum wl_status run_request(struct session *session, const struct image_slots *slots,
                           const struct reply *reply, const json_t *request, json_t **result,
                           struct wl_err *err);

#endif
