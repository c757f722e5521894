// The powercap source against trees of real layouts and against files that wrap, vanish and refuse.
#include "test_meter_tree.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sys/wait.h>

#include "meter/meter.h"
#include "meter/meter_total.h"
#include "meter/powercap_zones.h"

static const unsigned long long RANGE_UJ = 262143328850ULL;

struct fake_clock {
    int64_t t_ns;
};

static int64_t fake_now(void *context) {
    return ((struct fake_clock *)context)->t_ns;
}

static const struct meter_channel *find_channel(const struct meter_info *info, const char *name) {
    for (size_t i = 0; i < info->n_channels; i++) {
        if (strcmp(info->channel[i].name, name) == 0) {
            return &info->channel[i];
        }
    }
    return NULL;
}

static size_t count_counted(const struct meter_info *info) {
    size_t n = 0;
    for (size_t i = 0; i < info->n_channels; i++) {
        n += info->channel[i].is_counted;
    }
    return n;
}

static struct meter *open_at(const char *root, const char *name) {
    struct meter_env env = {.root = root};
    struct meter *meter = NULL;
    struct wl_err err = {0};
    if (meter_open(&env, name, &meter, &err) != WL_OK) {
        print_message("%s\n", err.message);
    }
    return meter;
}

// --- listing ------------------------------------------------------------------------------------

static void zone_numbers_are_hexadecimal(void **state) {
    (void)state;
    struct powercap_zone zone;
    assert_true(powercap_parse_dir("intel-rapl:a", &zone));
    assert_int_equal(zone.id[0], 10);
    assert_int_equal(zone.depth, 1);
    assert_true(powercap_parse_dir("intel-rapl:1f:b", &zone));
    assert_int_equal(zone.id[0], 31);
    assert_int_equal(zone.id[1], 11);
    assert_false(zone.is_mmio);
    assert_true(powercap_parse_dir("intel-rapl-mmio:0", &zone));
    assert_true(zone.is_mmio);
    static const char *const BAD[] = {"",
                                      "intel-rapl",
                                      "intel-rapl:",
                                      "intel-rapl:g",
                                      "intel-rapl:0:",
                                      "intel-rapl:-1",
                                      "intel-rapl:0x1",
                                      "intel-rapl:12345",
                                      "intel-rapl:0:0:0:0:0",
                                      "intel-raplx:0",
                                      "intel-rapl-other:0",
                                      "dtpm:0",
                                      "xintel-rapl:0",
                                      "intel-rapl:0 ",
                                      "intel-rapl:0000000000000000000000000000000000000000"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        if (powercap_parse_dir(BAD[i], &zone)) {
            fail_msg("accepted '%s'", BAD[i]);
        }
    }
}

static void a_laptop_counts_its_package_once(void **state) {
    (void)state;
    struct meter *meter = open_at(test_root("x86_rapl_laptop"), "powercap");
    assert_non_null(meter);
    const struct meter_info *info = meter_info(meter);
    assert_int_equal(count_counted(info), 1);
    assert_int_equal(info->n_channels, 4); // package, core, uncore, psys; the MMIO twin is left out
    assert_true(find_channel(info, "package-0")->is_counted);
    assert_false(find_channel(info, "core")->is_counted);
    assert_int_equal(find_channel(info, "core")->parent, 0);
    assert_int_equal(find_channel(info, "uncore")->parent, 0);
    assert_false(find_channel(info, "psys")->is_counted);
    assert_int_equal(info->kind, METER_COUNTER);
    assert_int_equal(info->scope, METER_SCOPE_CPU);
    assert_int_equal(info->label, LABEL_MEASURED);
    assert_false(info->includes_dram);
    assert_float_equal(info->max_power_w, 165, 1e-6); // three times PL2
    assert_float_equal(info->quantum, 61.035e-6, 1e-8);
    assert_float_equal(info->gain_error_rel, 0.05, 1e-9);
    assert_int_equal(info->channel[0].range, RANGE_UJ);
    // range 262 kJ at 165 W: twice per wrap is 794 s
    assert_in_range((unsigned long long)meter_max_poll_ns(info), 790000000000ULL, 800000000000ULL);
    struct meter_reading reading;
    assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
    assert_true(reading.channel[0].is_valid);
    assert_int_equal(reading.channel[0].raw, 1000000000);
    assert_true(reading.t_after_ns >= reading.t_before_ns);
    meter_close(meter);
}

static void psys_can_be_asked_for_alone(void **state) {
    (void)state;
    struct meter *meter = open_at(test_root("x86_rapl_laptop"), "powercap:psys");
    assert_non_null(meter);
    const struct meter_info *info = meter_info(meter);
    assert_int_equal(count_counted(info), 1);
    assert_string_equal(info->channel[0].name, "psys");
    assert_true(info->channel[0].is_counted);
    assert_int_equal(info->scope, METER_SCOPE_BOARD);
    meter_close(meter);
    struct meter_env env = {.root = test_root("x86_rapl_laptop")};
    struct wl_err err;
    assert_int_equal(meter_open(&env, "powercap:core", &meter, &err), WL_USAGE);
    assert_non_null(strstr(err.message, "powercap:psys"));
}

static void a_server_adds_packages_and_dram(void **state) {
    (void)state;
    struct meter *meter = open_at(test_root("x86_rapl_server"), "powercap");
    assert_non_null(meter);
    const struct meter_info *info = meter_info(meter);
    assert_int_equal(count_counted(info), 4);
    assert_true(info->includes_dram);
    assert_int_equal(find_channel(info, "package-1/dram")->range, 65712999613);
    assert_int_equal(find_channel(info, "package-1/dram")->parent, -1); // not inside the package
    assert_float_equal(info->max_power_w, 450, 1e-6);
    meter_close(meter);
}

static void a_package_seen_by_two_dies_counts_once(void **state) {
    (void)state;
    const char *root = test_root("amd_threadripper");
    struct meter *meter = open_at(root, "powercap");
    assert_non_null(meter);
    const struct meter_info *info = meter_info(meter);
    assert_int_equal(count_counted(info), 1);
    struct meter_reading reading;
    meter_read(meter, &reading, NULL);
    assert_int_equal(reading.channel[0].raw, 2000000000); // the first die's
    assert_float_equal(info->gain_error_rel, 0.10, 1e-9);
    assert_float_equal(info->max_power_w, 1000, 1e-9);
    assert_float_equal(info->quantum, 15.26e-6, 1e-8);
    meter_close(meter);
    struct meter_env env = {.root = root};
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(&env, verdicts, &n);
    assert_int_equal(verdicts[0].availability, METER_AVAILABLE);
    assert_non_null(strstr(verdicts[0].reason, "counted once"));
}

static void the_twin_serves_when_the_msr_zone_cannot_be_read(void **state) {
    (void)state;
    struct test_tree tree;
    test_tree_make(&tree);
    test_tree_zone(&tree, "intel-rapl:0", "package-0", 5, RANGE_UJ);
    test_tree_zone(&tree, "intel-rapl-mmio:0", "package-0", 7, RANGE_UJ);
    const char *path = test_tree_path(&tree, "/sys/class/powercap/intel-rapl:0/energy_uj");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("energy_uj", path), 0); // ELOOP
    struct meter *meter = open_at(tree.root, "powercap");
    assert_non_null(meter);
    struct meter_reading reading;
    meter_read(meter, &reading, NULL);
    assert_int_equal(count_counted(meter_info(meter)), 1);
    assert_int_equal(reading.channel[0].raw, 7);
    meter_close(meter);
    test_tree_remove(&tree);
}

static void dram_of_the_twin_is_kept_when_only_the_twin_has_it(void **state) {
    (void)state;
    struct test_tree tree;
    test_tree_make(&tree);
    test_tree_zone(&tree, "intel-rapl:0", "package-0", 5, RANGE_UJ);
    test_tree_zone(&tree, "intel-rapl-mmio:0", "package-0", 7, RANGE_UJ);
    test_tree_zone(&tree, "intel-rapl-mmio:0:0", "dram", 9, RANGE_UJ);
    struct powercap_zones zones;
    assert_int_equal(powercap_zones_read(tree.root, &zones, NULL), WL_OK);
    assert_int_equal(zones.n, 3);
    assert_string_equal(zones.zone[0].dir, "intel-rapl:0");
    assert_int_equal(zones.zone[0].use, POWERCAP_COUNTED);
    assert_int_equal(zones.zone[1].use, POWERCAP_TWIN);
    assert_int_equal(zones.zone[2].use, POWERCAP_COUNTED);
    test_tree_remove(&tree);
}

static void many_packages_with_hex_names_are_all_listed(void **state) {
    (void)state;
    struct test_tree tree;
    test_tree_make(&tree);
    for (unsigned i = 0; i < 12; i++) {
        char dir[32], name[32];
        snprintf(dir, sizeof dir, "intel-rapl:%x", i);
        snprintf(name, sizeof name, "package-%u", i / 2);
        if (i % 2) {
            snprintf(name, sizeof name, "package-%u-die-1", i / 2);
        }
        test_tree_zone(&tree, dir, name, 1000 + i, RANGE_UJ);
    }
    test_tree_write(&tree, "/sys/class/powercap/intel-rapl:zz/name", "package-9\n");
    test_tree_write(&tree, "/sys/class/powercap/intel-rapl:c/power_only", "1\n");
    struct meter *meter = open_at(tree.root, "powercap");
    assert_non_null(meter);
    assert_int_equal(count_counted(meter_info(meter)), 12);
    struct meter_reading reading;
    meter_read(meter, &reading, NULL);
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(reading.channel[i].raw, 1000 + i); // in the order of the numbers
    }
    meter_close(meter);
    test_tree_remove(&tree);
}

// --- reading ------------------------------------------------------------------------------------

struct rig {
    struct test_tree tree;
    struct fake_clock time;
    struct os_clock clock;
    struct meter_env env;
    struct meter *meter;
    struct meter_total *total;
};

static void rig_make(struct rig *rig, unsigned long long energy_uj, unsigned long long range_uj) {
    test_tree_make(&rig->tree);
    test_tree_zone(&rig->tree, "intel-rapl:0", "package-0", energy_uj, range_uj);
    test_tree_zone(&rig->tree, "intel-rapl:0:0", "core", energy_uj / 2, range_uj);
    test_tree_write(&rig->tree, "/sys/class/powercap/intel-rapl:0/constraint_0_power_limit_uw",
                    "65000000\n");
    rig->time.t_ns = 1000000000;
    rig->clock = (struct os_clock){.now_ns = fake_now, .context = &rig->time};
    rig->env = (struct meter_env){.root = rig->tree.root, .clock = &rig->clock};
    assert_int_equal(meter_open(&rig->env, "powercap", &rig->meter, NULL), WL_OK);
    assert_int_equal(meter_total_new(meter_info(rig->meter), NULL, &rig->total, NULL), WL_OK);
}

static void rig_drop(struct rig *rig) {
    meter_total_free(rig->total);
    meter_close(rig->meter);
    test_tree_remove(&rig->tree);
}

static struct meter_total_sample rig_read(struct rig *rig, int64_t step_ns) {
    struct meter_reading reading;
    struct meter_total_sample sample;
    rig->time.t_ns += step_ns;
    assert_int_equal(meter_read(rig->meter, &reading, NULL), WL_OK);
    assert_int_equal(meter_total_feed(rig->total, &reading, &sample, NULL), WL_OK);
    return sample;
}

static const int64_t STEP_NS = 100000000;

static void only_the_package_adds_up(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, 1000000, RANGE_UJ);
    rig_read(&rig, 0);
    test_tree_energy(&rig.tree, "intel-rapl:0", 3500000);
    test_tree_energy(&rig.tree, "intel-rapl:0:0", 90000000); // whatever it says
    struct meter_total_sample sample = rig_read(&rig, STEP_NS);
    assert_float_equal(sample.total_j, 2.5, 1e-9);
    assert_float_equal(sample.power_w, 25, 1e-6);
    assert_true(sample.is_valid);
    assert_int_equal(sample.flags, 0);
    rig_drop(&rig);
}

static void a_wrap_is_bridged_and_flagged(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, RANGE_UJ - 1000000, RANGE_UJ);
    rig_read(&rig, 0);
    test_tree_energy(&rig.tree, "intel-rapl:0", 1500000);
    struct meter_total_sample sample = rig_read(&rig, STEP_NS);
    assert_float_equal(sample.total_j, 2.5, 1e-6);
    assert_int_equal(sample.flags, RECORD_WRAP);
    struct meter_energy energy;
    assert_int_equal(meter_total_window(rig.total, 1000000000, 1000000000 + STEP_NS, &energy, NULL),
                     WL_OK);
    assert_true(energy.flags & RECORD_WRAP);
    assert_float_equal(energy.gross_j, 2.5, 1e-6);
    rig_drop(&rig);
}

static void a_reset_is_flagged_and_adds_nothing(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, 200000000000ULL, RANGE_UJ);
    rig_read(&rig, 0);
    test_tree_energy(&rig.tree, "intel-rapl:0", 200001000000ULL);
    rig_read(&rig, STEP_NS);
    test_tree_energy(&rig.tree, "intel-rapl:0", 5000); // as a wrap this were 620 kW
    struct meter_total_sample sample = rig_read(&rig, STEP_NS);
    assert_int_equal(sample.flags, RECORD_RESET);
    assert_float_equal(sample.total_j, 1.0, 1e-9);
    test_tree_energy(&rig.tree, "intel-rapl:0", 1005000);
    sample = rig_read(&rig, STEP_NS);
    assert_float_equal(sample.total_j, 2.0, 1e-9);
    struct meter_energy energy;
    assert_int_equal(
        meter_total_window(rig.total, 1000000000, 1000000000 + 3 * STEP_NS, &energy, NULL), WL_OK);
    assert_true(energy.flags & RECORD_RESET);
    assert_float_equal(energy.coverage, 2.0 / 3, 1e-9);
    // A window after it is not touched by it.
    assert_int_equal(meter_total_window(rig.total, 1000000000 + 2 * STEP_NS,
                                        1000000000 + 3 * STEP_NS, &energy, NULL),
                     WL_OK);
    assert_int_equal(energy.flags & RECORD_RESET, 0);
    assert_float_equal(energy.gross_j, 1.0, 1e-2);
    rig_drop(&rig);
}

static void expect_gap_then_recovery(struct rig *rig) {
    struct meter_total_sample sample = rig_read(rig, STEP_NS);
    assert_false(sample.is_valid);
    assert_int_equal(sample.flags, RECORD_GAP);
    assert_true(isnan(sample.power_w));
    assert_float_equal(sample.total_j, 1.0, 1e-9); // neither lost nor zero
}

static void what_cannot_be_read_is_a_gap_and_never_zero(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, 1000000, RANGE_UJ);
    rig_read(&rig, 0);
    test_tree_energy(&rig.tree, "intel-rapl:0", 2000000);
    rig_read(&rig, STEP_NS);
    const char *inner = "/sys/class/powercap/intel-rapl:0/energy_uj";
    static const char *const GARBAGE[] = {"",
                                          "\n",
                                          "abc\n",
                                          "-5\n",
                                          "12 34\n",
                                          "99999999999999999999999\n",
                                          "18446744073709551615\n", // above the range
                                          "3000000x",
                                          "0x2dc6c0\n",
                                          " 3000000\n"};
    for (size_t i = 0; i < sizeof GARBAGE / sizeof GARBAGE[0]; i++) {
        test_tree_write(&rig.tree, inner, "%s", GARBAGE[i]);
        expect_gap_then_recovery(&rig);
    }
    // A folder in place of the file: every read fails (EISDIR here, EIO on a real machine).
    char path[1024];
    snprintf(path, sizeof path, "%s", test_tree_path(&rig.tree, inner));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    expect_gap_then_recovery(&rig);
    assert_int_equal(rmdir(path), 0);
    expect_gap_then_recovery(&rig); // vanished
    test_tree_energy(&rig.tree, "intel-rapl:0", 5000000);
    struct meter_total_sample sample = rig_read(&rig, STEP_NS); // and back, as a new file
    assert_true(sample.is_valid);
    assert_float_equal(sample.total_j, 4.0, 1e-9);
    assert_true(sample.flags & RECORD_GAP); // twelve readings were missing
    rig_drop(&rig);
}

// A writer lets the counter run at about 20 W while it is being read.
struct writer {
    struct test_tree *tree;
    unsigned long long begun_uj, done_uj; // the value being written, and the last one written
    int stop;
};

static void *write_energy(void *context) {
    struct writer *writer = context;
    // The same number of digits in one pwrite: never seen half-written, as a kernel attribute.
    for (unsigned long long uj = 100000000;; uj += 20000) {
        __atomic_store_n(&writer->begun_uj, uj, __ATOMIC_SEQ_CST);
        test_tree_energy(writer->tree, "intel-rapl:0", uj);
        __atomic_store_n(&writer->done_uj, uj, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&writer->stop, __ATOMIC_SEQ_CST)) {
            return NULL;
        }
        usleep(1000);
    }
}

// One reading, and between which values the counter stood while it was read.
static struct meter_total_sample read_running(struct writer *writer, struct meter *meter,
                                              struct meter_total *total, double *low_j,
                                              double *high_j) {
    struct meter_reading reading;
    struct meter_total_sample sample;
    *low_j = (double)__atomic_load_n(&writer->done_uj, __ATOMIC_SEQ_CST) * 1e-6;
    assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
    *high_j = (double)__atomic_load_n(&writer->begun_uj, __ATOMIC_SEQ_CST) * 1e-6;
    assert_int_equal(meter_total_feed(total, &reading, &sample, NULL), WL_OK);
    assert_true(sample.is_valid && sample.flags == 0);
    return sample;
}

static void a_running_counter_gives_its_energy(void **state) {
    (void)state;
    struct test_tree tree;
    test_tree_make(&tree);
    test_tree_zone(&tree, "intel-rapl:0", "package-0", 100000000, RANGE_UJ);
    struct writer writer = {.tree = &tree, .begun_uj = 100000000, .done_uj = 100000000};
    struct meter *meter = open_at(tree.root, "powercap");
    struct meter_total *total;
    // However long this machine makes us wait, it is no gap.
    struct meter_total_options options = {.period_ns = 60000000000};
    assert_int_equal(meter_total_new(meter_info(meter), &options, &total, NULL), WL_OK);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_energy, &writer), 0);
    double first_low_j, first_high_j, low_j, high_j;
    read_running(&writer, meter, total, &first_low_j, &first_high_j);
    for (int i = 0; i < 50; i++) {
        usleep(5000);
        struct meter_total_sample sample = read_running(&writer, meter, total, &low_j, &high_j);
        assert_true(sample.total_j >= low_j - first_high_j - 1e-9);
        assert_true(sample.total_j <= high_j - first_low_j + 1e-9);
    }
    __atomic_store_n(&writer.stop, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
    meter_total_free(total);
    meter_close(meter);
    test_tree_remove(&tree);
}

// --- verdicts -----------------------------------------------------------------------------------

static const struct meter_verdict *verdict_of(const char *root) {
    static struct meter_verdict verdicts[METER_MAX_SOURCES];
    struct meter_env env = {.root = root};
    size_t n;
    meter_probe_all(&env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(verdicts[i].name, "powercap") == 0) {
            return &verdicts[i];
        }
    }
    fail_msg("powercap is not listed");
    return NULL;
}

static void a_missing_counter_is_explained(void **state) {
    (void)state;
    const struct meter_verdict *verdict = verdict_of(test_root("vm_no_rapl"));
    assert_int_equal(verdict->availability, METER_MISSING);
    assert_non_null(strstr(verdict->reason, "virtual machine"));
    verdict = verdict_of(test_root("pi5"));
    assert_int_equal(verdict->availability, METER_WRONG_HARDWARE);
    assert_non_null(strstr(verdict->reason, "ARM"));
    verdict = verdict_of(test_root("container_cgroup_v1"));
    assert_int_equal(verdict->availability, METER_MISSING);
    assert_non_null(strstr(verdict->fix, "modprobe"));
    struct meter_env env = {.root = test_root("vm_no_rapl")};
    struct meter *meter;
    struct wl_err err;
    assert_int_equal(meter_open(&env, "powercap", &meter, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "virtual machine"));
}

static void names_are_looked_up(void **state) {
    (void)state;
    struct meter_env env = {.root = test_root("x86_rapl_laptop")};
    struct meter *meter;
    struct wl_err err;
    assert_int_equal(meter_open(&env, "powercop", &meter, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "'powercap'"));
    assert_int_equal(meter_open(&env, "", &meter, &err), WL_NOT_FOUND);
    assert_int_equal(meter_open(&env, "auto", &meter, &err), WL_OK);
    assert_string_equal(meter_info(meter)->name, "powercap");
    meter_close(meter);
    env.root = test_root("pi5");
    assert_int_equal(meter_open(&env, "auto", &meter, &err), WL_OK);
    assert_string_equal(meter_info(meter)->name, "estimate");
    meter_close(meter);
    assert_int_equal(meter_open(&env, "synthetic", &meter, &err), WL_NOT_FOUND);
}

// Runs as nobody in a child, because root reads everything. Exit code 0 is success.
static int check_permission(const char *root) {
    if (geteuid() == 0 && seteuid(65534) != 0) {
        return 1;
    }
    struct meter_env env = {.root = root};
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(&env, verdicts, &n);
    const struct meter_verdict *verdict = &verdicts[0];
    if (verdict->availability != METER_PERMISSION || !strstr(verdict->reason, "only root") ||
        !strstr(verdict->fix, "udev") || !strstr(verdict->fix, "chmod a+r") ||
        !strstr(verdict->fix, "setcap cap_dac_read_search+ep")) {
        return 2;
    }
    struct meter *meter;
    struct wl_err err;
    if (meter_open(&env, "powercap", &meter, &err) != WL_PERMISSION ||
        !strstr(err.message, "chmod a+r")) {
        return 3;
    }
    return meter_open(&env, "auto", &meter, &err) == WL_OK &&
                   strcmp(meter_info(meter)->name, "estimate") == 0
               ? (meter_close(meter), 0)
               : 4;
}

static void an_unreadable_counter_says_how_to_read_it(void **state) {
    (void)state;
    struct test_tree tree;
    test_tree_make(&tree);
    assert_int_equal(chmod(tree.root, 0755), 0);
    test_tree_zone(&tree, "intel-rapl:0", "package-0", 5, RANGE_UJ);
    const char *path = test_tree_path(&tree, "/sys/class/powercap/intel-rapl:0/energy_uj");
    assert_int_equal(chmod(path, geteuid() == 0 ? 0400 : 0), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(check_permission(tree.root));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    test_tree_remove(&tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zone_numbers_are_hexadecimal),
        cmocka_unit_test(a_laptop_counts_its_package_once),
        cmocka_unit_test(psys_can_be_asked_for_alone),
        cmocka_unit_test(a_server_adds_packages_and_dram),
        cmocka_unit_test(a_package_seen_by_two_dies_counts_once),
        cmocka_unit_test(the_twin_serves_when_the_msr_zone_cannot_be_read),
        cmocka_unit_test(dram_of_the_twin_is_kept_when_only_the_twin_has_it),
        cmocka_unit_test(many_packages_with_hex_names_are_all_listed),
        cmocka_unit_test(only_the_package_adds_up),
        cmocka_unit_test(a_wrap_is_bridged_and_flagged),
        cmocka_unit_test(a_reset_is_flagged_and_adds_nothing),
        cmocka_unit_test(what_cannot_be_read_is_a_gap_and_never_zero),
        cmocka_unit_test(a_running_counter_gives_its_energy),
        cmocka_unit_test(a_missing_counter_is_explained),
        cmocka_unit_test(names_are_looked_up),
        cmocka_unit_test(an_unreadable_counter_says_how_to_read_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
