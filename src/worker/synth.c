#include "worker/synth.h"

enum wl_status synth_request(const struct reply *reply, const json_t *request, json_t **result,
                             struct wl_err *err) {
    (void)reply;
    (void)request;
    (void)result;
    return wl_err_set(err, WL_UNSUPPORTED, "synth is not built yet");
}
