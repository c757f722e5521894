#include "measure/pause.h"

#include "os/clock.h"
#include "os/process.h"

static const int64_t STEP_NS = 100000000;

enum wl_status pause_until(int64_t t_ns, struct wl_err *err) {
    for (int64_t now_ns = os_now_ns(); now_ns < t_ns; now_ns = os_now_ns()) {
        os_sleep_until_ns(now_ns + STEP_NS < t_ns ? now_ns + STEP_NS : t_ns);
        if (os_is_interrupted()) {
            return wl_err_set(err, WL_INTERRUPTED, "interrupted");
        }
    }
    return WL_OK;
}
