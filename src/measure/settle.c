#include "measure/settle.h"

#include "measure/pause.h"
#include "os/clock.h"

static const int64_t STEP_NS = 20000000, LONGEST_NS = 30000000000;
static const int64_t SAMPLER_PERIOD_NS = 100000000;
// What is on time needs no waiting: its reading at the edge is taken by the sampler's mark.
static const int64_t PROMPT_NS = 20000000, FAST_REACH_NS = 500000000;

static int64_t at_most(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t at_least(int64_t a, int64_t b) {
    return a > b ? a : b;
}

int64_t settle_delay_ns(const struct meter_info *info) {
    if (info->kind == METER_MODEL) {
        return 0;
    }
    int64_t step_ns = at_least(info->native_period_ns, info->poll_period_ns);
    return at_most(info->lag_ns + 2 * info->lag_sd_ns + 3 * info->smoothing_ns + 3 * step_ns,
                   LONGEST_NS);
}

int64_t settle_reach_ns(const struct meter_info *info) {
    int64_t period_ns = at_least(info->poll_period_ns, SAMPLER_PERIOD_NS);
    int64_t reach_ns = info->kind == METER_MODEL ? 0 : 2 * meter_reach_ns(info, period_ns);
    return reach_ns > FAST_REACH_NS ? at_most(reach_ns, LONGEST_NS) : 0;
}

static int64_t longest_reach_ns(const struct meter_set *meters) {
    int64_t longest_ns = 0;
    for (size_t i = 0; i < meters->n; i++) {
        longest_ns = at_least(longest_ns, settle_reach_ns(meter_info(meters->meter[i])));
    }
    return longest_ns;
}

enum wl_status settle_begin(struct sampler *sampler, const struct meter_set *meters,
                            struct wl_err *err) {
    enum wl_status status = pause_until(os_now_ns() + longest_reach_ns(meters), err);
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
        const struct meter_info *info = meter_info(meters->meter[i]);
        if (settle_delay_ns(info) <= PROMPT_NS) {
            continue;
        }
        int64_t wanted_ns = t_ns + settle_reach_ns(info),
                until_ns = wanted_ns + settle_delay_ns(info);
        while (status == WL_OK && sampler_known_until_ns(sampler, i) < wanted_ns &&
               os_now_ns() < until_ns) {
            status = pause_until(os_now_ns() + STEP_NS, err);
        }
    }
    return status;
}
