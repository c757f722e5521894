// The energy model: which class a machine gets, the algebra of gross and net, and the source.
#include "test_meter_tree.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/rng.h"
#include "meter/calibration.h"
#include "meter/estimate.h"
#include "meter/meter.h"
#include "meter/meter_total.h"

struct expected_class {
    const char *root;
    const char *name;
    bool is_known;
};

static void every_machine_gets_its_class(void **state) {
    (void)state;
    static const struct expected_class EXPECTED[] = {
        {"pi5", "raspberry-pi-5", true},           {"pi4", "raspberry-pi-4", true},
        {"x86_rapl_laptop", "laptop-intel", true}, {"x86_rapl_server", "server", true},
        {"amd_threadripper", "desktop", true},     {"mini_pc_n100", "mini-pc", true},
        {"vm_no_rapl", "virtual-machine", false},  {"container_cgroup_v1", "unknown", false},
        {"no_such_root", "unknown", false}};
    for (size_t i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++) {
        struct meter_estimate_params params;
        meter_estimate_params_for(test_root(EXPECTED[i].root), &params);
        if (strcmp(params.class_name, EXPECTED[i].name) != 0) {
            fail_msg("%s is '%s', expected '%s'", EXPECTED[i].root, params.class_name,
                     EXPECTED[i].name);
        }
        assert_int_equal(params.is_class_known, EXPECTED[i].is_known);
        assert_true(params.reason[0]);
        assert_true(params.idle_w > 0 && params.idle_sd_w > 0 && params.core_w > 0);
        // A guess has the error of a guess: a factor of 1.5 at least.
        assert_true(EXPECTED[i].is_known ? params.net_rel_sd <= 0.5 : params.net_rel_sd >= 0.5);
    }
}

static void a_battery_or_a_board_tells_the_class(void **state) {
    (void)state;
    struct test_tree tree;
    struct meter_estimate_params params;
    test_tree_make(&tree);
    test_tree_write(&tree, "/proc/cpuinfo",
                    "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD Ryzen 5 "
                    "7530U\nflags\t: fpu\n");
    test_tree_write(&tree, "/sys/class/power_supply/BAT1/type", "Battery\n");
    meter_estimate_params_for(tree.root, &params);
    assert_string_equal(params.class_name, "laptop-amd");
    test_tree_write(&tree, "/proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\n");
    test_tree_write(&tree, "/proc/device-tree/model", "Radxa ROCK 5B");
    meter_estimate_params_for(tree.root, &params);
    assert_string_equal(params.class_name, "arm-board");
    assert_non_null(strstr(params.reason, "ROCK 5B"));
    test_tree_write(&tree, "/proc/device-tree/model", "Raspberry Pi Compute Module 4 Rev 1.1");
    meter_estimate_params_for(tree.root, &params);
    assert_string_equal(params.class_name, "raspberry-pi-4");
    test_tree_write(&tree, "/proc/device-tree/model", "Raspberry Pi 3 Model B Plus Rev 1.3");
    meter_estimate_params_for(tree.root, &params);
    assert_string_equal(params.class_name, "raspberry-pi-old");
    test_tree_remove(&tree);
}

static void published_loads_are_met(void **state) {
    (void)state;
    struct meter_estimate_params params;
    struct meter_estimate_energy energy;
    // Pi 5, all four cores, 12 GB/s: 7.9-9.9 W is what people measure.
    meter_estimate_params_for(test_root("pi5"), &params);
    meter_estimate_energy(&params, 10, 40, 12e10, 0, &energy);
    assert_true(energy.gross_j / 10 > 7.9 && energy.gross_j / 10 < 9.9);
    meter_estimate_params_for(test_root("pi4"), &params);
    meter_estimate_energy(&params, 10, 40, 4e10, 0, &energy);
    assert_true(energy.gross_j / 10 > 5.1 && energy.gross_j / 10 < 6.4);
    meter_estimate_params_for(test_root("x86_rapl_laptop"), &params);
    meter_estimate_energy(&params, 10, 40, 30e10, 0, &energy);
    assert_true(energy.gross_j / 10 > 20 && energy.gross_j / 10 < 30);
}

static void gross_is_net_plus_idle(void **state) {
    (void)state;
    struct meter_estimate_params params;
    assert_int_equal(meter_estimate_params_by_class("raspberry-pi-5", 4, &params, NULL), WL_OK);
    struct meter_estimate_energy a, b, sum;
    meter_estimate_energy(&params, 10, 25, 4e10, 3e11, &a);
    double net_j = params.core_w * 25 + params.byte_j * 4e10 + params.flop_j * 3e11;
    assert_true(fabs(a.net_j - net_j) < 1e-9);
    assert_true(fabs(a.gross_j - (net_j + params.idle_w * 10)) < 1e-9);
    assert_true(fabs(a.net_sd_j - params.net_rel_sd * net_j) < 1e-9);
    assert_true(a.gross_sd_j > a.net_sd_j);
    // Two adjacent windows add up to the whole.
    meter_estimate_energy(&params, 5, 7, 1e10, 0, &b);
    meter_estimate_energy(&params, 15, 32, 5e10, 3e11, &sum);
    assert_true(fabs(a.gross_j + b.gross_j - sum.gross_j) < 1e-9);
    assert_true(fabs(a.net_j + b.net_j - sum.net_j) < 1e-9);
    // Nonsense is no energy.
    meter_estimate_energy(&params, -1, (double)NAN, -5, HUGE_VAL, &a);
    assert_true(a.gross_j == 0 && a.net_j == 0 && a.gross_sd_j == 0);
}

static void an_unknown_class_lists_the_known(void **state) {
    (void)state;
    struct meter_estimate_params params;
    struct wl_err err;
    assert_int_equal(meter_estimate_params_by_class("toaster", 4, &params, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "raspberry-pi-5"));
    // Cores beyond a small machine's share its power budget.
    struct meter_estimate_params four, sixteen;
    meter_estimate_params_by_class("laptop-intel", 4, &four, NULL);
    meter_estimate_params_by_class("laptop-intel", 16, &sixteen, NULL);
    assert_true(sixteen.core_w < four.core_w);
    meter_estimate_params_by_class("laptop-intel", 0, &four, NULL);
    assert_true(isfinite(four.core_w));
}

static void more_work_is_never_less_energy(void **state) {
    (void)state;
    static const char *const ROOTS[] = {"pi5", "x86_rapl_laptop", "vm_no_rapl", "no_such_root"};
    struct rng rng;
    rng_seed(&rng, 5);
    for (int i = 0; i < 2000; i++) {
        struct meter_estimate_params params;
        struct meter_estimate_energy less, more;
        meter_estimate_params_for(test_root(ROOTS[i % 4]), &params);
        double x[4] = {rng_uniform(&rng) * 100, rng_uniform(&rng) * 400, rng_uniform(&rng) * 1e12,
                       rng_uniform(&rng) * 1e13};
        meter_estimate_energy(&params, x[0], x[1], x[2], x[3], &less);
        x[i / 4 % 4] *= 1 + rng_uniform(&rng);
        meter_estimate_energy(&params, x[0], x[1], x[2], x[3], &more);
        assert_true(more.gross_j > less.gross_j && more.net_j >= less.net_j);
        assert_true(more.gross_sd_j >= less.gross_sd_j && more.net_sd_j >= less.net_sd_j);
        assert_true(less.gross_sd_j >= less.net_sd_j);
    }
}

static void a_capped_clock_takes_less_and_says_how_unsure_that_is(void **state) {
    (void)state;
    struct test_tree tree;
    struct meter_estimate_params full, capped;
    test_tree_make(&tree);
    test_tree_write(&tree, "/proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0");
    meter_estimate_params_for(tree.root, &full);
    test_tree_write(&tree, "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "2400000\n");
    test_tree_write(&tree, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "1200000\n");
    meter_estimate_params_for(tree.root, &capped);
    assert_true(fabs(capped.core_w - full.core_w / 4) < 1e-9);
    assert_true(capped.net_rel_sd > full.net_rel_sd && capped.net_rel_sd < 0.6);
    assert_true(capped.idle_w == full.idle_w && capped.byte_j == full.byte_j);
    static const double NONE[] = {1, 0, -1, 2, (double)NAN};
    for (size_t i = 0; i < sizeof NONE / sizeof NONE[0]; i++) {
        capped = full;
        meter_estimate_slow_down(&capped, NONE[i]);
        assert_memory_equal(&capped, &full, sizeof full);
    }
    test_tree_write(&tree, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "garbage\n");
    meter_estimate_params_for(tree.root, &capped);
    assert_true(capped.core_w == full.core_w);
    test_tree_remove(&tree);
}

// --- calibrated ---------------------------------------------------------------------------------

// Terms of a Pi 5 against a meter at the wall: idle and core anti-correlated, as a fit has them.
static struct meter_calibration fitted_model(void) {
    struct meter_calibration c = {.source = "estimate",
                                  .reference = "shelly",
                                  .scope = METER_SCOPE_WALL,
                                  .is_model = true,
                                  .n_blocks = 6};
    static const double VALUE[] = {3.4, 1.4, 65e-12, 12e-12}, SD[] = {0.03, 0.03, 3e-12, 2e-12};
    for (int i = 0; i < 4; i++) {
        c.terms.value[i] = VALUE[i];
        c.terms.is_fitted[i] = true;
        c.terms.covariance[i][i] = SD[i] * SD[i];
    }
    c.terms.covariance[0][1] = c.terms.covariance[1][0] = -0.5 * SD[0] * SD[1];
    c.terms.rel_sd = 0.03;
    return c;
}

static void calibrated_terms_replace_the_priors(void **state) {
    (void)state;
    struct meter_estimate_params prior, params;
    struct meter_estimate_energy before, after;
    struct meter_calibration model = fitted_model();
    meter_estimate_params_for(test_root("pi5"), &prior);
    params = prior;
    meter_estimate_apply(&model, &params);
    assert_true(params.is_calibrated && params.scope == METER_SCOPE_WALL);
    assert_true(params.core_w == 1.4 && params.idle_w == 3.4 && params.byte_j == 65e-12);
    assert_true(fabs(params.idle_sd_w - 0.03) < 1e-12);
    assert_non_null(strstr(params.reason, "shelly"));
    meter_estimate_energy(&prior, 10, 25, 4e10, 3e11, &before);
    meter_estimate_energy(&params, 10, 25, 4e10, 3e11, &after);
    assert_true(after.net_sd_j < before.net_sd_j / 3);
    assert_true(after.gross_sd_j < before.gross_sd_j / 3);
    assert_true(params.net_rel_sd < prior.net_rel_sd / 3 && params.net_rel_sd > 0.03);
    // By hand: net without the idle term, gross with it and its covariance.
    double net_j = 1.4 * 25 + 65e-12 * 4e10 + 12e-12 * 3e11;
    double residual = pow(0.03 * net_j, 2);
    double net_var = pow(0.03 * 25, 2) + pow(3e-12 * 4e10, 2) + pow(2e-12 * 3e11, 2);
    double gross_var = net_var + pow(0.03 * 10, 2) - 0.03 * 0.03 * 10 * 25;
    assert_true(fabs(after.net_j - net_j) < 1e-9);
    assert_true(fabs(after.gross_j - net_j - 34) < 1e-9);
    assert_true(fabs(after.net_sd_j - sqrt(net_var + residual)) < 1e-9);
    assert_true(fabs(after.gross_sd_j - sqrt(gross_var + residual)) < 1e-9);
}

// Terms drawn from the covariance give energies that scatter as the stated deviation says.
static void the_stated_deviation_is_that_of_the_terms(void **state) {
    (void)state;
    struct meter_estimate_params params, drawn;
    struct meter_calibration model = fitted_model();
    struct meter_estimate_energy e, d;
    struct rng rng;
    rng_seed(&rng, 11);
    model.terms.rel_sd = 0;
    meter_estimate_params_for(test_root("pi5"), &params);
    meter_estimate_apply(&model, &params);
    meter_estimate_energy(&params, 20, 35, 9e10, 1e12, &e);
    double gross = 0, net = 0;
    enum { N = 20000 };
    for (int i = 0; i < N; i++) {
        double a = rng_normal(&rng), b = rng_normal(&rng);
        drawn = params;
        drawn.idle_w += 0.03 * a;
        drawn.core_w += 0.03 * (-0.5 * a + sqrt(0.75) * b);
        drawn.byte_j += 3e-12 * rng_normal(&rng);
        drawn.flop_j += 2e-12 * rng_normal(&rng);
        meter_estimate_energy(&drawn, 20, 35, 9e10, 1e12, &d);
        gross += pow(d.gross_j - e.gross_j, 2) / N;
        net += pow(d.net_j - e.net_j, 2) / N;
    }
    assert_true(fabs(sqrt(gross) / e.gross_sd_j - 1) < 0.03);
    assert_true(fabs(sqrt(net) / e.net_sd_j - 1) < 0.03);
}

static void a_term_that_was_not_fitted_keeps_its_doubt(void **state) {
    (void)state;
    struct meter_estimate_params params;
    struct meter_calibration model = fitted_model();
    struct meter_estimate_energy with, without;
    model.terms.is_fitted[3] = false;
    model.terms.covariance[3][3] = 0;
    meter_estimate_params_for(test_root("pi5"), &params);
    double prior_rel_sd = params.net_rel_sd;
    meter_estimate_apply(&model, &params);
    assert_true(fabs(sqrt(params.covariance[3][3]) - prior_rel_sd * 12e-12) < 1e-18);
    meter_estimate_energy(&params, 1, 1, 0, 1e12, &with);
    meter_estimate_energy(&params, 1, 1, 0, 0, &without);
    assert_true(with.net_sd_j > without.net_sd_j + 1);
    // What is not of the model changes nothing.
    struct meter_estimate_params same = params;
    model.is_model = false;
    meter_estimate_apply(&model, &same);
    meter_estimate_apply(NULL, &same);
    assert_memory_equal(&same, &params, sizeof same);
    // Nor can rounding make a variance negative.
    model = fitted_model();
    model.terms.covariance[0][1] = model.terms.covariance[1][0] = -1;
    model.terms.rel_sd = 0;
    meter_estimate_apply(&model, &params);
    meter_estimate_energy(&params, 10, 10, 0, 0, &with);
    assert_true(with.gross_sd_j >= 0 && isfinite(with.gross_sd_j));
}

// --- as a source --------------------------------------------------------------------------------

static int64_t g_now_ns;
static int64_t fake_now(void *context) {
    (void)context;
    return g_now_ns;
}
static const struct os_clock CLOCK = {.now_ns = fake_now};

static double g_bytes;
static double work_bytes(void *context) {
    (void)context;
    return g_bytes;
}

static double read_uj(struct meter *meter) {
    struct meter_reading reading;
    assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
    assert_true(reading.channel[0].is_valid);
    return (double)reading.channel[0].raw;
}

static void the_source_counts_time_cores_and_bytes(void **state) {
    (void)state;
    struct test_tree tree;
    test_tree_make(&tree);
    test_tree_write(&tree, "/proc/stat", "cpu  1000 0 0 5000 0 0 0 0 0 0\n");
    struct meter_estimate_params params;
    meter_estimate_params_by_class("raspberry-pi-5", 4, &params, NULL);
    g_now_ns = 5000000000;
    g_bytes = 1e9;
    struct meter_env env = {
        .root = tree.root, .clock = &CLOCK, .estimate = &params, .traffic_bytes = work_bytes};
    struct meter *meter;
    assert_int_equal(meter_open(&env, "estimate", &meter, NULL), WL_OK);
    const struct meter_info *info = meter_info(meter);
    assert_int_equal(info->label, LABEL_ESTIMATED);
    assert_int_equal(info->kind, METER_MODEL);
    assert_true(info->gain_error_rel == params.net_rel_sd);
    assert_true(read_uj(meter) == 0);
    g_now_ns += 2000000000;
    assert_true(fabs(read_uj(meter) * 1e-6 - (2 * params.idle_w)) < 1e-5);
    test_tree_write(&tree, "/proc/stat", "cpu  1300 0 100 5000 0 0 0 0 0 0\n"); // 4 core-seconds
    g_bytes = 3e9;
    double expected_j = 2 * params.idle_w + 4 * params.core_w + 2e9 * params.byte_j;
    assert_true(fabs(read_uj(meter) * 1e-6 - (expected_j)) < 1e-5);
    g_bytes = 5e8; // the engine was restarted: its counter begins anew
    assert_true(fabs(read_uj(meter) * 1e-6 - (expected_j)) < 1e-5);
    g_bytes = 15e8;
    assert_true(fabs(read_uj(meter) * 1e-6 - (expected_j + 1e9 * params.byte_j)) < 1e-5);
    // What cannot be read is a gap.
    assert_int_equal(unlink(test_tree_path(&tree, "/proc/stat")), 0);
    struct meter_reading reading;
    assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
    assert_false(reading.channel[0].is_valid);
    meter_close(meter);
    test_tree_remove(&tree);
}

static void the_class_can_be_named(void **state) {
    (void)state;
    struct meter_env env = {.root = test_root("vm_no_rapl")};
    struct meter *meter;
    struct wl_err err;
    assert_int_equal(meter_open(&env, "estimate:raspberry-pi-4", &meter, &err), WL_OK);
    assert_non_null(strstr(meter_info(meter)->title, "raspberry-pi-4"));
    meter_close(meter);
    assert_int_equal(meter_open(&env, "estimate:nothing", &meter, &err), WL_NOT_FOUND);
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(&env, verdicts, &n);
    assert_string_equal(verdicts[n - 1].name, "estimate");
    assert_int_equal(verdicts[n - 1].availability, METER_AVAILABLE);
    assert_int_equal(verdicts[n - 1].label, LABEL_ESTIMATED);
    assert_non_null(strstr(verdicts[n - 1].reason, "virtual-machine"));
}

static void a_process_is_followed_and_its_end_is_a_gap(void **state) {
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    struct meter_env env = {.pid = pid};
    struct meter *meter;
    assert_int_equal(meter_open(&env, "estimate", &meter, NULL), WL_OK);
    double before_uj = read_uj(meter);
    usleep(20000);
    assert_true(read_uj(meter) > before_uj); // idle power alone
    kill(pid, 9);
    waitpid(pid, NULL, 0);
    struct meter_reading reading;
    assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
    assert_false(reading.channel[0].is_valid);
    meter_set_pid(meter, getpid()); // CPU time used before does not count
    double after_uj = read_uj(meter);
    assert_true(after_uj > before_uj && after_uj < before_uj + 60e6);
    meter_close(meter);
}

static void a_calibrated_source_says_so(void **state) {
    (void)state;
    struct meter_calibration_set set = {.n = 1, .item = {fitted_model()}};
    struct meter_env env = {.root = test_root("pi5"), .calibrations = &set};
    struct meter *meter;
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    assert_int_equal(meter_open(&env, "estimate", &meter, NULL), WL_OK);
    const struct meter_info *info = meter_info(meter);
    assert_int_equal(info->label, LABEL_CALIBRATED);
    assert_int_equal(info->scope, METER_SCOPE_WALL);
    assert_true(info->gain_error_rel < 0.1 && info->offset_error_w < 0.1);
    meter_close(meter);
    meter_probe_all(&env, verdicts, &n);
    assert_int_equal(verdicts[n - 1].label, LABEL_CALIBRATED);
    assert_non_null(strstr(verdicts[n - 1].reason, "shelly"));
    assert_non_null(strstr(verdicts[n - 1].reason, "raspberry-pi-5"));
    // A class that the user names is a prior.
    assert_int_equal(meter_open(&env, "estimate:raspberry-pi-5", &meter, NULL), WL_OK);
    assert_int_equal(meter_info(meter)->label, LABEL_ESTIMATED);
    meter_close(meter);
}

static void the_verdict_tells_the_class_and_why(void **state) {
    (void)state;
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    struct meter_env env = {.root = test_root("pi5")};
    meter_probe_all(&env, verdicts, &n);
    assert_non_null(strstr(verdicts[n - 1].reason, "Raspberry Pi 5"));
    assert_null(strstr(verdicts[n - 1].reason, "a guess"));
    env.root = test_root("no_such_root");
    meter_probe_all(&env, verdicts, &n);
    assert_non_null(strstr(verdicts[n - 1].reason, "neither board, chassis nor battery"));
    assert_non_null(strstr(verdicts[n - 1].reason, "a guess"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_machine_gets_its_class),
        cmocka_unit_test(a_battery_or_a_board_tells_the_class),
        cmocka_unit_test(published_loads_are_met),
        cmocka_unit_test(gross_is_net_plus_idle),
        cmocka_unit_test(an_unknown_class_lists_the_known),
        cmocka_unit_test(more_work_is_never_less_energy),
        cmocka_unit_test(a_capped_clock_takes_less_and_says_how_unsure_that_is),
        cmocka_unit_test(calibrated_terms_replace_the_priors),
        cmocka_unit_test(the_stated_deviation_is_that_of_the_terms),
        cmocka_unit_test(a_term_that_was_not_fitted_keeps_its_doubt),
        cmocka_unit_test(the_source_counts_time_cores_and_bytes),
        cmocka_unit_test(the_class_can_be_named),
        cmocka_unit_test(a_process_is_followed_and_its_end_is_a_gap),
        cmocka_unit_test(a_calibrated_source_says_so),
        cmocka_unit_test(the_verdict_tells_the_class_and_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
