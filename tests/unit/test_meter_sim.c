// How honest the intervals are: every kind of source, simulated from many seeds, its readings
// turned into joules by the real code. `test_meter_sim --table` prints the table of
// docs/measurement.md.
#include "test_meter_tree.h"

#include <math.h>
#include <stdlib.h>

#include "sim/trial.h"
#include "stats/law.h"

enum { N_SEEDS = 1000, N_SHORT_SEEDS = 100, N_TABLE_SEEDS = 100, N_LAW_SEEDS = 500 };
static const double LOWEST_PCT = 92, HIGHEST_PCT = 98;
static const double TYPICAL_W = 8;

struct honesty {
    double gross_pct, net_pct; // of the 95 % intervals that hold the truth
    double bias_j, rms_j;      // of gross
    double half_width_pct;     // median, of gross
    size_t n_negative;
    size_t n_silent; // neither unresolved nor flagged as short
};

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void add_trial(const struct trial *trial, int n_seeds, struct honesty *out) {
    double error_j = trial->gross.value_j - trial->gross.truth_j;
    bool is_said = trial_is_unresolved(&trial->net) || (trial->flags & RECORD_SHORT);
    out->gross_pct += trial_covers(&trial->gross) * 100.0 / n_seeds;
    out->net_pct += trial_covers(&trial->net) * 100.0 / n_seeds;
    out->bias_j += error_j / n_seeds;
    out->rms_j += error_j * error_j / n_seeds;
    out->n_negative += trial->gross.value_j < 0;
    out->n_silent += !is_said;
}

// Windows of min_s to max_s, spread evenly over the logarithm.
static void try_all(const struct sim_source *source, double min_s, double max_s, int n_seeds,
                    struct honesty *out) {
    static double half_width[N_SEEDS];
    *out = (struct honesty){0};
    for (int i = 0; i < n_seeds; i++) {
        double share = (double)(i * 7 % n_seeds) / n_seeds;
        struct trial_spec spec = {.source = source, .window_s = min_s * pow(max_s / min_s, share)};
        struct trial trial;
        trial_run(&spec, (uint64_t)i + 1, &trial);
        if (!trial.is_known) {
            fail_msg("%s, seed %d: no readings around the window", source->name, i + 1);
        }
        add_trial(&trial, n_seeds, out);
        half_width[i] = 196 * trial.gross.sd_j / fmax(trial.gross.value_j, 1e-9);
    }
    out->rms_j = sqrt(out->rms_j);
    qsort(half_width, (size_t)n_seeds, sizeof half_width[0], by_value);
    out->half_width_pct = half_width[n_seeds / 2];
}

static double min_window_s(const struct sim_source *source) {
    return (double)meter_min_window_ns(&source->info, TYPICAL_W) * 1e-9;
}

static void intervals_are_honest_above_the_minimum(void **state) {
    (void)state;
    bool is_honest = true;
    for (size_t i = 0; i < SIM_N_SOURCES; i++) {
        struct honesty found;
        double min_s = min_window_s(&SIM_SOURCES[i]);
        try_all(&SIM_SOURCES[i], min_s, 4 * min_s, N_SEEDS, &found);
        print_message("%-24s from %6.2f s: gross %5.1f %%, net %5.1f %% (bias %+.3f J, rms %.3f)\n",
                      SIM_SOURCES[i].name, min_s, found.gross_pct, found.net_pct, found.bias_j,
                      found.rms_j);
        is_honest = is_honest && found.gross_pct >= LOWEST_PCT && found.gross_pct <= HIGHEST_PCT &&
                    found.net_pct >= LOWEST_PCT && found.net_pct <= HIGHEST_PCT &&
                    found.n_negative == 0;
    }
    assert_true(is_honest);
}

static void short_windows_are_said_to_be_short(void **state) {
    (void)state;
    bool is_honest = true;
    for (size_t i = 0; i < SIM_N_SOURCES; i++) {
        struct honesty found;
        double min_s = min_window_s(&SIM_SOURCES[i]);
        try_all(&SIM_SOURCES[i], min_s / 20, min_s / 2, N_SHORT_SEEDS, &found);
        print_message("%-24s below %5.2f s: gross %5.1f %%, net %5.1f %%, +-%.0f %%\n",
                      SIM_SOURCES[i].name, min_s / 2, found.gross_pct, found.net_pct,
                      found.half_width_pct);
        is_honest = is_honest && found.n_silent == 0 && found.n_negative == 0 &&
                    found.gross_pct >= LOWEST_PCT - 2 && found.net_pct >= LOWEST_PCT - 2;
    }
    assert_true(is_honest);
}

static void phases_add_up_to_the_window(void **state) {
    (void)state;
    for (size_t i = 0; i < SIM_N_SOURCES; i++) {
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct trial_spec spec = {.source = &SIM_SOURCES[i],
                                      .window_s = min_window_s(&SIM_SOURCES[i]) *
                                                  (0.5 + (double)seed / 10)};
            struct trial trial;
            trial_run(&spec, seed, &trial);
            double sum_j = trial.first_j + trial.second_j;
            assert_true(fabs(sum_j - trial.gross.value_j) < 1e-9 * fmax(sum_j, 1));
        }
    }
}

static void a_reset_is_flagged_and_never_negative(void **state) {
    (void)state;
    for (size_t i = 0; i < SIM_N_SOURCES; i++) {
        if (!meter_kind_is_counter(SIM_SOURCES[i].info.kind)) {
            continue;
        }
        // A counter without a range has no other way down; one with a range takes a step that no
        // sane device makes for a reset too.
        for (uint64_t seed = 1; seed <= 50; seed++) {
            struct trial_spec spec = {.source = &SIM_SOURCES[i], .window_s = 3, .has_reset = true};
            struct trial trial;
            trial_run(&spec, seed, &trial);
            assert_true(trial.is_known && trial.flags & RECORD_RESET);
            assert_true(trial.gross.value_j >= 0 && trial.coverage < 1);
            assert_true(trial.gross.value_j < trial.gross.truth_j * 1.2);
        }
    }
}

// --- many short prompts and a slow meter --------------------------------------------------------

static const double FIXED_S = 0.2, PROMPT_TOKEN_S = 0.004, TOKEN_S = 0.03;
static const double LOAD_W = 10, IDLE_W = 3.5;

static double run_prompt(const struct sim_source *source, double p, double g, uint64_t seed,
                         bool *is_short) {
    double first_s = FIXED_S + p * PROMPT_TOKEN_S, window_s = first_s + g * TOKEN_S;
    struct trial_spec spec = {.source = source,
                              .window_s = window_s,
                              .split_share = first_s / window_s,
                              .load_w = LOAD_W,
                              .idle_w = IDLE_W,
                              .is_plain = true,
                              .is_padded = true};
    struct trial trial;
    trial_run(&spec, seed, &trial);
    assert_true(trial.is_known);
    *is_short = window_s * 1e9 < (double)meter_min_window_ns(&source->info, LOAD_W);
    return trial.net.value_j;
}

// The meter shows the mean of every second, as the study's USB-C meter does: all of a prompt's
// energy is in a window widened by the meter's reach, though the prompt alone is unresolved.
static void tokens_have_a_price_even_from_a_slow_meter(void **state) {
    (void)state;
    static const double PROMPT[] = {16, 128, 256}, GENERATED[] = {8, 32, 64};
    enum { CELLS = 9, REPEATS = 3, POINTS = CELLS * REPEATS };
    const double truth[3] = {FIXED_S * (LOAD_W - IDLE_W), PROMPT_TOKEN_S * (LOAD_W - IDLE_W),
                             TOKEN_S * (0.8 * LOAD_W - IDLE_W)};
    struct sim_source source = SIM_SOURCES[SIM_CSV_MEANS];
    source.info.gain_error_rel = 0; // a share of every coefficient, whatever the number of prompts
    int n_covered[3] = {0}, n_short = 0, n_straight = 0;
    double half_width_pct[3] = {0};
    for (uint64_t seed = 1; seed <= N_LAW_SEEDS; seed++) {
        struct law_point point[POINTS];
        for (int i = 0; i < POINTS; i++) {
            bool is_short;
            double p = PROMPT[i % 3], g = GENERATED[i / 3 % 3];
            double y = run_prompt(&source, p, g, seed * 1000 + (uint64_t)i, &is_short);
            point[i] = (struct law_point){p, g, y};
            n_short += is_short;
        }
        struct law_fit fit;
        assert_int_equal(law_fit(point, POINTS, &fit, NULL), WL_OK);
        if (fit.has_term[LAW_QUADRATIC] || fit.has_term[LAW_INTERACTION]) {
            continue; // a curvature that is not there, found by chance: its terms mean another
                      // thing
        }
        n_straight++;
        for (int k = 0; k < 3; k++) {
            n_covered[k] += fit.ci95[k].low <= truth[k] && truth[k] <= fit.ci95[k].high;
            half_width_pct[k] += (fit.ci95[k].high - fit.ci95[k].low) / 2 / truth[k] * 100;
        }
    }
    static const char *const NAMES[] = {"request", "prompt token", "generated token"};
    print_message("%d of %d fits are straight, as the truth is\n", n_straight, N_LAW_SEEDS);
    assert_true(n_straight > N_LAW_SEEDS * 8 / 10);
    for (int k = 0; k < 3; k++) {
        double covered_pct = 100.0 * n_covered[k] / n_straight;
        print_message("J per %-16s %.4f: covered %5.1f %%, +-%.1f %% from %d prompts\n", NAMES[k],
                      truth[k], covered_pct, half_width_pct[k] / n_straight, POINTS);
        // From so few prompts the law's intervals are a little too narrow (docs/measurement.md).
        assert_true(covered_pct >= 85 && covered_pct <= HIGHEST_PCT);
    }
    assert_true(n_short > N_LAW_SEEDS * POINTS * 3 / 4);
}

// --- the table ----------------------------------------------------------------------------------

static void print_widths(const struct sim_source *source) {
    static const double LENGTH_S[] = {2, 10, 60};
    for (size_t i = 0; i < 3; i++) {
        struct honesty found;
        try_all(source, LENGTH_S[i], LENGTH_S[i], N_TABLE_SEEDS, &found);
        bool is_short = LENGTH_S[i] < min_window_s(source);
        bool is_unresolved = found.half_width_pct >= 100;
        if (is_unresolved) {
            printf(" unresolved |");
        } else {
            printf(" %s%.2g %%%s |", is_short ? "(" : "", found.half_width_pct,
                   is_short ? ")" : "");
        }
    }
    printf("\n");
}

static int print_table(void) {
    printf("| source | refresh | read every | minimum window | gross covered | net covered |"
           " 2 s | 10 s | 60 s |\n|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < SIM_N_SOURCES; i++) {
        const struct sim_source *source = &SIM_SOURCES[i];
        struct honesty found;
        double min_s = min_window_s(source);
        try_all(source, min_s, 4 * min_s, N_SEEDS, &found);
        printf("| %s | %g ms | %g ms | %.2g s | %.1f %% | %.1f %% |", source->name,
               (double)source->info.native_period_ns * 1e-6, source->period_s * 1e3, min_s,
               found.gross_pct, found.net_pct);
        print_widths(source);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--table") == 0) {
        return print_table();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intervals_are_honest_above_the_minimum),
        cmocka_unit_test(short_windows_are_said_to_be_short),
        cmocka_unit_test(phases_add_up_to_the_window),
        cmocka_unit_test(a_reset_is_flagged_and_never_negative),
        cmocka_unit_test(tokens_have_a_price_even_from_a_slow_meter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
