// The perf source against trees of PMU descriptions and an emulated perf_event_open whose counters
// are datagrams: each read takes one, and none is a counter that gives nothing.
#include "test_meter_tree.h"

#include <errno.h>
#include <math.h>
#include <sys/socket.h>

#ifndef __linux__
int main(void) {
    puts("skipped: perf events exist on Linux only");
    return 77;
}
#else
#include <linux/perf_event.h>

#include "meter/device.h"
#include "meter/meter.h"
#include "meter/meter_total.h"
#include "meter/perf_pmu.h"

static const int64_t STEP_NS = 100000000;
static const double SCALE = 2.3283064365386962890625e-10;
enum { MAX_EVENTS = 64, PMU_TYPE = 21, CODE_CORES = 1, CODE_PKG = 2, CODE_RAM = 3, CODE_PSYS = 5 };

// --- emulated kernel ----------------------------------------------------------------------------

struct fake_event {
    int cpu;
    uint64_t config;
    int peer; // where the test puts values
};

struct fake_kernel {
    int error;             // what opening fails with; 0: it works
    uint64_t error_config; // only for this event; 0: for all
    size_t n;
    struct fake_event event[MAX_EVENTS];
    int64_t t_ns;
};

static int fake_open(void *context, const void *attr_, pid_t pid, int cpu) {
    struct fake_kernel *kernel = context;
    const struct perf_event_attr *attr = attr_;
    assert_int_equal(pid, -1);
    assert_int_equal(attr->type, PMU_TYPE);
    assert_int_equal(attr->size, sizeof *attr);
    assert_int_equal(attr->sample_period, 0);
    if (kernel->error && (!kernel->error_config || kernel->error_config == attr->config)) {
        errno = kernel->error;
        return -1;
    }
    int pair[2];
    assert_true(kernel->n < MAX_EVENTS);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    kernel->event[kernel->n++] = (struct fake_event){cpu, attr->config, pair[1]};
    return pair[0];
}

// Every event of this code and CPU (the one that probing opened has gone) shows `joules` once.
static void show(struct fake_kernel *kernel, int cpu, uint64_t config, double joules) {
    uint64_t raw = (uint64_t)llround(joules / SCALE);
    for (size_t i = 0; i < kernel->n; i++) {
        if (kernel->event[i].cpu == cpu && kernel->event[i].config == config) {
            (void)!send(kernel->event[i].peer, &raw, sizeof raw, MSG_NOSIGNAL);
        }
    }
}

static int64_t fake_now(void *context) {
    return ((struct fake_kernel *)context)->t_ns;
}

// --- trees --------------------------------------------------------------------------------------

#define PMU "/sys/bus/event_source/devices/power"

static void write_event(const struct test_tree *tree, const char *name, unsigned code) {
    char inner[256];
    snprintf(inner, sizeof inner, PMU "/events/%s", name);
    test_tree_write(tree, inner, "event=0x%02x\n", code);
    snprintf(inner, sizeof inner, PMU "/events/%s.scale", name);
    test_tree_write(tree, inner, "2.3283064365386962890625e-10\n");
    snprintf(inner, sizeof inner, PMU "/events/%s.unit", name);
    test_tree_write(tree, inner, "Joules\n");
}

static void write_pmu(const struct test_tree *tree, const char *cpumask, bool is_amd) {
    test_tree_write(tree, "/proc/cpuinfo", "processor\t: 0\nvendor_id\t: %s\n",
                    is_amd ? "AuthenticAMD" : "GenuineIntel");
    test_tree_write(tree, "/proc/sys/kernel/perf_event_paranoid", "3\n");
    test_tree_write(tree, PMU "/type", "%d\n", PMU_TYPE);
    test_tree_write(tree, PMU "/cpumask", "%s\n", cpumask);
    test_tree_write(tree, PMU "/format/event", "config:0-7\n");
    write_event(tree, "energy-pkg", CODE_PKG);
    write_event(tree, "energy-cores", CODE_CORES);
}

struct rig {
    struct test_tree tree;
    struct fake_kernel kernel;
    struct meter_device_ops devices;
    struct os_clock clock;
    struct meter_env env;
    struct meter *meter;
    struct meter_total *total;
    struct wl_err err;
};

static void rig_make(struct rig *rig, const char *cpumask, bool is_amd) {
    *rig = (struct rig){0};
    test_tree_make(&rig->tree);
    write_pmu(&rig->tree, cpumask, is_amd);
    rig->kernel.t_ns = 1000000000;
    rig->devices = (struct meter_device_ops){.context = &rig->kernel, .perf_event_open = fake_open};
    rig->clock = (struct os_clock){.now_ns = fake_now, .context = &rig->kernel};
    rig->env =
        (struct meter_env){.root = rig->tree.root, .clock = &rig->clock, .devices = &rig->devices};
}

static enum wl_status rig_open(struct rig *rig, const char *name) {
    enum wl_status status = meter_open(&rig->env, name, &rig->meter, &rig->err);
    if (status == WL_OK) {
        assert_int_equal(meter_total_new(meter_info(rig->meter), NULL, &rig->total, NULL), WL_OK);
    }
    return status;
}

static struct meter_total_sample rig_read(struct rig *rig, int64_t step_ns) {
    struct meter_reading reading;
    struct meter_total_sample sample;
    rig->kernel.t_ns += step_ns;
    assert_int_equal(meter_read(rig->meter, &reading, NULL), WL_OK);
    assert_int_equal(meter_total_feed(rig->total, &reading, &sample, NULL), WL_OK);
    return sample;
}

static void rig_drop(struct rig *rig) {
    meter_total_free(rig->total);
    meter_close(rig->meter);
    for (size_t i = 0; i < rig->kernel.n; i++) {
        close(rig->kernel.event[i].peer);
    }
    test_tree_remove(&rig->tree);
}

static struct meter_verdict rig_verdict(const struct rig *rig) {
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(&rig->env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(verdicts[i].name, "perf") == 0) {
            return verdicts[i];
        }
    }
    fail_msg("perf is not listed");
    return verdicts[0];
}

// --- parsers ------------------------------------------------------------------------------------

static void cpu_lists_are_read_strictly(void **state) {
    (void)state;
    unsigned cpu[4];
    size_t n;
    assert_true(perf_parse_cpu_list("0", cpu, 4, &n));
    assert_int_equal(n, 1);
    assert_true(perf_parse_cpu_list("0-1,18\n", cpu, 4, &n));
    assert_int_equal(n, 3);
    assert_int_equal(cpu[1], 1);
    assert_int_equal(cpu[2], 18);
    assert_true(perf_parse_cpu_list("7-10", cpu, 4, &n));
    assert_int_equal(n, 4);
    static const char *const BAD[] = {"",    ",",         "0,",    "1,0",   "0,0",  "3-1",
                                      "0-",  "-1",        "a",     "0 1",   "0x1",  "99999999999",
                                      "0-4", "0,1,2,3,4", "0\n\n", "1-2-3", "65536"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        if (perf_parse_cpu_list(BAD[i], cpu, 4, &n)) {
            fail_msg("accepted '%s'", BAD[i]);
        }
    }
}

static void event_codes_follow_the_format(void **state) {
    (void)state;
    uint64_t config;
    assert_true(perf_parse_config("event=0x02", "config:0-7", &config));
    assert_int_equal(config, 2);
    assert_true(perf_parse_config("event=0x1f\n", "config:8-15", &config));
    assert_int_equal(config, 0x1f00);
    assert_false(perf_parse_config("event=2", "config:0-7", &config));
    assert_false(perf_parse_config("event=0x", "config:0-7", &config));
    assert_false(perf_parse_config("event=0x02,umask=1", "config:0-7", &config));
    assert_false(perf_parse_config("event=0x100", "config:0-7", &config));
    assert_false(perf_parse_config("event=0x02", "config1:0-7", &config));
    assert_false(perf_parse_config("event=0x02", "config:99-120", &config));
}

// --- energy -------------------------------------------------------------------------------------

static void packages_and_dram_add_up(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, "0,18", false);
    write_event(&rig.tree, "energy-ram", CODE_RAM);
    write_event(&rig.tree, "energy-psys", CODE_PSYS);
    assert_int_equal(rig_open(&rig, "perf"), WL_OK);
    const struct meter_info *info = meter_info(rig.meter);
    assert_int_equal(info->n_channels, 7); // 2 packages, 2 dram, 2 cores, psys once
    assert_true(info->includes_dram);
    assert_int_equal(info->scope, METER_SCOPE_CPU);
    assert_int_equal(info->kind, METER_COUNTER);
    assert_float_equal(info->gain_error_rel, 0.05, 1e-9);
    assert_int_equal(meter_max_poll_ns(info), INT64_MAX); // never wraps
    assert_string_equal(info->channel[1].name, "package-0/dram");
    assert_false(info->channel[4].is_counted);
    assert_int_equal(info->channel[4].parent, 0); // cores of package 0
    static const int CPUS[] = {0, 18};
    static const double JOULES[2][2] = {{0, 0}, {2.5, 0.5}};
    struct meter_total_sample sample = {0};
    for (size_t step = 0; step < 2; step++) {
        for (size_t i = 0; i < 2; i++) {
            show(&rig.kernel, CPUS[i], CODE_PKG, JOULES[step][0]);
            show(&rig.kernel, CPUS[i], CODE_RAM, JOULES[step][1]);
            show(&rig.kernel, CPUS[i], CODE_CORES, 100 * (double)step); // shown, never added
        }
        sample = rig_read(&rig, STEP_NS);
        assert_true(sample.is_valid);
    }
    assert_float_equal(sample.total_j, 6.0, 1e-6);
    assert_float_equal(sample.power_w, 60, 1e-4);
    rig_drop(&rig);
}

static void psys_can_be_asked_for_alone(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, "0", false);
    assert_int_equal(rig_open(&rig, "perf:psys"), WL_NOT_FOUND);
    assert_non_null(strstr(rig.err.message, "energy-psys"));
    write_event(&rig.tree, "energy-psys", CODE_PSYS);
    assert_int_equal(rig_open(&rig, "perf:psys"), WL_OK);
    const struct meter_info *info = meter_info(rig.meter);
    assert_string_equal(info->channel[0].name, "psys");
    assert_true(info->channel[0].is_counted);
    assert_false(info->channel[1].is_counted);
    assert_int_equal(info->scope, METER_SCOPE_BOARD);
    struct meter *meter;
    assert_int_equal(meter_open(&rig.env, "perf:cores", &meter, &rig.err), WL_USAGE);
    assert_non_null(strstr(rig.err.message, "perf:psys"));
    rig_drop(&rig);
}

static void a_package_seen_by_two_dies_counts_once(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, "0,8", true);
    for (int i = 0; i <= 8; i += 8) {
        char inner[96];
        snprintf(inner, sizeof inner, "/sys/devices/system/cpu/cpu%d/topology/physical_package_id",
                 i);
        test_tree_write(&rig.tree, inner, "0\n");
    }
    assert_int_equal(rig_open(&rig, "perf"), WL_OK);
    assert_int_equal(meter_info(rig.meter)->n_channels, 2);
    assert_float_equal(meter_info(rig.meter)->gain_error_rel, 0.10, 1e-9);
    rig_drop(&rig);
    // Intel's dies have counters of their own.
    rig_make(&rig, "0,8", false);
    test_tree_write(&rig.tree, "/sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n");
    test_tree_write(&rig.tree, "/sys/devices/system/cpu/cpu8/topology/physical_package_id", "0\n");
    assert_int_equal(rig_open(&rig, "perf"), WL_OK);
    assert_int_equal(meter_info(rig.meter)->n_channels, 4);
    rig_drop(&rig);
}

static void a_silent_counter_is_a_gap_and_a_step_down_a_reset(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, "0", false);
    assert_int_equal(rig_open(&rig, "perf"), WL_OK);
    show(&rig.kernel, 0, CODE_PKG, 10);
    rig_read(&rig, STEP_NS);
    show(&rig.kernel, 0, CODE_PKG, 11);
    assert_float_equal(rig_read(&rig, STEP_NS).total_j, 1, 1e-6);
    struct meter_total_sample sample = rig_read(&rig, STEP_NS); // EAGAIN
    assert_false(sample.is_valid);
    assert_int_equal(sample.flags, RECORD_GAP);
    for (size_t i = 0; i < rig.kernel.n; i++) { // 4 of 8 bytes
        (void)!send(rig.kernel.event[i].peer, "abcd", 4, MSG_NOSIGNAL);
    }
    assert_false(rig_read(&rig, STEP_NS).is_valid);
    show(&rig.kernel, 0, CODE_PKG, 12);
    assert_float_equal(rig_read(&rig, STEP_NS).total_j, 2, 1e-6);
    show(&rig.kernel, 0, CODE_PKG, 0.5); // the event was made anew
    sample = rig_read(&rig, STEP_NS);
    assert_true(sample.flags & RECORD_RESET);
    assert_float_equal(sample.total_j, 2, 1e-6);
    show(&rig.kernel, 0, CODE_PKG, 1.5);
    assert_float_equal(rig_read(&rig, STEP_NS).total_j, 3, 1e-6);
    show(&rig.kernel, 0, CODE_PKG, 1e6); // ten megawatts are no power
    assert_true(rig_read(&rig, STEP_NS).flags & RECORD_RESET);
    rig_drop(&rig);
}

// --- verdicts -----------------------------------------------------------------------------------

static void refusals_say_what_to_do(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, "0", false);
    struct meter_verdict verdict = rig_verdict(&rig);
    assert_int_equal(verdict.availability, METER_AVAILABLE);
    assert_string_equal(verdict.same_as, "powercap");
    assert_false(verdict.is_external);
    static const struct {
        int error;
        enum meter_availability availability;
        enum wl_status status;
        const char *reason, *fix;
    } CASES[] = {
        {EACCES, METER_PERMISSION, WL_PERMISSION, "perf_event_paranoid is 3",
         "setcap cap_perfmon+ep"},
        {EPERM, METER_PERMISSION, WL_PERMISSION, "seccomp", "perf_event_paranoid=0"},
        {ENOSYS, METER_MISSING, WL_NOT_FOUND, "cannot be opened", ""},
        {EMFILE, METER_MISSING, WL_NOT_FOUND, "cannot be opened", ""},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        rig.kernel.error = CASES[i].error;
        verdict = rig_verdict(&rig);
        assert_int_equal(verdict.availability, CASES[i].availability);
        assert_non_null(strstr(verdict.reason, CASES[i].reason));
        assert_non_null(strstr(verdict.fix, CASES[i].fix));
        assert_int_equal(rig_open(&rig, "perf"), CASES[i].status);
        assert_non_null(strstr(rig.err.message, CASES[i].reason));
    }
    rig.kernel.error_config = CODE_CORES; // what is only shown may be missing
    rig.kernel.error = EINVAL;
    assert_int_equal(rig_open(&rig, "perf"), WL_OK);
    assert_int_equal(meter_info(rig.meter)->n_channels, 1);
    rig_drop(&rig);
}

static void a_tree_that_is_not_understood_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *file, *content;
    } CASES[] = {
        {PMU "/type", "power\n"},
        {PMU "/type", "99999999999\n"},
        {PMU "/cpumask", "\n"},
        {PMU "/cpumask", "0-9999\n"},
        {PMU "/events/energy-pkg", "umask=1\n"},
        {PMU "/events/energy-pkg.unit", "Watts\n"},
        {PMU "/events/energy-pkg.scale", "nan\n"},
        {PMU "/events/energy-pkg.scale", "-1\n"},
        {PMU "/events/energy-pkg.scale", "0\n"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct rig rig;
        rig_make(&rig, "0", false);
        test_tree_write(&rig.tree, CASES[i].file, "%s", CASES[i].content);
        struct meter_verdict verdict = rig_verdict(&rig);
        assert_int_equal(verdict.availability, METER_WRONG_HARDWARE);
        assert_non_null(strstr(verdict.reason, CASES[i].file));
        assert_int_equal(rig_open(&rig, "perf"), WL_NOT_FOUND);
        assert_int_equal(rig.kernel.n, 0); // nothing was opened
        rig_drop(&rig);
    }
}

static void a_copied_tree_never_opens_events_of_this_machine(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, "0", false);
    rig.env.devices = NULL;
    struct meter_verdict verdict = rig_verdict(&rig);
    assert_int_equal(verdict.availability, METER_MISSING);
    assert_non_null(strstr(verdict.reason, "--root"));
    rig.env.root = test_root("pi5");
    verdict = rig_verdict(&rig);
    assert_int_equal(verdict.availability, METER_WRONG_HARDWARE);
    rig.env.root = test_root("vm_no_rapl");
    verdict = rig_verdict(&rig);
    assert_non_null(strstr(verdict.reason, "virtual machine"));
    rig_drop(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_lists_are_read_strictly),
        cmocka_unit_test(event_codes_follow_the_format),
        cmocka_unit_test(packages_and_dram_add_up),
        cmocka_unit_test(psys_can_be_asked_for_alone),
        cmocka_unit_test(a_package_seen_by_two_dies_counts_once),
        cmocka_unit_test(a_silent_counter_is_a_gap_and_a_step_down_a_reset),
        cmocka_unit_test(refusals_say_what_to_do),
        cmocka_unit_test(a_tree_that_is_not_understood_is_refused),
        cmocka_unit_test(a_copied_tree_never_opens_events_of_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
