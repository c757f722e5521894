// Short requests and a slow meter: each window alone says little, but nothing of the request's
// energy is lost or invented, so many of them together are right.
#include "near.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "measure/energy.h"
#include "measure/settle.h"
#include "meter/synthetic.h"

enum { N_SEEDS = 300 };
static const int64_t MS = 1000000, S = 1000000000;
static const double IDLE_W = 4, LOAD_W = 8, REQUEST_S = 0.7;

static int64_t now_ns;

static int64_t fake_now(void *context) {
    (void)context;
    return now_ns;
}

static void fake_sleep(void *context, int64_t t_ns) {
    (void)context;
    now_ns = t_ns > now_ns ? t_ns : now_ns;
}

static int64_t no_cpu(void) {
    return 0;
}

static const struct os_clock CLOCK = {.now_ns = fake_now, .sleep_until_ns = fake_sleep};

// Idle, one request that ends at a random phase of the meter, idle.
static void make_truth(struct rng *rng, int64_t t0_ns, int64_t t1_ns, int64_t period_ns,
                       struct meter_synthetic *truth) {
    *truth = (struct meter_synthetic){
        .knot = {{0, IDLE_W},
                 {t0_ns, IDLE_W},
                 {t0_ns, IDLE_W + LOAD_W},
                 {t1_ns, IDLE_W + LOAD_W},
                 {t1_ns, IDLE_W}},
        .n_knots = 5,
        .kind = METER_COUNTER,
        .scope = METER_SCOPE_WALL,
        .period_ns = period_ns,
        .phase_ns = (int64_t)(rng_uniform(rng) * (double)period_ns),
        .seed = rng_next(rng),
    };
}

// One window as window.c takes it: rest for the reach on both sides, marks at its edges.
static void measure(uint64_t seed, int64_t period_ns, struct record *record) {
    struct rng rng;
    struct meter_synthetic truth;
    struct subject subject = {.meters = {.n = 1}};
    struct sampler *sampler;
    struct wl_err err = {0};
    rng_seed(&rng, seed);
    record_init(record);
    now_ns = S;
    record->t0_ns = 20 * S + (int64_t)(rng_uniform(&rng) * 1e9);
    record->t1_ns = record->t0_ns + (int64_t)(REQUEST_S * 1e9);
    record->value[METRIC_time_s] = REQUEST_S;
    make_truth(&rng, record->t0_ns, record->t1_ns, period_ns, &truth);
    struct meter_env env = {.clock = &CLOCK, .synthetic = &truth};
    assert_int_equal(meter_open(&env, "synthetic", &subject.meters.meter[0], &err), WL_OK);
    struct sampler_options options = {.clock = &CLOCK,
                                      .thread_cpu_ns = no_cpu,
                                      .meters = subject.meters.meter,
                                      .n_meters = 1,
                                      .has_no_thread = true};
    assert_int_equal(sampler_start(&options, &sampler, &err), WL_OK);
    bool is_begun = false, is_ended = false;
    for (; now_ns < record->t1_ns + 15 * S; now_ns += 100 * MS) {
        if (!is_begun && now_ns >= record->t0_ns) {
            int64_t after_ns = now_ns;
            now_ns = record->t0_ns;
            sampler_mark(sampler, NULL, NULL);
            now_ns = after_ns;
            is_begun = true;
        } else if (!is_ended && now_ns >= record->t1_ns) {
            int64_t after_ns = now_ns;
            now_ns = record->t1_ns;
            sampler_mark(sampler, NULL, NULL);
            now_ns = after_ns;
            is_ended = true;
        }
        assert_int_equal(sampler_tick(sampler, &err), WL_OK);
    }
    struct idle idle = {.n_powers = 1, .power = {{.is_valid = true}}};
    idle.power[0].watts = (struct series_baseline){
        .n = 20, .level = IDLE_W, .mean = IDLE_W, .n_effective = 20, .sd_of_level = 0.005};
    energy_fill(&subject, sampler, &idle, NULL, 0, record);
    sampler_stop(sampler);
    sampler_free(sampler);
    meter_set_close(&subject.meters);
    assert_int_equal(record->n_energies, 1);
}

static void check(int64_t period_ns, double most_bias) {
    double truth_j = LOAD_W * REQUEST_S, sum_j = 0;
    int n_covered = 0;
    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        struct record record;
        measure(seed, period_ns, &record);
        const struct record_energy *e = &record.energy[0];
        sum_j += e->net_j;
        n_covered += fabs(e->net_j - truth_j) <= 1.96 * e->net_sd_j;
        assert_near(e->net_j, e->gross_j - IDLE_W * REQUEST_S, 1e-6);
    }
    print_message("refresh %g s: mean %.3f J of %.3f J, covered %.1f %%\n",
                  (double)period_ns * 1e-9, sum_j / N_SEEDS, truth_j, 100.0 * n_covered / N_SEEDS);
    assert_near(sum_j / N_SEEDS, truth_j, most_bias * truth_j);
    assert_in_range(n_covered, (int)(0.90 * N_SEEDS), N_SEEDS);
}

static void a_fast_counter_resolves_one_request(void **state) {
    (void)state;
    check(MS, 0.005);
}

static void a_slow_counter_loses_nothing_of_many(void **state) {
    (void)state;
    check(S, 0.03);
}

// When the idle power turns out different after the runs, both energies follow.
static void idle_power_after_the_runs_renews_the_net(void **state) {
    (void)state;
    struct meter_synthetic truth = {
        .knot = {{0, 10}}, .n_knots = 1, .kind = METER_COUNTER, .scope = METER_SCOPE_CPU};
    struct meter_env env = {.clock = &CLOCK, .synthetic = &truth};
    struct subject subject = {.meters = {.n = 1}};
    assert_int_equal(meter_open(&env, "synthetic", &subject.meters.meter[0], NULL), WL_OK);
    struct idle before = {.n_powers = 1, .power = {{.is_valid = true}}};
    before.power[0].watts = (struct series_baseline){.n = 50,
                                                     .t0_ns = 0,
                                                     .t1_ns = S,
                                                     .level = 4,
                                                     .mean = 4,
                                                     .n_effective = 50,
                                                     .sd_of_level = 0.01};
    struct idle after = before;
    after.power[0].watts.level = after.power[0].watts.mean = 6;
    after.power[0].watts.t0_ns = 20 * S;
    after.power[0].watts.t1_ns = 21 * S;
    struct record record;
    record_init(&record);
    record.t0_ns = 10 * S;
    record.t1_ns = 14 * S;
    record.n_requests = 2;
    record.n_energies = 1;
    record.energy[0] = (struct record_energy){
        .source = "synthetic", .gross_j = 20, .gross_sd_j = 0.1, .idle_w = 4, .coverage = 1};
    assert_true(energy_renew_net(&subject, &before, &after, &record));
    // Halfway between 4 and 6 W, two seconds a request.
    assert_near(record.energy[0].idle_w, 5, 0.1);
    assert_near(record.energy[0].net_j, 20 - 2 * record.energy[0].idle_w, 1e-9);
    assert_near(record.value[METRIC_energy_net_j], record.energy[0].net_j, 1e-12);
    assert_true(record.energy[0].net_sd_j > 2 * 2 / sqrt(12) * 0.9); // nobody knows when it moved
    assert_true(record.flags & RECORD_IDLE_DRIFT);
    meter_set_close(&subject.meters);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fast_counter_resolves_one_request),
        cmocka_unit_test(a_slow_counter_loses_nothing_of_many),
        cmocka_unit_test(idle_power_after_the_runs_renews_the_net),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
