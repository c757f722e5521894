// The sampler on a recorded machine and an injected clock: every row is known beforehand.
#include "test_meter_tree.h"

#include <math.h>

#include "meter/synthetic.h"
#include "sampler/sampler.h"

static const int64_t MS = 1000000, S = 1000000000;

static int64_t g_now_ns;
static int64_t fake_now(void *context) {
    (void)context;
    return g_now_ns;
}
static const struct os_clock CLOCK = {.now_ns = fake_now};

static int64_t g_cpu_ns, g_cpu_step_ns;
static int64_t fake_cpu(void) {
    return g_cpu_ns += g_cpu_step_ns;
}

static struct sampler_options fake_options(const char *root, pid_t pid) {
    g_now_ns = 100 * S;
    g_cpu_ns = 0;
    g_cpu_step_ns = 0;
    return (struct sampler_options){.root = root,
                                    .pid = pid,
                                    .clock = &CLOCK,
                                    .thread_cpu_ns = fake_cpu,
                                    .has_no_thread = true};
}

static struct sampler *start(const struct sampler_options *options) {
    struct sampler *sampler = NULL;
    struct wl_err err;
    if (sampler_start(options, &sampler, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return sampler;
}

static void tick_at(struct sampler *sampler, int64_t t_ns) {
    g_now_ns = t_ns;
    assert_int_equal(sampler_tick(sampler, NULL), WL_OK);
}

static struct sampler_row last_row(struct sampler *sampler) {
    static struct sampler_row rows[4096];
    size_t n = sampler_copy_since(sampler, 0, rows, 4096);
    assert_true(n > 0);
    return rows[n - 1];
}

// A tree that tests may change: what the sampler reads of process 9.
static void make_tree(struct test_tree *tree) {
    test_tree_make(tree);
    test_tree_write(tree, "/proc/stat", "cpu  100 0 50 1000 0 0 0 25 0 0\n");
    test_tree_write(tree, "/proc/9/stat",
                    "9 (x) S 1 9 9 0 -1 0 0 0 0 0 100 50 0 0 20 0 1 0 5 4096 100 0\n");
    test_tree_write(tree, "/proc/9/statm", "1000 100 50 1 0 100 0\n");
    test_tree_write(tree, "/proc/9/smaps_rollup", "Rss: 400 kB\nPss: 300 kB\n");
}

static void the_first_row_has_everything(void **state) {
    (void)state;
    struct sampler_options options = fake_options(test_root("pi5"), 1234);
    struct sampler *sampler = start(&options);
    struct sampler_row row = last_row(sampler);
    assert_int_equal(row.seq, 1);
    assert_int_equal(row.t_ns, 100 * S);
    assert_int_equal(row.flags, SAMPLER_HAS_PROCESS | SAMPLER_HAS_PSS | SAMPLER_HAS_MACHINE |
                                    SAMPLER_HAS_FREQ | SAMPLER_HAS_TEMP | SAMPLER_HAS_THROTTLE |
                                    SAMPLER_IS_MARK);
    assert_int_equal(row.process_cpu_ns, 50 * S);
    assert_int_equal(row.rss_bytes, 38400LL * 4096);
    assert_int_equal(row.pss_bytes, 120000LL * 1024);
    assert_int_equal(row.pss_anon_bytes, 40000LL * 1024);
    assert_true(fabs(row.machine_busy_s - 4 * 13 - 0.2 - 0.6) < 1e-9);
    assert_true(fabs(row.machine_idle_s - 3600 - 1.5) < 1e-9);
    assert_true(row.freq_mhz == 2400.0f && row.temp_c == 61.75f);
    assert_true(isnan(row.energy_j[0]));
    sampler_free(sampler);
}

static void the_same_inputs_give_the_same_rows(void **state) {
    (void)state;
    struct sampler_row rows[2][16];
    memset(rows, 0, sizeof rows);
    for (int run = 0; run < 2; run++) {
        struct sampler_options options = fake_options(test_root("pi5"), 1234);
        struct sampler *sampler = start(&options);
        for (int i = 1; i <= 12; i++) {
            tick_at(sampler, 100 * S + i * 100 * MS);
        }
        sampler_stop(sampler);
        assert_int_equal(sampler_copy_since(sampler, 0, rows[run], 16), 14);
        sampler_free(sampler);
    }
    assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
    // Sensors are read once a second, the rest in every row.
    for (int i = 1; i <= 12; i++) {
        assert_int_equal(!!(rows[0][i].flags & SAMPLER_HAS_TEMP), i == 10);
        assert_true(rows[0][i].flags & SAMPLER_HAS_PROCESS);
        assert_true(rows[0][i].flags & SAMPLER_HAS_PSS);
    }
}

static void missed_deadlines_are_counted(void **state) {
    (void)state;
    struct sampler_options options = fake_options(test_root("vm_no_rapl"), 77);
    struct sampler *sampler = start(&options);
    tick_at(sampler, 100 * S + 100 * MS);
    assert_int_equal(last_row(sampler).flags & SAMPLER_IS_LATE, 0);
    tick_at(sampler, 100 * S + 550 * MS); // 200 was due; 300, 400 and 500 are lost
    assert_true(last_row(sampler).flags & SAMPLER_IS_LATE);
    tick_at(sampler, 100 * S + 601 * MS); // the grid is kept
    assert_int_equal(last_row(sampler).flags & SAMPLER_IS_LATE, 0);
    struct sampler_cost cost;
    sampler_cost(sampler, &cost);
    assert_int_equal(cost.n_missed, 3);
    assert_int_equal(cost.max_late_ns, 350 * MS);
    assert_int_equal(cost.n_rows, 4);
    sampler_free(sampler);
}

static void a_costly_pss_is_read_less_often(void **state) {
    (void)state;
    struct test_tree tree;
    make_tree(&tree);
    struct sampler_options options = fake_options(tree.root, 9);
    g_cpu_step_ns = 1500000; // every look at the CPU clock finds 1.5 ms gone
    struct sampler *sampler = start(&options);
    int n_pss = 0;
    for (int i = 1; i <= 100; i++) {
        tick_at(sampler, 100 * S + i * 100 * MS);
        n_pss += !!(last_row(sampler).flags & SAMPLER_HAS_PSS);
    }
    struct sampler_cost cost;
    sampler_cost(sampler, &cost);
    assert_int_equal(cost.pss_cost_ns, 1500000);
    assert_int_equal(cost.pss_period_ns, S); // 1.5 ms / 0.0015
    assert_int_equal(n_pss, 10);
    struct sampler_row row;
    assert_int_equal(sampler_mark(sampler, &row, NULL), WL_OK); // a mark always has it
    assert_true(row.flags & SAMPLER_HAS_PSS && row.flags & SAMPLER_IS_MARK);
    sampler_free(sampler);
    test_tree_remove(&tree);
}

static void the_end_of_the_process_is_said_and_rows_remain(void **state) {
    (void)state;
    struct test_tree tree;
    make_tree(&tree);
    struct sampler_options options = fake_options(tree.root, 9);
    struct sampler *sampler = start(&options);
    tick_at(sampler, 100 * S + 100 * MS);
    assert_int_equal(last_row(sampler).process_cpu_ns, 1500 * MS);
    // A zombie first: its sizes are 0.
    test_tree_write(&tree, "/proc/9/statm", "0 0 0 0 0 0 0\n");
    struct wl_err err;
    g_now_ns += 100 * MS;
    assert_int_equal(sampler_tick(sampler, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "process 9 has ended"));
    assert_int_equal(unlink(test_tree_path(&tree, "/proc/9/statm")), 0);
    assert_int_equal(unlink(test_tree_path(&tree, "/proc/9/stat")), 0);
    struct sampler_row row;
    assert_int_equal(sampler_mark(sampler, &row, &err), WL_NOT_FOUND);
    assert_true(row.flags & SAMPLER_IS_GONE);
    assert_int_equal(row.flags & (SAMPLER_HAS_PROCESS | SAMPLER_HAS_PSS), 0);
    assert_true(row.flags & SAMPLER_HAS_MACHINE);
    sampler_stop(sampler);
    const struct sampler_row *rows;
    size_t n;
    assert_int_equal(sampler_rows(sampler, &rows, &n, NULL), WL_OK);
    assert_int_equal(n, 5);
    assert_true(rows[1].flags & SAMPLER_HAS_PROCESS);
    sampler_free(sampler);
    // A process that is not there at the start is an error.
    options.pid = 4711;
    assert_int_equal(sampler_start(&options, &sampler, &err), WL_NOT_FOUND);
    test_tree_remove(&tree);
}

static void another_process_can_be_followed(void **state) {
    (void)state;
    struct test_tree tree;
    make_tree(&tree);
    test_tree_write(&tree, "/proc/10/stat",
                    "10 (y) S 1 9 9 0 -1 0 0 0 0 0 7 3 0 0 20 0 1 0 5 4096 100 0\n");
    test_tree_write(&tree, "/proc/10/statm", "1000 200 50 1 0 100 0\n");
    struct sampler_options options = fake_options(tree.root, 9);
    struct sampler *sampler = start(&options);
    assert_int_equal(sampler_set_pid(sampler, 10, NULL), WL_OK);
    struct sampler_row row = last_row(sampler);
    assert_int_equal(row.process_cpu_ns, 100 * MS);
    assert_int_equal(row.rss_bytes, 200 * 4096);
    assert_int_equal(row.flags & SAMPLER_HAS_PSS, 0); // it shows no smaps_rollup
    sampler_free(sampler);
    test_tree_remove(&tree);
}

static void memory_is_bounded(void **state) {
    (void)state;
    struct sampler_options options = fake_options(test_root("vm_no_rapl"), 0);
    options.max_rows = 100;
    struct sampler *sampler = start(&options);
    for (int i = 1; i <= 1000; i++) {
        tick_at(sampler, 100 * S + i * 100 * MS);
    }
    struct sampler_row rows[200];
    size_t n = sampler_copy_since(sampler, 0, rows, 200);
    assert_true(n <= 100 && n >= 75);
    assert_int_equal(rows[n - 1].seq, 1001);
    for (size_t i = 1; i < n; i++) {
        assert_int_equal(rows[i].seq, rows[i - 1].seq + 1);
    }
    assert_int_equal(sampler_copy_since(sampler, 999, rows, 200), 2);
    assert_int_equal(rows[0].seq, 1000);
    assert_int_equal(sampler_copy_since(sampler, 1001, rows, 200), 0);
    assert_int_equal(sampler_copy_since(sampler, 990, rows, 3), 3);
    assert_int_equal(rows[0].seq, 991);
    struct sampler_cost cost;
    sampler_cost(sampler, &cost);
    assert_int_equal(cost.n_dropped_rows + n, 1001);
    struct sampler_row *window;
    assert_int_equal(sampler_copy_window(sampler, 100 * S + 99900 * MS, 100 * S + 100000 * MS,
                                         &window, &n, NULL),
                     WL_OK);
    assert_int_equal(n, 2);
    assert_int_equal(window[1].seq, 1001);
    free(window);
    assert_int_equal(sampler_copy_window(sampler, S, 2 * S, &window, &n, NULL), WL_OK);
    assert_int_equal(n, 0);
    free(window);
    sampler_free(sampler);
}

static void throttling_is_seen(void **state) {
    (void)state;
    struct test_tree tree;
    make_tree(&tree);
    static const char CORE[] = "/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count";
    test_tree_write(&tree, CORE, "5\n");
    test_tree_write(&tree, "/sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n");
    struct sampler_options options = fake_options(tree.root, 9);
    struct sampler *sampler = start(&options);
    struct sampler_row row = last_row(sampler);
    assert_int_equal(row.throttle_count, 5);
    assert_int_equal(row.flags & (SAMPLER_IS_THROTTLED | SAMPLER_IS_UNDERVOLT),
                     0); // only since boot
    test_tree_write(&tree, CORE, "6\n");
    assert_int_equal(sampler_mark(sampler, &row, NULL), WL_OK);
    assert_true(row.flags & SAMPLER_IS_THROTTLED);
    assert_int_equal(sampler_mark(sampler, &row, NULL), WL_OK);
    assert_int_equal(row.flags & SAMPLER_IS_THROTTLED, 0);
    test_tree_write(&tree, "/sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
    assert_int_equal(sampler_mark(sampler, &row, NULL), WL_OK);
    assert_true(row.flags & SAMPLER_IS_THROTTLED && row.flags & SAMPLER_IS_UNDERVOLT);
    sampler_free(sampler);
    test_tree_remove(&tree);
}

static void the_right_temperature_is_taken(void **state) {
    (void)state;
    struct sampler_options options = fake_options(test_root("x86_rapl_laptop"), 0);
    struct sampler *sampler = start(&options);
    struct sampler_row row = last_row(sampler);
    assert_true(row.temp_c == 55.0f);     // the CPU, not the hotter radio
    assert_true(row.freq_mhz == 1550.0f); // mean of eight policies
    assert_int_equal(row.throttle_count, 11 + 2 * (0 + 3 + 6 + 9));
    assert_int_equal(row.flags & SAMPLER_HAS_PROCESS, 0);
    sampler_free(sampler);
    options.root = test_root("amd_threadripper");
    sampler = start(&options);
    assert_true(last_row(sampler).temp_c == 64.125f); // k10temp, not the disk
    assert_true(last_row(sampler).freq_mhz > 3500.0f);
    sampler_free(sampler);
}

static void energy_of_a_window_comes_with_the_rows(void **state) {
    (void)state;
    struct sampler_options options = fake_options(test_root("vm_no_rapl"), 0);
    struct meter_synthetic truth = {.kind = METER_COUNTER,
                                    .period_ns = MS,
                                    .n_knots = 4,
                                    .knot = {{0, 4}, {101 * S, 4}, {101 * S, 12}, {900 * S, 12}}};
    struct meter_env env = {.clock = &CLOCK, .synthetic = &truth};
    struct meter *meters[2];
    assert_int_equal(meter_open(&env, "synthetic", &meters[0], NULL), WL_OK);
    struct meter_env model_env = {.root = test_root("vm_no_rapl"), .clock = &CLOCK};
    assert_int_equal(meter_open(&model_env, "estimate", &meters[1], NULL), WL_OK);
    options.meters = meters;
    options.n_meters = 2;
    struct sampler *sampler = start(&options);
    for (int i = 1; i <= 10; i++) {
        tick_at(sampler, 100 * S + i * 100 * MS);
    }
    struct sampler_row mark0, mark1;
    assert_int_equal(sampler_mark(sampler, &mark0, NULL), WL_OK);
    assert_int_equal(mark0.t_ns, 101 * S);
    for (int i = 11; i <= 30; i++) {
        tick_at(sampler, 100 * S + i * 100 * MS);
    }
    assert_int_equal(sampler_mark(sampler, &mark1, NULL), WL_OK);
    struct meter_energy energy;
    assert_int_equal(sampler_energy(sampler, 0, mark0.t_ns, mark1.t_ns, &energy, NULL), WL_OK);
    assert_true(fabs(energy.gross_j - 24) <= 2 * energy.sd_j + 1e-3);
    assert_int_equal(energy.flags, 0);
    assert_true(fabs(mark1.energy_j[0] - mark0.energy_j[0] - 24) < 0.02);
    assert_true(isnan(mark1.energy_j[2]));
    // A window up to now asks the meter once more.
    g_now_ns += 500 * MS;
    assert_int_equal(sampler_energy(sampler, 0, mark1.t_ns, g_now_ns, &energy, NULL), WL_OK);
    assert_true(fabs(energy.gross_j - 6) < 0.05);
    assert_int_equal(sampler_energy(sampler, 1, mark0.t_ns, mark1.t_ns, &energy, NULL), WL_OK);
    assert_true(fabs(energy.gross_j - 2 * 3.0) < 0.05); // two vCPUs at rest
    assert_true(energy.gain_error_rel >= 0.5);
    struct wl_err err;
    assert_int_equal(sampler_energy(sampler, 2, 0, 1, &energy, &err), WL_NOT_FOUND);
    assert_int_equal(sampler_energy(sampler, 0, S, 2 * S, &energy, &err), WL_NOT_FOUND);
    sampler_free(sampler);
    meter_close(meters[0]);
    meter_close(meters[1]);
}

static void wrong_options_are_refused(void **state) {
    (void)state;
    struct sampler *sampler;
    struct wl_err err;
    struct sampler_options options = fake_options(test_root("pi5"), 0);
    options.period_ns = 1000;
    assert_int_equal(sampler_start(&options, &sampler, &err), WL_USAGE);
    options.period_ns = 0;
    options.n_meters = SAMPLER_MAX_METERS + 1;
    assert_int_equal(sampler_start(&options, &sampler, &err), WL_LIMIT);
    // A root without anything gives rows without anything.
    options = fake_options("/nonexistent-root", 0);
    sampler = start(&options);
    assert_int_equal(last_row(sampler).flags, SAMPLER_IS_MARK);
    const struct sampler_row *rows;
    size_t n;
    assert_int_equal(sampler_rows(sampler, &rows, &n, &err), WL_BUSY);
    sampler_free(sampler);
    sampler_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_row_has_everything),
        cmocka_unit_test(the_same_inputs_give_the_same_rows),
        cmocka_unit_test(missed_deadlines_are_counted),
        cmocka_unit_test(a_costly_pss_is_read_less_often),
        cmocka_unit_test(the_end_of_the_process_is_said_and_rows_remain),
        cmocka_unit_test(another_process_can_be_followed),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(throttling_is_seen),
        cmocka_unit_test(the_right_temperature_is_taken),
        cmocka_unit_test(energy_of_a_window_comes_with_the_rows),
        cmocka_unit_test(wrong_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
