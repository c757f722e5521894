#include "measure/settle.h"

#include "measure/pause.h"
#include "os/clock.h"

static const int64_t STEP_NS = 20000000, LONGEST_NS = 30000000000;
// What is on time needs no waiting: its reading at the edge is taken by the sampler's mark.
static const int64_t PROMPT_NS = 20000000;

int64_t settle_delay_ns(const struct meter_info *info) {
    if (info->kind == METER_MODEL) {
        return 0;
    }
    int64_t step_ns = info->native_period_ns > info->poll_period_ns ? info->native_period_ns
                                                                    : info->poll_period_ns;
    int64_t delay_ns = info->lag_ns + 2 * info->lag_sd_ns + 3 * info->smoothing_ns + 3 * step_ns;
    return delay_ns < LONGEST_NS ? delay_ns : LONGEST_NS;
}

enum wl_status settle_begin(struct sampler *sampler, const struct meter_set *meters,
                            struct wl_err *err) {
    enum wl_status status = WL_OK;
    int64_t start_ns = os_now_ns();
    for (size_t i = 0; i < meters->n && status == WL_OK; i++) {
        int64_t until_ns = start_ns + settle_delay_ns(meter_info(meters->meter[i]));
        while (status == WL_OK && sampler_known_from_ns(sampler, i) > start_ns &&
               os_now_ns() < until_ns) {
            status = pause_until(os_now_ns() + STEP_NS, err);
        }
    }
    return status;
}

enum wl_status settle_end(struct sampler *sampler, const struct meter_set *meters, int64_t t_ns,
                          struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < meters->n && status == WL_OK; i++) {
        int64_t delay_ns = settle_delay_ns(meter_info(meters->meter[i]));
        if (delay_ns <= PROMPT_NS) {
            continue;
        }
        int64_t until_ns = t_ns + delay_ns;
        while (status == WL_OK && sampler_known_until_ns(sampler, i) < t_ns &&
               os_now_ns() < until_ns) {
            status = pause_until(os_now_ns() + STEP_NS, err);
        }
    }
    return status;
}
