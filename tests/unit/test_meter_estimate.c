// The energy model: which class a machine gets, the algebra of gross and net, and the source.
#include "test_meter_tree.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_machine_gets_its_class),
        cmocka_unit_test(a_battery_or_a_board_tells_the_class),
        cmocka_unit_test(published_loads_are_met),
        cmocka_unit_test(gross_is_net_plus_idle),
        cmocka_unit_test(an_unknown_class_lists_the_known),
        cmocka_unit_test(the_source_counts_time_cores_and_bytes),
        cmocka_unit_test(the_class_can_be_named),
        cmocka_unit_test(a_process_is_followed_and_its_end_is_a_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
