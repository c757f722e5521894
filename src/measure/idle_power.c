#include "measure/idle_power.h"

enum { MIN_BINS = 5, WANTED_BINS = 8, MAX_BINS = 2000 };
static const int64_t LONGEST_BIN_NS = 250000000;

// Two refreshes; more in a long stretch, so that a reading's error matters less.
static int64_t bin_ns(const struct meter_info *info, int64_t stretch_ns) {
    int64_t step_ns = info->native_period_ns > info->poll_period_ns ? info->native_period_ns
                                                                    : info->poll_period_ns;
    int64_t wanted_ns =
        stretch_ns / WANTED_BINS < LONGEST_BIN_NS ? stretch_ns / WANTED_BINS : LONGEST_BIN_NS;
    return 2 * step_ns > wanted_ns ? 2 * step_ns : wanted_ns;
}

int64_t idle_power_bin_ns(const struct meter_info *info) {
    return bin_ns(info, INT64_MAX);
}

bool idle_power_find(struct sampler *sampler, size_t index, const struct meter_info *info,
                     int64_t t0_ns, int64_t t1_ns, struct series_baseline *out) {
    int64_t from_ns = sampler_known_from_ns(sampler, index);
    int64_t until_ns = sampler_known_until_ns(sampler, index);
    t0_ns = t0_ns > from_ns ? t0_ns : from_ns;
    t1_ns = t1_ns < until_ns ? t1_ns : until_ns;
    int64_t n_bins = t1_ns > t0_ns ? (t1_ns - t0_ns) / bin_ns(info, t1_ns - t0_ns) : 0;
    n_bins = n_bins < MAX_BINS ? n_bins : MAX_BINS;
    if (n_bins < MIN_BINS) {
        return false;
    }
    struct series watts;
    series_init(&watts, (size_t)n_bins);
    for (int64_t i = 0; i < n_bins; i++) {
        struct meter_energy energy;
        int64_t a_ns = t0_ns + (t1_ns - t0_ns) * i / n_bins;
        int64_t b_ns = t0_ns + (t1_ns - t0_ns) * (i + 1) / n_bins;
        bool is_known = sampler_energy(sampler, index, a_ns, b_ns, &energy, NULL) == WL_OK;
        if (is_known && energy.coverage > 0.9) {
            series_push(&watts, a_ns + (b_ns - a_ns) / 2,
                        energy.gross_j / series_seconds(a_ns, b_ns), NULL);
        }
    }
    bool is_found =
        watts.n >= MIN_BINS && series_baseline_find(watts.points, watts.n, out, NULL) == WL_OK;
    series_release(&watts);
    return is_found;
}
