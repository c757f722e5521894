// How honest the intervals are: every kind of source, simulated from 500 seeds, its readings turned
// into joules by the real code. `test_meter_sim --table` prints the table of docs/measurement.md.
#include "test_meter_tree.h"

#include <math.h>
#include <stdlib.h>

#include "sim/trial.h"

enum { N_SEEDS = 500 };

struct coverage {
    double gross_pct, net_pct;
    double unresolved_pct, short_pct;
    double bias_j, rms_j, stated_j; // of gross, random part
    double net_bias_j, net_rms_j, net_stated_j;
    double half_width_pct; // median, of net
};

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// A source with a perfect gain shows what its random part alone is worth.
static struct sim_source without_gain(const struct sim_source *source) {
    struct sim_source copy = *source;
    copy.info.gain_error_rel = copy.info.offset_error_w = 0;
    return copy;
}

static void measure(const struct sim_source *source, double min_s, double max_s, int n_seeds,
                    struct coverage *out) {
    static double half_width[N_SEEDS];
    *out = (struct coverage){0};
    for (int i = 0; i < n_seeds; i++) {
        // Lengths spread evenly over the logarithm.
        double share = n_seeds > 1 ? (double)i / (n_seeds - 1) : 0;
        struct trial_spec spec = {.source = source, .window_s = min_s * pow(max_s / min_s, share)};
        struct trial trial;
        trial_run(&spec, (uint64_t)i + 1, &trial);
        if (!trial.is_known) {
            fail_msg("%s, seed %d: no readings around the window", source->name, i + 1);
        }
        double error_j = trial.gross.value_j - trial.gross.truth_j;
        double net_error_j = trial.net.value_j - trial.net.truth_j;
        out->gross_pct += trial_covers(&trial.gross) * 100.0 / n_seeds;
        out->net_pct += trial_covers(&trial.net) * 100.0 / n_seeds;
        out->unresolved_pct += trial_is_unresolved(&trial.net) * 100.0 / n_seeds;
        out->short_pct += (trial.flags & RECORD_SHORT ? 100.0 : 0) / n_seeds;
        out->bias_j += error_j / n_seeds;
        out->rms_j += error_j * error_j / n_seeds;
        out->stated_j += trial.gross.sd_j * trial.gross.sd_j / n_seeds;
        out->net_bias_j += net_error_j / n_seeds;
        out->net_rms_j += net_error_j * net_error_j / n_seeds;
        out->net_stated_j += trial.net.sd_j * trial.net.sd_j / n_seeds;
        half_width[i] = 196 * trial.gross.sd_j / fabs(trial.gross.value_j);
    }
    out->rms_j = sqrt(out->rms_j);
    out->stated_j = sqrt(out->stated_j);
    out->net_rms_j = sqrt(out->net_rms_j);
    out->net_stated_j = sqrt(out->net_stated_j);
    qsort(half_width, (size_t)n_seeds, sizeof half_width[0], by_value);
    out->half_width_pct = half_width[n_seeds / 2];
}

static double min_window_s(const struct sim_source *source) {
    return (double)meter_min_window_ns(&source->info, 8) * 1e-9;
}

static void show(const char *name, double min_s, double max_s, const struct coverage *c) {
    print_message(
        "%-24s %7.2f..%-7.2f s gross %5.1f %% (bias %+.3g rms %.3g said %.3g) net %5.1f %% "
        "(bias %+.3g rms %.3g said %.3g) unres %.0f %% short %.0f %%\n",
        name, min_s, max_s, c->gross_pct, c->bias_j, c->rms_j, c->stated_j, c->net_pct,
        c->net_bias_j, c->net_rms_j, c->net_stated_j, c->unresolved_pct, c->short_pct);
}

static void intervals_are_honest_above_the_minimum(void **state) {
    (void)state;
    for (size_t i = 0; i < SIM_N_SOURCES; i++) {
        struct coverage c;
        double min_s = min_window_s(&SIM_SOURCES[i]);
        measure(&SIM_SOURCES[i], min_s, 4 * min_s, N_SEEDS, &c);
        show(SIM_SOURCES[i].name, min_s, 4 * min_s, &c);
        struct sim_source perfect = without_gain(&SIM_SOURCES[i]);
        measure(&perfect, min_s, 4 * min_s, N_SEEDS, &c);
        show("  random part alone", min_s, 4 * min_s, &c);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intervals_are_honest_above_the_minimum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
