#include "measure/watch_idle.h"

#include <math.h>
#include <stdlib.h>

#include "base/units.h"
#include "measure/idle.h"
#include "measure/idle_power.h"
#include "os/machine.h"
#include "series/baseline.h"

enum { ENOUGH_BINS = 7 };
static const int64_t CPU_BIN_NS = 500000000; // ticks are 10 ms: 0.5 s resolves 1 % of two cores
static const int64_t MIN_NEEDED_NS = 3000000000, MAX_NEEDED_NS = 20000000000;
static const double BETTER_PCT = 0.2; // a new stretch must be lower by this

int64_t watch_idle_needed_ns(const struct meter_set *meters) {
    int64_t needed_ns = MIN_NEEDED_NS;
    for (size_t i = 0; i < meters->n; i++) {
        int64_t own_ns = ENOUGH_BINS * idle_power_bin_ns(meter_info(meters->meter[i]));
        needed_ns = own_ns > needed_ns ? own_ns : needed_ns;
    }
    return needed_ns < MAX_NEEDED_NS ? needed_ns : MAX_NEEDED_NS;
}

void watch_idle_none(struct watch_idle *out) {
    *out = (struct watch_idle){.cpu_pct = (double)NAN};
    for (size_t i = 0; i < RECORD_MAX_ENERGIES; i++) {
        out->watts[i] = out->watts_sd[i] = (double)NAN;
    }
}

static double cpu_pct(const struct sampler_row *a, const struct sampler_row *b) {
    double core_seconds = series_seconds(a->t_ns, b->t_ns) * os_n_cores();
    return 100 * (b->machine_busy_s - a->machine_busy_s) / core_seconds;
}

static void find_cpu(const struct sampler_row *rows, size_t n, struct watch_idle *out) {
    const struct sampler_row *first = NULL, *bin = NULL, *last = NULL;
    size_t n_bins = 0, n_busy = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(rows[i].flags & SAMPLER_HAS_MACHINE)) {
            continue;
        }
        first = first ? first : &rows[i];
        bin = bin ? bin : &rows[i];
        last = &rows[i];
        if (last->t_ns - bin->t_ns >= CPU_BIN_NS) {
            n_bins++;
            n_busy += cpu_pct(bin, last) > IDLE_MAX_CPU_PCT;
            bin = last;
        }
    }
    if (first && last->t_ns > first->t_ns) {
        out->cpu_pct = cpu_pct(first, last);
    }
    out->flags |= n_busy * 10 > n_bins ? RECORD_BUSY : 0u;
}

static void find_power(const struct watch_track *track, size_t index, struct watch_idle *out) {
    const struct meter_info *info = meter_info(track->meters->meter[index]);
    struct series_baseline baseline;
    if (idle_power_find(track->sampler, index, info, out->t0_ns, out->t1_ns, &baseline)) {
        out->watts[index] = baseline.level;
        out->watts_sd[index] = baseline.sd_of_level;
        out->flags |= baseline.is_drifting && info->kind != METER_MODEL ? RECORD_IDLE_DRIFT : 0u;
    }
}

void watch_idle_find(const struct watch_track *track, int64_t t0_ns, int64_t t1_ns,
                     struct watch_idle *out) {
    struct sampler_row *rows;
    size_t n;
    watch_idle_none(out);
    if (sampler_copy_window(track->sampler, t0_ns, t1_ns, &rows, &n, NULL) != WL_OK) {
        return;
    }
    out->t0_ns = t0_ns;
    out->t1_ns = t1_ns;
    find_cpu(rows, n, out);
    for (size_t i = 0; i < track->meters->n; i++) {
        find_power(track, i, out);
    }
    free(rows);
}

void watch_idle_improve(const struct watch_track *track, int64_t length_ns,
                        struct watch_idle *best) {
    const struct watch_point *last = &track->point[track->n_points - 1];
    size_t begin = watch_track_point_at(track, last->t_ns - length_ns);
    const struct watch_point *first = &track->point[begin];
    if (begin == 0 || last->t_ns <= first->t_ns) {
        return; // not that long yet
    }
    double pct = 100 * (last->machine_busy_s - first->machine_busy_s) /
                 (series_seconds(first->t_ns, last->t_ns) * os_n_cores());
    if (best->t1_ns <= best->t0_ns || pct < best->cpu_pct - BETTER_PCT) {
        watch_idle_find(track, first->t_ns, last->t_ns, best);
    }
}
