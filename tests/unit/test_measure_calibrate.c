// The guided run against simulated meters, a fake clock and a fake load: what was put in must come
// out, within the stated errors.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "measure/calibrate.h"
#include "meter/synthetic.h"
#include "near.h"
#include "os/clock.h"
#include "test_meter_tree.h"

static const int64_t S = 1000000000, TICK = 100000000;
static const double BLOCK_S = 20, RAMP_S = 2;

// What work of each kind does in a second, and what it then draws (watts, at the reference).
struct load {
    double core_s, bytes, flops;
};
static const struct load LOADS[CALIBRATE_N_BLOCKS] = {
    {0, 0, 0}, {1, 4e9, 2e9}, {3.9, 9e9, 5e9}, {4, 1e9, 90e9}, {0, 0, 0}};
static const double IDLE_W = 3.4, CORE_W = 0.9, BYTE_J = 90e-12, FLOP_J = 8e-12;

// The target is a counter of the package, which misses what lies outside it:
// reference = GAIN * shown + OFFSET_W.
static const double GAIN = 1.25, OFFSET_W = 2;

static double power_of(enum calibrate_kind kind) {
    const struct load *l = &LOADS[kind];
    return IDLE_W + CORE_W * l->core_s + BYTE_J * l->bytes + FLOP_J * l->flops;
}

// The world: a clock, a machine whose ticks are a file, a power that follows the work.
struct world {
    int64_t now_ns;
    struct sampler *sampler;
    struct test_tree tree;
    double busy_s, other_busy_share; // of one core, by others
    struct meter_synthetic truth;    // of the reference; targets are made from it
    struct meter_synthetic shown;    // by the target
    double fail_at_s;                // the work fails then; 0 = never
    struct rng rng;
};

static int64_t world_now(void *context) {
    return ((struct world *)context)->now_ns;
}

static void world_sleep(void *context, int64_t t_ns) {
    struct world *w = context;
    w->now_ns = t_ns > w->now_ns ? t_ns : w->now_ns;
}

static int64_t no_cpu(void) {
    return 0;
}

static void write_stat(const struct world *w) {
    test_tree_write(&w->tree, "/proc/stat",
                    "cpu  %lld 0 0 1000000 0 0 0 0 0 0\ncpu0 %lld 0 0 1000000 0 0 0 0 0 0\n",
                    (long long)llround(w->busy_s * 100), (long long)llround(w->busy_s * 100));
}

// The power from now on, as the two meters' worlds have it.
static void set_power(struct world *w, double power_w) {
    struct meter_synthetic *both[] = {&w->truth, &w->shown};
    for (size_t k = 0; k < 2; k++, power_w -= OFFSET_W) {
        struct meter_synthetic *t = both[k];
        double last_w = t->n_knots ? t->knot[t->n_knots - 1].power_w : power_w;
        assert_true(t->n_knots + 2 <= METER_SYNTHETIC_MAX_KNOTS);
        t->knot[t->n_knots++] = (struct meter_synthetic_knot){w->now_ns, last_w};
        t->knot[t->n_knots++] = (struct meter_synthetic_knot){w->now_ns, power_w};
    }
}

static void run_for(struct world *w, int64_t until_ns, double cores) {
    while (w->now_ns < until_ns) {
        int64_t step_ns = until_ns - w->now_ns < TICK ? until_ns - w->now_ns : TICK;
        w->now_ns += step_ns;
        w->busy_s += (cores + w->other_busy_share) * (double)step_ns * 1e-9;
        write_stat(w);
        assert_int_equal(sampler_tick(w->sampler, NULL), WL_OK);
    }
}

static void on_start(void *context, struct sampler *sampler) {
    ((struct world *)context)->sampler = sampler;
}

static enum wl_status prepare(void *context, enum calibrate_kind kind, struct wl_err *err) {
    (void)err;
    set_power(context, power_of(kind));
    return WL_OK;
}

static enum wl_status work(void *context, enum calibrate_kind kind, int64_t t_ns,
                           struct calibrate_amounts *amounts, struct wl_err *err) {
    struct world *w = context;
    if (w->fail_at_s > 0 && (double)w->now_ns * 1e-9 > w->fail_at_s) {
        return wl_err_set(err, WL_CRASHED, "the engine is gone");
    }
    double seconds = (double)(t_ns - w->now_ns) * 1e-9;
    amounts->core_s += LOADS[kind].core_s * seconds;
    amounts->bytes += LOADS[kind].bytes * seconds;
    amounts->flops += LOADS[kind].flops * seconds;
    run_for(w, t_ns, LOADS[kind].core_s);
    return WL_OK;
}

static enum wl_status pulse(void *context, struct wl_err *err) {
    static const double IDLE_S[] = {2, 2.9, 3.1, 6}, BUSY_S[] = {3.1, 3.3, 2.7};
    struct world *w = context;
    (void)err;
    for (size_t i = 0; i < 4; i++) {
        set_power(w, power_of(CALIBRATE_IDLE_BEFORE));
        run_for(w, w->now_ns + (int64_t)(IDLE_S[i] * 1e9), 0);
        if (i < 3) {
            set_power(w, power_of(CALIBRATE_DECODE_ALL));
            run_for(w, w->now_ns + (int64_t)(BUSY_S[i] * 1e9), 4);
        }
    }
    return WL_OK;
}

static int n_warnings;
static char last_warning[512];

static void on_warning(void *context, const char *message) {
    (void)context;
    n_warnings++;
    snprintf(last_warning, sizeof last_warning, "%s", message);
}

static double last_done;

static void on_progress(void *context, double done, double seconds_left, const char *what) {
    (void)context;
    assert_true(done >= last_done && done <= 1 && seconds_left >= 0 && what[0]);
    last_done = done;
}

// The user reads the display to a tenth of a watt.
static enum wl_status ask(void *context, const struct calibrate_block *block,
                          struct calibrate_power *out, struct wl_err *err) {
    (void)context;
    (void)err;
    *out = (struct calibrate_power){round(power_of(block->kind) * 10) / 10, 0.03, true};
    return WL_OK;
}

struct scene {
    struct world world;
    struct os_clock clock;
    struct meter_env reference_env, target_env;
    struct meter *reference, *target;
    struct calibrate_work work;
    struct calibrate_options options;
    struct calibrate_events events;
    struct meter_estimate_params prior;
    struct calibrate_result result;
    struct wl_err err;
};

static void set_scene(struct scene *s) {
    *s = (struct scene){0};
    struct world *w = &s->world;
    test_tree_make(&w->tree);
    w->now_ns = 1000 * S;
    n_warnings = 0;
    last_done = 0;
    rng_seed(&w->rng, 1);
    write_stat(w);
    w->truth = (struct meter_synthetic){.kind = METER_GAUGE_INSTANT,
                                        .scope = METER_SCOPE_WALL,
                                        .period_ns = TICK,
                                        .noise_sd_w = 0.02,
                                        .gain_error_rel = 0.01,
                                        .seed = 5};
    w->shown = (struct meter_synthetic){.kind = METER_COUNTER,
                                        .scope = METER_SCOPE_CPU,
                                        .period_ns = 1000000,
                                        .quantum_uj = 61,
                                        .gain = 1 / GAIN,
                                        .gain_error_rel = 0.2};
    set_power(w, IDLE_W);
    s->clock = (struct os_clock){world_now, world_sleep, w};
    s->work = (struct calibrate_work){w, on_start, prepare, work, pulse};
    s->events =
        (struct calibrate_events){.on_progress = on_progress, .on_warning = on_warning, .ask = ask};
    s->prior = (struct meter_estimate_params){.scope = METER_SCOPE_BOARD,
                                              .idle_w = 3,
                                              .idle_sd_w = 0.5,
                                              .core_w = 1.25,
                                              .byte_j = 60e-12,
                                              .flop_j = 15e-12,
                                              .net_rel_sd = 0.4};
}

static void open_meters(struct scene *s) {
    struct world *w = &s->world;
    s->reference_env = (struct meter_env){.clock = &s->clock, .synthetic = &w->truth};
    s->target_env = (struct meter_env){.clock = &s->clock, .synthetic = &w->shown};
    assert_int_equal(meter_open(&s->reference_env, "synthetic", &s->reference, NULL), WL_OK);
    assert_int_equal(meter_open(&s->target_env, "synthetic", &s->target, NULL), WL_OK);
    // One process has two sources of one name here; calibrate tells them by it.
    ((struct meter_info *)(uintptr_t)meter_info(s->target))->name[0] = 'X';
    s->options = (struct calibrate_options){.work = &s->work,
                                            .sampler = {.root = w->tree.root,
                                                        .clock = &s->clock,
                                                        .has_no_thread = true,
                                                        .thread_cpu_ns = no_cpu},
                                            .reference = s->reference,
                                            .reference_name = "plug",
                                            .targets = &s->target,
                                            .n_targets = 1,
                                            .prior = &s->prior,
                                            .block_s = BLOCK_S,
                                            .ramp_s = RAMP_S,
                                            .n_cores = 4,
                                            .is_pulsed = true};
}

static enum wl_status play(struct scene *s) {
    return calibrate_run(&s->options, &s->events, &s->result, &s->err);
}

static void clear(struct scene *s) {
    meter_close(s->reference);
    meter_close(s->target);
    test_tree_remove(&s->world.tree);
}

static const struct calibrate_finding *finding(const struct scene *s, const char *source) {
    for (size_t i = 0; i < s->result.n_findings; i++) {
        if (strcmp(s->result.finding[i].item.source, source) == 0) {
            return &s->result.finding[i];
        }
    }
    fail_msg("no finding for %s", source);
    return NULL;
}

static void test_a_counter_and_the_model(void **state) {
    (void)state;
    struct scene s;
    set_scene(&s);
    open_meters(&s);
    enum wl_status status = play(&s);
    if (status != WL_OK) {
        fail_msg("%s", s.err.message);
    }
    assert_int_equal(s.result.n_blocks, CALIBRATE_N_BLOCKS);
    for (size_t i = 0; i < s.result.n_blocks; i++) {
        const struct calibrate_block *b = &s.result.block[i];
        assert_near(b->reference.power_w, power_of(b->kind), 0.02);
        assert_near(b->target[0].power_w, (power_of(b->kind) - OFFSET_W) / GAIN, 0.01);
        assert_near(b->amounts.core_s, LOADS[b->kind].core_s * BLOCK_S, 0.2);
    }
    const struct calibrate_finding *line = finding(&s, "Xynthetic");
    assert_true(line->is_trusted);
    assert_near(line->item.gain.gain, GAIN, 2 * line->item.gain.gain_sd);
    assert_true(line->item.gain.gain_sd < 0.03 && line->item.gain.gain_sd > 0.01 * GAIN);
    assert_near(line->item.gain.offset_w, OFFSET_W, 2 * line->item.gain.offset_sd_w);
    assert_int_equal(line->item.scope, METER_SCOPE_WALL);
    assert_true(line->before_rel > 0.15 && line->after_rel < 0.02);
    const struct calibrate_finding *model = finding(&s, "estimate");
    const double truth[] = {IDLE_W, CORE_W, BYTE_J, FLOP_J};
    assert_true(model->is_trusted && model->item.is_model);
    for (size_t k = 0; k < METER_CALIBRATION_TERMS; k++) {
        double sd = sqrt(model->item.terms.covariance[k][k]);
        assert_near(model->item.terms.value[k], truth[k], 2.5 * sd);
    }
    assert_true(model->item.terms.rel_sd >= 0.05 && model->item.terms.rel_sd < 0.15);
    assert_true(model->after_rel < 0.05 && model->before_rel > model->after_rel);
    assert_true(model->claimed_after_rel < model->claimed_before_rel);
    assert_true(last_done > 0.9);
    clear(&s);
}

static void test_a_late_reference(void **state) {
    (void)state;
    struct scene s;
    set_scene(&s);
    s.world.truth.lag_ns = 1700000000;
    s.world.truth.period_ns = 500000000;
    open_meters(&s);
    // The source does not know of its lag.
    ((struct meter_info *)(uintptr_t)meter_info(s.reference))->lag_ns = 0;
    assert_int_equal(play(&s), WL_OK);
    assert_true(s.result.reference_lag.is_found);
    const struct calibrate_finding *lag = finding(&s, "plug");
    assert_true(lag->item.is_lag_only);
    assert_near((double)lag->item.lag_ns * 1e-9, 1.7, 2 * (double)lag->item.lag_sd_ns * 1e-9);
    assert_near(finding(&s, "Xynthetic")->item.gain.gain, GAIN, 0.03);
    clear(&s);
}

static void test_typed_figures(void **state) {
    (void)state;
    struct scene s;
    set_scene(&s);
    open_meters(&s);
    s.options.reference = NULL;
    s.options.reference_name = "typed";
    s.options.asked_scope = METER_SCOPE_WALL;
    s.options.asked_error_rel = 0.02;
    s.options.has_one_thread = true; // a machine of one core
    assert_int_equal(play(&s), WL_OK);
    assert_int_equal(s.result.n_blocks, CALIBRATE_N_BLOCKS - 1);
    const struct calibrate_finding *line = finding(&s, "Xynthetic");
    assert_near(line->item.gain.gain, GAIN, 2 * line->item.gain.gain_sd);
    assert_true(line->item.gain.gain_sd >= 0.02 * GAIN);
    assert_string_equal(line->item.reference, "typed");
    clear(&s);
}

static void test_a_busy_machine_is_refused(void **state) {
    (void)state;
    struct scene s;
    set_scene(&s);
    open_meters(&s);
    s.world.other_busy_share = 1; // of 4 cores
    assert_int_equal(play(&s), WL_UNTRUSTED);
    assert_non_null(strstr(s.err.message, "not idle"));
    clear(&s);
}

static void test_a_reference_of_another_machine(void **state) {
    (void)state;
    struct scene s;
    set_scene(&s);
    s.world.truth.gain = 1e-9; // shows nothing of what happens here
    s.world.truth.noise_sd_w = 0.05;
    open_meters(&s);
    assert_int_equal(play(&s), WL_UNTRUSTED);
    assert_non_null(strstr(s.err.message, "does it meter this machine"));
    assert_true(n_warnings > 0); // nor did it follow the pulses
    clear(&s);
}

static void test_a_target_of_another_machine(void **state) {
    (void)state;
    struct scene s;
    set_scene(&s);
    s.world.shown.gain = 1e-9;
    open_meters(&s);
    assert_int_equal(play(&s), WL_OK);
    assert_false(finding(&s, "Xynthetic")->is_trusted);
    assert_true(finding(&s, "Xynthetic")->reason[0]);
    assert_true(finding(&s, "estimate")->is_trusted); // which needs no target
    clear(&s);
}

static void test_a_wider_target_is_refused(void **state) {
    (void)state;
    struct scene s;
    set_scene(&s);
    s.world.truth.scope = METER_SCOPE_CPU;
    s.world.shown.scope = METER_SCOPE_WALL;
    open_meters(&s);
    assert_int_equal(play(&s), WL_OK);
    assert_false(finding(&s, "Xynthetic")->is_trusted);
    clear(&s);
}

static void test_a_reference_that_falls_silent(void **state) {
    (void)state;
    struct scene s;
    set_scene(&s);
    s.world.truth.gap_t0_ns = 1060 * S; // in the first loaded block, for ever
    s.world.truth.gap_t1_ns = INT64_MAX;
    open_meters(&s);
    assert_int_equal(play(&s), WL_UNTRUSTED);
    assert_non_null(strstr(s.err.message, "gave a figure"));
    clear(&s);
}

static void test_failures_of_the_work_are_passed_on(void **state) {
    (void)state;
    struct scene s;
    set_scene(&s);
    open_meters(&s);
    s.world.fail_at_s = 1070;
    assert_int_equal(play(&s), WL_CRASHED);
    assert_non_null(strstr(s.err.message, "engine is gone"));
    clear(&s);
}

static void test_nothing_to_calibrate(void **state) {
    (void)state;
    struct scene s;
    set_scene(&s);
    open_meters(&s);
    s.options.n_targets = 0;
    s.options.prior = NULL;
    assert_int_equal(play(&s), WL_NOT_FOUND);
    clear(&s);
}

// Over seeds: the stated sd of the gain covers the truth, the reference's own error included.
static void test_coverage(void **state) {
    (void)state;
    enum { RUNS = 40 };
    int n_covered = 0;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        struct scene s;
        struct rng rng;
        set_scene(&s);
        rng_seed(&rng, seed);
        s.world.truth.gain = 1 + 0.02 * rng_normal(&rng);
        s.world.truth.gain_error_rel = 0.02;
        s.world.truth.noise_sd_w = 0.2;
        s.world.truth.seed = seed;
        open_meters(&s);
        s.options.is_pulsed = false;
        s.options.block_s = 8;
        assert_int_equal(play(&s), WL_OK);
        const struct meter_gain *gain = &finding(&s, "Xynthetic")->item.gain;
        n_covered += fabs(gain->gain - GAIN) <= 1.96 * gain->gain_sd;
        clear(&s);
    }
    print_message("gain covered in %d of %d\n", n_covered, RUNS);
    assert_true(n_covered >= RUNS * 85 / 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_counter_and_the_model),
        cmocka_unit_test(test_a_late_reference),
        cmocka_unit_test(test_typed_figures),
        cmocka_unit_test(test_a_busy_machine_is_refused),
        cmocka_unit_test(test_a_reference_of_another_machine),
        cmocka_unit_test(test_a_target_of_another_machine),
        cmocka_unit_test(test_a_wider_target_is_refused),
        cmocka_unit_test(test_a_reference_that_falls_silent),
        cmocka_unit_test(test_failures_of_the_work_are_passed_on),
        cmocka_unit_test(test_nothing_to_calibrate),
        cmocka_unit_test(test_coverage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
