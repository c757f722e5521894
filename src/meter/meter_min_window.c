// How long a window must be: where the random part of the 95 % interval of a load that begins and
// ends with the window falls to a tenth of its energy. With an edge part A (J, once per window) and
// a noise part B (J per square root of a second), 1.96*sqrt(A^2 + B^2*t) = 0.1*P*t is solved for t.
#include <math.h>

#include "meter/meter_total_state.h"

static const double HALF_WIDTH = 0.1;
static const double SAMPLER_S = 0.1; // gauges are usually read this often
static const double SHORTEST_S = 0.25, LONGEST_S = 1e6;

static double square(double x) {
    return x * x;
}

// The pause between two readings. A device that sends by itself is heard at every refresh; others
// are asked by the sampler.
static double spacing_s(const struct meter_info *info) {
    double native_s = (double)info->native_period_ns * 1e-9;
    double poll_s = (double)info->poll_period_ns * 1e-9;
    bool is_stream = info->may_block && poll_s > 0 && poll_s < SAMPLER_S;
    return fmax(native_s, is_stream ? poll_s : fmax(poll_s, SAMPLER_S));
}

// A^2, for a change of power_w at both edges: the terms of meter_total_{counter,gauge,window}.c.
static double edge_variance(const struct meter_info *info, double power_w) {
    double native_s = (double)info->native_period_ns * 1e-9;
    double lag_sd_s = (double)info->lag_sd_ns * 1e-9;
    double tau_s = (double)info->smoothing_ns * 1e-9;
    double lag = 0.36 * square(lag_sd_s * power_w);
    if (meter_kind_is_counter(info->kind)) {
        return square(native_s * power_w) / 6 + square(info->quantum) / 6 + lag;
    }
    double d_s = spacing_s(info);
    bool is_averaged = info->kind == METER_GAUGE_AVERAGED;
    double age = info->is_stamped ? 0 : is_averaged ? 0.0056 : 0.018;
    double line = info->is_stamped && is_averaged ? 0.0056 : 0.0222;
    return 2 * square(power_w) * (line * square(d_s) + age * square(native_s)) + lag +
           square(0.2 * tau_s * power_w) + 2 * square(tau_s * info->noise_sd_w);
}

// B^2
static double noise_variance(const struct meter_info *info) {
    if (meter_kind_is_counter(info->kind)) {
        return 0;
    }
    return (square(info->noise_sd_w) + square(info->quantum) / 12) * spacing_s(info);
}

int64_t meter_min_window_ns(const struct meter_info *info, double power_w) {
    if (!(power_w > 0)) {
        return (int64_t)(LONGEST_S * 1e9); // nothing to measure
    }
    double edges = square(1.96) * edge_variance(info, power_w);
    double noise = square(1.96) * noise_variance(info);
    double slope = square(HALF_WIDTH * power_w);
    double t_s = (noise + sqrt(square(noise) + 4 * slope * edges)) / (2 * slope);
    return (int64_t)(fmin(fmax(t_s, SHORTEST_S), LONGEST_S) * 1e9);
}

int64_t meter_reach_ns(const struct meter_info *info, int64_t period_ns) {
    if (meter_kind_is_counter(info->kind)) {
        return (METER_RATE_REFRESHES + 1) * info->native_period_ns / 2 + 2 * info->lag_sd_ns;
    }
    int64_t half_ns = info->native_period_ns / 2;
    int64_t age_ns =
        (info->is_stamped ? 0 : half_ns) + (info->kind == METER_GAUGE_AVERAGED ? half_ns : 0);
    return period_ns + age_ns + 2 * info->lag_sd_ns + 5 * info->smoothing_ns / 2;
}
