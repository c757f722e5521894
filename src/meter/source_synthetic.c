// A simulated device over a known true power; see synthetic.h.
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "base/str.h"
#include "meter/source.h"
#include "meter/synthetic.h"

double meter_synthetic_power_w(const struct meter_synthetic *truth, int64_t t_ns) {
    const struct meter_synthetic_knot *knot = truth->knot;
    size_t after = 0;
    while (after < truth->n_knots && knot[after].t_ns <= t_ns) {
        after++;
    }
    if (truth->n_knots == 0) {
        return 0;
    }
    if (after == 0) {
        return knot[0].power_w;
    }
    if (after == truth->n_knots) {
        return knot[after - 1].power_w;
    }
    const struct meter_synthetic_knot *a = &knot[after - 1], *b = &knot[after];
    double share = (double)(t_ns - a->t_ns) / (double)(b->t_ns - a->t_ns);
    return a->power_w + share * (b->power_w - a->power_w);
}

// A stretch without a knot inside is a straight line: its middle times its length is exact.
static double line_joules(const struct meter_synthetic *truth, int64_t t0_ns, int64_t t1_ns) {
    double middle_w = meter_synthetic_power_w(truth, t0_ns + (t1_ns - t0_ns) / 2);
    return middle_w * (double)(t1_ns - t0_ns) * 1e-9;
}

double meter_synthetic_joules(const struct meter_synthetic *truth, int64_t t0_ns, int64_t t1_ns) {
    double sum_j = 0;
    int64_t from_ns = t0_ns;
    for (size_t i = 0; i < truth->n_knots && from_ns < t1_ns; i++) {
        int64_t to_ns = truth->knot[i].t_ns < t1_ns ? truth->knot[i].t_ns : t1_ns;
        if (to_ns > from_ns) {
            sum_j += line_joules(truth, from_ns, to_ns);
            from_ns = to_ns;
        }
    }
    return from_ns < t1_ns ? sum_j + line_joules(truth, from_ns, t1_ns) : sum_j;
}

struct synthetic {
    const struct meter_synthetic *truth;
    const struct os_clock *clock;
};

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    out->availability = env->synthetic ? METER_AVAILABLE : METER_MISSING;
    out->scope = env->synthetic ? env->synthetic->scope : METER_SCOPE_CPU;
    out->label = LABEL_MEASURED;
    str_copy(out->reason, sizeof out->reason, "simulated power, for tests only");
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    (void)argument;
    const struct meter_synthetic *truth = env->synthetic;
    if (!truth || truth->n_knots == 0 || truth->n_knots > METER_SYNTHETIC_MAX_KNOTS) {
        return wl_err_set(err, WL_NOT_FOUND, "the synthetic source needs a stated true power");
    }
    struct synthetic *state = calloc(1, sizeof *state);
    if (!state) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    *state = (struct synthetic){truth, meter_env_clock(env)};
    bool is_counter = meter_kind_is_counter(truth->kind);
    info->kind = truth->kind;
    info->scope = truth->scope;
    info->unit = is_counter ? "uJ" : "W";
    info->native_period_ns = truth->period_ns;
    info->lag_ns = truth->lag_ns;
    info->quantum = is_counter ? fmax((double)truth->quantum_uj, 1) * 1e-6 : truth->quantum_w;
    info->noise_sd_w = truth->noise_sd_w;
    info->gain_error_rel = truth->gain_error_rel;
    info->max_power_w = 1000;
    info->label = LABEL_MEASURED;
    info->n_channels = 1;
    info->channel[0] = (struct meter_channel){.name = "synthetic",
                                              .range = is_counter ? truth->range_uj : 0,
                                              .scale = is_counter ? 1e-6 : 1,
                                              .is_counted = true,
                                              .parent = -1};
    *out = state;
    return WL_OK;
}

// The last refresh at or before t; t itself for a continuous device.
static int64_t refresh_ns(const struct meter_synthetic *truth, int64_t t_ns) {
    if (truth->period_ns <= 0) {
        return t_ns;
    }
    int64_t since_ns = (t_ns - truth->phase_ns) % truth->period_ns;
    return t_ns - (since_ns < 0 ? since_ns + truth->period_ns : since_ns);
}

static uint64_t counter_uj(const struct meter_synthetic *truth, int64_t t_ns) {
    int64_t from_ns = 0;
    double start_uj = (double)truth->start_uj;
    if (truth->reset_t_ns && t_ns >= truth->reset_t_ns) {
        from_ns = truth->reset_t_ns;
        start_uj = 0;
    }
    double gain = truth->gain > 0 ? truth->gain : 1;
    double uj = start_uj + gain * 1e6 * meter_synthetic_joules(truth, from_ns, t_ns);
    uint64_t quantum_uj = truth->quantum_uj > 1 ? truth->quantum_uj : 1;
    uint64_t raw = (uint64_t)fmax(uj, 0) / quantum_uj * quantum_uj;
    return truth->range_uj ? raw % truth->range_uj : raw;
}

// The same refresh shows the same noise however often it is read.
static double noise_w(const struct meter_synthetic *truth, int64_t refresh_time_ns) {
    struct rng rng;
    rng_seed(&rng, truth->seed ^ (uint64_t)refresh_time_ns * UINT64_C(0x9e3779b97f4a7c15));
    return truth->noise_sd_w * rng_normal(&rng);
}

static double gauge_w(const struct meter_synthetic *truth, int64_t t_ns) {
    double gain = truth->gain > 0 ? truth->gain : 1;
    double power_w = meter_synthetic_power_w(truth, t_ns);
    if (truth->kind == METER_GAUGE_AVERAGED && truth->period_ns > 0) {
        power_w = meter_synthetic_joules(truth, t_ns - truth->period_ns, t_ns) /
                  ((double)truth->period_ns * 1e-9);
    }
    power_w = gain * power_w + (truth->noise_sd_w > 0 ? noise_w(truth, t_ns) : 0);
    return truth->quantum_w > 0 ? round(power_w / truth->quantum_w) * truth->quantum_w : power_w;
}

static enum wl_status read_source(void *state_, struct meter_reading *out, struct wl_err *err) {
    (void)err;
    const struct synthetic *state = state_;
    const struct meter_synthetic *truth = state->truth;
    int64_t now_ns = state->clock->now_ns(state->clock->context);
    out->t_before_ns = out->t_after_ns = now_ns;
    if (now_ns >= truth->gap_t0_ns && now_ns < truth->gap_t1_ns) {
        return WL_OK;
    }
    int64_t shown_ns = refresh_ns(truth, now_ns - truth->lag_ns);
    if (meter_kind_is_counter(truth->kind)) {
        out->channel[0].raw = counter_uj(truth, shown_ns);
    } else {
        out->channel[0].value = gauge_w(truth, shown_ns);
    }
    out->channel[0].is_valid = true;
    return WL_OK;
}

const struct meter_source meter_source_synthetic = {.name = "synthetic",
                                                    .title = "simulated power (tests)",
                                                    .probe = probe,
                                                    .open = open_source,
                                                    .read = read_source,
                                                    .close = free};
