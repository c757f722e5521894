// The hwmon source against trees of real layouts and sensors that lie, vanish and come back under
// another number.
#include "test_meter_tree.h"

#include <math.h>
#include <sys/wait.h>

#include "meter/hwmon_choice.h"
#include "meter/hwmon_tree.h"
#include "meter/meter.h"
#include "meter/meter_set.h"
#include "meter/meter_total.h"

static const int64_t STEP_NS = 100000000;

struct rig {
    struct test_tree tree;
    int64_t t_ns;
    struct os_clock clock;
    struct meter_env env;
    struct meter *meter;
    struct meter_total *total;
    struct wl_err err;
};

static int64_t fake_now(void *context) {
    return ((struct rig *)context)->t_ns;
}

static void set(const struct rig *rig, const char *dir, const char *file, const char *content) {
    char inner[160];
    snprintf(inner, sizeof inner, "/sys/class/hwmon/%s/%s", dir, file);
    test_tree_write(&rig->tree, inner, "%s\n", content);
}

// A device `name` in hwmon<n>; `id` is what its `device` link leads to, or NULL.
static void add_device(const struct rig *rig, const char *dir, const char *name, const char *id) {
    char inner[160], target[160];
    set(rig, dir, "name", name);
    if (id) {
        snprintf(inner, sizeof inner, "/sys/class/hwmon/%s/device", dir);
        snprintf(target, sizeof target, "../../../devices/%s", id);
        assert_int_equal(symlink(target, test_tree_path(&rig->tree, inner)), 0);
    }
}

static void rename_device(const struct rig *rig, const char *from, const char *to) {
    char old_path[1024], inner[160];
    snprintf(inner, sizeof inner, "/sys/class/hwmon/%s", from);
    snprintf(old_path, sizeof old_path, "%s", test_tree_path(&rig->tree, inner));
    snprintf(inner, sizeof inner, "/sys/class/hwmon/%s", to);
    assert_int_equal(rename(old_path, test_tree_path(&rig->tree, inner)), 0);
}

static void remove_file(const struct rig *rig, const char *dir, const char *file) {
    char inner[160];
    snprintf(inner, sizeof inner, "/sys/class/hwmon/%s/%s", dir, file);
    assert_int_equal(unlink(test_tree_path(&rig->tree, inner)), 0);
}

static void remove_device(const struct rig *rig, const char *dir) {
    char inner[160];
    snprintf(inner, sizeof inner, "/sys/class/hwmon/%s", dir);
    nftw(test_tree_path(&rig->tree, inner), test_tree_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

static void rig_make(struct rig *rig) {
    *rig = (struct rig){.t_ns = 1000000000};
    test_tree_make(&rig->tree);
    rig->clock = (struct os_clock){.now_ns = fake_now, .context = rig};
    rig->env =
        (struct meter_env){.root = rig->tree.root, .clock = &rig->clock, .has_no_threads = true};
}

static void rig_open(struct rig *rig, const char *name) {
    if (meter_open(&rig->env, name, &rig->meter, &rig->err) != WL_OK) {
        fail_msg("%s", rig->err.message);
    }
    assert_int_equal(meter_total_new(meter_info(rig->meter), NULL, &rig->total, NULL), WL_OK);
}

static void rig_refuse(struct rig *rig, const char *name, enum wl_status status,
                       const char *message) {
    struct meter *meter = NULL;
    assert_int_equal(meter_open(&rig->env, name, &meter, &rig->err), status);
    if (!strstr(rig->err.message, message)) {
        fail_msg("'%s' lacks '%s'", rig->err.message, message);
    }
}

static struct meter_total_sample rig_read(struct rig *rig) {
    struct meter_reading reading;
    struct meter_total_sample sample;
    rig->t_ns += STEP_NS;
    assert_int_equal(meter_read(rig->meter, &reading, NULL), WL_OK);
    assert_int_equal(meter_total_feed(rig->total, &reading, &sample, NULL), WL_OK);
    return sample;
}

static void rig_close(struct rig *rig) {
    meter_total_free(rig->total);
    meter_close(rig->meter);
    rig->total = NULL;
    rig->meter = NULL;
}

static void rig_drop(struct rig *rig) {
    rig_close(rig);
    test_tree_remove(&rig->tree);
}

static struct meter_verdict verdict_of(const struct meter_env *env) {
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(verdicts[i].name, "hwmon") == 0) {
            return verdicts[i];
        }
    }
    fail_msg("hwmon is not listed");
    return verdicts[0];
}

// A sensor with a power file, as most INA drivers make it.
static void add_ina226(const struct rig *rig, const char *dir, const char *id,
                       const char *power_uw) {
    add_device(rig, dir, "ina226", id);
    set(rig, dir, "in0_input", "2");
    set(rig, dir, "in1_input", "5100");
    set(rig, dir, "curr1_input", "1000");
    set(rig, dir, "power1_input", power_uw);
    set(rig, dir, "update_interval", "36");
}

// --- files --------------------------------------------------------------------------------------

static void only_files_of_energy_are_taken(void **state) {
    (void)state;
    struct hwmon_file file;
    assert_true(hwmon_parse_file("power1_average", &file));
    assert_int_equal(file.kind, HWMON_POWER);
    assert_int_equal(file.index, 1);
    assert_int_equal(file.suffix, HWMON_AVERAGE);
    assert_true(hwmon_parse_file("in0_input", &file));
    assert_int_equal(file.kind, HWMON_VOLTAGE);
    assert_int_equal(file.index, 0);
    assert_true(hwmon_parse_file("energy12_input", &file));
    assert_int_equal(file.kind, HWMON_ENERGY);
    assert_true(hwmon_parse_file("curr31_label", &file));
    static const char *const BAD[] = {"",
                                      "in",
                                      "in_input",
                                      "in1",
                                      "in1_",
                                      "in1_inputx",
                                      "in1_lcrit_alarm",
                                      "power1_average_interval",
                                      "power-1_input",
                                      "power32_input",
                                      "power999999999999_input",
                                      "intrusion0_alarm",
                                      "temp1_input",
                                      "Power1_input"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        if (hwmon_parse_file(BAD[i], &file)) {
            fail_msg("accepted '%s'", BAD[i]);
        }
    }
}

// --- machines -----------------------------------------------------------------------------------

static const struct meter_channel *find_channel(const struct meter_info *info, const char *name) {
    for (size_t i = 0; i < info->n_channels; i++) {
        if (strcmp(info->channel[i].name, name) == 0) {
            return &info->channel[i];
        }
    }
    fail_msg("no channel '%s'", name);
    return NULL;
}

static void a_jetson_with_an_input_rail_counts_that(void **state) {
    (void)state;
    struct rig rig = {.t_ns = 1000000000};
    rig.clock = (struct os_clock){.now_ns = fake_now, .context = &rig};
    rig.env = (struct meter_env){.root = test_root("jetson_orin_nx"), .clock = &rig.clock};
    struct meter_verdict verdict = verdict_of(&rig.env);
    assert_int_equal(verdict.availability, METER_AVAILABLE);
    assert_false(verdict.is_external);
    assert_int_equal(verdict.scope, METER_SCOPE_BOARD);
    rig_open(&rig, "hwmon");
    const struct meter_info *info = meter_info(rig.meter);
    assert_int_equal(info->n_channels, 3); // no shunt voltage, no sum
    assert_true(info->includes_dram);
    assert_int_equal(info->native_period_ns, 2000000);
    assert_int_equal(info->kind, METER_GAUGE_AVERAGED);
    assert_true(find_channel(info, "VDD_IN")->is_counted);
    assert_false(find_channel(info, "VDD_SOC")->is_counted);
    assert_int_equal(find_channel(info, "VDD_SOC")->parent, 0);
    assert_float_equal(rig_read(&rig).power_w, 7.5, 1e-9);
    assert_float_equal(rig_read(&rig).total_j, 0.75, 1e-9);
    rig_close(&rig);
    rig_open(&rig, "hwmon:ina3221/VDD_CPU_GPU_CV"); // a part alone
    assert_float_equal(rig_read(&rig).power_w, 3, 1e-9);
    assert_int_equal(meter_info(rig.meter)->scope, METER_SCOPE_CPU);
    assert_false(meter_info(rig.meter)->includes_dram);
    rig_close(&rig);
    rig_refuse(&rig, "hwmon:ina3221/VDD_FAN", WL_NOT_FOUND, "VDD_IN, VDD_CPU_GPU_CV, VDD_SOC");
}

static void a_jetson_without_one_adds_its_rails(void **state) {
    (void)state;
    struct rig rig = {.t_ns = 1000000000};
    rig.clock = (struct os_clock){.now_ns = fake_now, .context = &rig};
    rig.env = (struct meter_env){.root = test_root("jetson_agx_orin"), .clock = &rig.clock};
    rig_open(&rig, "hwmon:ina3221");
    const struct meter_info *info = meter_info(rig.meter);
    assert_int_equal(info->n_channels, 4); // two chips; NC is left out
    const struct meter_channel *memory = find_channel(info, "VDDQ_VDD2_1V8AO");
    assert_false(memory->is_counted); // it hangs from the 5 V rail
    assert_string_equal(info->channel[memory->parent].name, "VIN_SYS_5V0");
    assert_float_equal(rig_read(&rig).power_w, 6 + 3 + 4, 1e-9);
    rig_close(&rig);
}

static void a_processors_graphics_is_not_a_card(void **state) {
    (void)state;
    struct rig rig = {.t_ns = 1000000000};
    rig.clock = (struct os_clock){.now_ns = fake_now, .context = &rig};
    rig.env = (struct meter_env){.root = test_root("amd_mini_pc"), .clock = &rig.clock};
    rig_open(&rig, "hwmon");
    const struct meter_info *info = meter_info(rig.meter);
    assert_int_equal(info->scope, METER_SCOPE_SOC);
    assert_false(info->includes_dram);
    assert_int_equal(info->kind, METER_GAUGE_AVERAGED);
    assert_float_equal(info->gain_error_rel, 0.10, 1e-9);
    assert_float_equal(rig_read(&rig).power_w, 18, 1e-9); // the mean, of the processor
    rig_close(&rig);
    rig_refuse(&rig, "hwmon:amdgpu", WL_USAGE, "hwmon:amdgpu@0000-03-00.0");
    rig_open(&rig, "hwmon:amdgpu@0000-03-00.0");
    assert_float_equal(rig_read(&rig).power_w, 35, 1e-9);
    rig_close(&rig);
    rig_open(&rig, "hwmon:corsairpsu"); // its first rail is the whole
    info = meter_info(rig.meter);
    assert_true(find_channel(info, "power total")->is_counted);
    assert_int_equal(find_channel(info, "power +12v")->parent, 0);
    rig_close(&rig);
    rig_open(&rig, "hwmon:corsairpsu/power2");
    assert_float_equal(rig_read(&rig).power_w, 70, 1e-9);
    rig_close(&rig);
    rig_refuse(&rig, "hwmon:hwmon2", WL_NOT_FOUND, "change from boot to boot");
}

// The same labels on another board prove nothing: somebody's own wiring.
static void jetson_labels_elsewhere_are_not_trusted(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_device(&rig, "hwmon0", "ina3221", "1-0040");
    static const char *const LABELS[] = {"VDD_IN", "pump", "NC"};
    for (int i = 0; i < 3; i++) {
        char file[32];
        snprintf(file, sizeof file, "in%d_label", i + 1);
        set(&rig, "hwmon0", file, LABELS[i]);
        snprintf(file, sizeof file, "in%d_input", i + 1);
        set(&rig, "hwmon0", file, "12000");
        snprintf(file, sizeof file, "curr%d_input", i + 1);
        set(&rig, "hwmon0", file, "100");
    }
    struct meter_verdict verdict = verdict_of(&rig.env);
    assert_int_equal(verdict.availability, METER_ON_REQUEST);
    assert_non_null(strstr(verdict.reason, "hwmon:ina3221/VDD_IN, hwmon:ina3221/pump"));
    assert_null(strstr(verdict.reason, "NC")); // not connected
    rig_refuse(&rig, "hwmon", WL_USAGE, "hwmon:ina3221/pump");
    rig_open(&rig, "hwmon:ina3221/pump");
    assert_float_equal(rig_read(&rig).power_w, 1.2, 1e-9);
    rig_drop(&rig);
}

// --- choice -------------------------------------------------------------------------------------

static void an_external_meter_is_used_only_when_named(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    struct meter_verdict verdict = verdict_of(&rig.env);
    assert_int_equal(verdict.availability, METER_MISSING);
    assert_non_null(strstr(verdict.fix, "modprobe ina2xx"));
    rig_refuse(&rig, "hwmon", WL_NOT_FOUND, "no sensor");
    rig_refuse(&rig, "hwmon:ina226", WL_NOT_FOUND, "there are none");
    add_ina226(&rig, "hwmon4", "1-0040", "5000000");
    verdict = verdict_of(&rig.env);
    assert_int_equal(verdict.availability, METER_AVAILABLE);
    assert_true(verdict.is_external);
    struct meter_set set_of_meters;
    assert_int_equal(meter_set_open(&rig.env, "auto", &set_of_meters, NULL), WL_OK);
    for (size_t i = 0; i < set_of_meters.n; i++) {
        assert_string_not_equal(meter_info(set_of_meters.meter[i])->name, "hwmon");
    }
    meter_set_close(&set_of_meters);
    rig_open(&rig, "hwmon");
    const struct meter_info *info = meter_info(rig.meter);
    assert_int_equal(info->n_channels, 1); // power; not V x I besides
    assert_int_equal(info->native_period_ns, 36000000);
    assert_float_equal(info->gain_error_rel, 0.012, 1e-9);
    assert_float_equal(rig_read(&rig).power_w, 5, 1e-9);
    rig_close(&rig);
    add_ina226(&rig, "hwmon5", "1-0041", "7000000");
    assert_int_equal(verdict_of(&rig.env).availability, METER_ON_REQUEST);
    rig_refuse(&rig, "hwmon", WL_USAGE, "hwmon:ina226@1-0040, hwmon:ina226@1-0041");
    rig_refuse(&rig, "hwmon:ina226", WL_USAGE, "hwmon:ina226@1-0041");
    rig_refuse(&rig, "hwmon:ina226/power1", WL_USAGE, "hwmon:ina226@1-0041/power1");
    rig_open(&rig, "hwmon:ina226@1-0041");
    assert_float_equal(rig_read(&rig).power_w, 7, 1e-9);
    rig_close(&rig);
    rig_open(&rig, "hwmon:ina226@1-0040/power1");
    assert_float_equal(rig_read(&rig).power_w, 5, 1e-9);
    static const char *const BAD[] = {"hwmon:", "hwmon:/power1", "hwmon:ina226@", "hwmon:ina226/",
                                      "hwmon:ina226@/power1"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        rig_refuse(&rig, BAD[i], WL_USAGE, "expected 'hwmon:<driver>");
    }
    rig_drop(&rig);
}

static void an_unknown_driver_must_be_named(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_device(&rig, "hwmon1", "power_meter", "ACPI000D:00");
    set(&rig, "hwmon1", "power1_average", "120000000");
    set(&rig, "hwmon1", "power1_average_interval", "5000");
    add_device(&rig, "hwmon2", "novelchip", NULL);
    set(&rig, "hwmon2", "in2_label", "12V");
    set(&rig, "hwmon2", "in2_input", "12000");
    set(&rig, "hwmon2", "curr1_label", "12V");
    set(&rig, "hwmon2", "curr1_input", "1000");
    set(&rig, "hwmon2", "in1_input", "1000"); // the same number, but nothing says that it belongs
    assert_int_equal(verdict_of(&rig.env).availability, METER_ON_REQUEST);
    rig_refuse(&rig, "hwmon", WL_USAGE, "hwmon:novelchip, hwmon:power_meter");
    rig_open(&rig, "hwmon:power_meter");
    assert_int_equal(meter_info(rig.meter)->scope, METER_SCOPE_WALL);
    assert_int_equal(meter_info(rig.meter)->native_period_ns, 5000000000);
    assert_float_equal(rig_read(&rig).power_w, 120, 1e-9);
    rig_close(&rig);
    rig_open(&rig, "hwmon:novelchip");
    assert_float_equal(rig_read(&rig).power_w, 12, 1e-9);
    rig_drop(&rig);
}

// --- energy -------------------------------------------------------------------------------------

static void a_counter_is_better_than_power(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_device(&rig, "hwmon3", "ina228", "1-0045");
    set(&rig, "hwmon3", "power1_input", "99000000");
    set(&rig, "hwmon3", "energy1_input", "500000000");
    rig_open(&rig, "hwmon");
    const struct meter_info *info = meter_info(rig.meter);
    assert_int_equal(info->kind, METER_COUNTER);
    assert_int_equal(info->n_channels, 1);
    rig_read(&rig);
    set(&rig, "hwmon3", "energy1_input", "502500000");
    struct meter_total_sample sample = rig_read(&rig);
    assert_float_equal(sample.total_j, 2.5, 1e-9);
    assert_float_equal(sample.power_w, 25, 1e-6);
    set(&rig, "hwmon3", "energy1_input", "1000"); // the accumulator overflowed or was reset
    sample = rig_read(&rig);
    assert_true(sample.flags & RECORD_RESET);
    assert_float_equal(sample.total_j, 2.5, 1e-9);
    set(&rig, "hwmon3", "energy1_input", "-5");
    assert_false(rig_read(&rig).is_valid);
    set(&rig, "hwmon3", "energy1_input", "1001000");
    assert_float_equal(rig_read(&rig).total_j, 3.5, 1e-9);
    rig_drop(&rig);
}

static void a_usb_meter_may_be_plugged_in_either_way(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_device(&rig, "hwmon6", "powerz", "1-2:1.0");
    set(&rig, "hwmon6", "in0_input", "5000");
    set(&rig, "hwmon6", "in0_label", "VBUS");
    set(&rig, "hwmon6", "in1_input", "3300"); // VCC1: not what curr1 flows at
    set(&rig, "hwmon6", "in1_label", "VCC1");
    set(&rig, "hwmon6", "curr1_input", "-2000");
    set(&rig, "hwmon6", "curr1_label", "IBUS");
    rig_open(&rig, "hwmon:powerz");
    assert_true(meter_info(rig.meter)->may_block); // each read goes over USB
    assert_float_equal(rig_read(&rig).power_w, 10, 1e-9);
    set(&rig, "hwmon6", "curr1_input", "-1000");
    assert_float_equal(rig_read(&rig).power_w, 5, 1e-9);
    set(&rig, "hwmon6", "curr1_input", "1000"); // now it flows back: no cost of this machine
    assert_false(rig_read(&rig).is_valid);
    set(&rig, "hwmon6", "curr1_input", "2"); // noise around zero
    struct meter_total_sample sample = rig_read(&rig);
    assert_true(sample.is_valid);
    assert_float_equal(sample.power_w, 0, 1e-12);
    rig_drop(&rig);
}

static void a_load_gives_its_joules(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_ina226(&rig, "hwmon4", "1-0040", "4000000");
    rig_open(&rig, "hwmon");
    for (int i = 0; i < 20; i++) {
        rig_read(&rig);
    }
    set(&rig, "hwmon4", "power1_input", "10000000");
    for (int i = 0; i < 30; i++) {
        rig_read(&rig);
    }
    struct meter_energy energy;
    int64_t from_ns = meter_total_known_from_ns(rig.total);
    assert_int_equal(meter_total_window(rig.total, from_ns, from_ns + 49 * STEP_NS, &energy, NULL),
                     WL_OK);
    assert_true(fabs(energy.gross_j - (1.9 * 4 + 0.1 * 7 + 2.9 * 10)) < 1e-9);
    assert_float_equal(energy.coverage, 1, 1e-9);
    rig_drop(&rig);
}

// --- faults -------------------------------------------------------------------------------------

static void nonsense_is_a_gap_and_never_zero(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_ina226(&rig, "hwmon4", "1-0040", "5000000");
    rig_open(&rig, "hwmon");
    assert_true(rig_read(&rig).is_valid);
    static const char *const BAD[] = {"",
                                      "nan",
                                      "-5000000",
                                      "5000000000000", // picowatts
                                      "5.0",
                                      "0x4c4b40",
                                      "5000000 uW",
                                      "99999999999999999999",
                                      "-9223372036854775808"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        set(&rig, "hwmon4", "power1_input", BAD[i]);
        struct meter_total_sample sample = rig_read(&rig);
        if (sample.is_valid || !isnan(sample.power_w)) {
            fail_msg("'%s' was taken", BAD[i]);
        }
        assert_true(sample.flags & RECORD_GAP);
    }
    set(&rig, "hwmon4", "power1_input", "-10000"); // an INA's noise around zero
    struct meter_total_sample sample = rig_read(&rig);
    assert_true(sample.is_valid);
    assert_float_equal(sample.power_w, 0, 1e-12);
    assert_true(sample.total_j >= 0);
    rig_drop(&rig);
}

static void a_device_that_vanishes_is_found_again(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_ina226(&rig, "hwmon4", "1-0040", "5000000");
    rig_open(&rig, "hwmon");
    assert_float_equal(rig_read(&rig).power_w, 5, 1e-9);
    remove_device(&rig, "hwmon4");
    assert_false(rig_read(&rig).is_valid);
    assert_false(rig_read(&rig).is_valid);
    // Another device takes its number; the same chip comes back under the next one.
    add_device(&rig, "hwmon4", "power_meter", "ACPI000D:00");
    set(&rig, "hwmon4", "power1_input", "200000000");
    assert_false(rig_read(&rig).is_valid);
    add_ina226(&rig, "hwmon9", "1-0040", "6000000");
    struct meter_total_sample sample = rig_read(&rig);
    assert_float_equal(sample.power_w, 6, 1e-9);
    rename_device(&rig, "hwmon9", "hwmon10"); // the files stay what they are
    assert_float_equal(rig_read(&rig).power_w, 6, 1e-9);
    remove_device(&rig, "hwmon10");
    assert_false(rig_read(&rig).is_valid);
    add_ina226(&rig, "hwmon1", "1-0041", "8000000"); // another chip of the same kind
    assert_false(rig_read(&rig).is_valid);
    add_ina226(&rig, "hwmon2", "1-0040", "7000000");
    assert_float_equal(rig_read(&rig).power_w, 7, 1e-9);
    rig_drop(&rig);
}

static void an_unreadable_file_is_a_gap_while_it_lasts(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_ina226(&rig, "hwmon4", "1-0040", "5000000");
    rig_open(&rig, "hwmon");
    rig_read(&rig);
    remove_file(&rig, "hwmon4", "power1_input");
    char path[1024];
    snprintf(path, sizeof path, "%s",
             test_tree_path(&rig.tree, "/sys/class/hwmon/hwmon4/power1_input"));
    assert_int_equal(mkdir(path, 0755), 0); // every read fails with EISDIR, as ENODATA would
    assert_false(rig_read(&rig).is_valid);
    assert_false(rig_read(&rig).is_valid);
    assert_int_equal(rmdir(path), 0);
    set(&rig, "hwmon4", "power1_input", "5500000");
    rig_read(&rig);
    assert_float_equal(rig_read(&rig).power_w, 5.5, 1e-9);
    rig_drop(&rig);
}

static void a_disabled_rail_is_left_out(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_device(&rig, "hwmon0", "ina3221", "1-0040");
    for (int i = 1; i <= 2; i++) {
        char file[32];
        snprintf(file, sizeof file, "in%d_input", i);
        set(&rig, "hwmon0", file, "5000");
        snprintf(file, sizeof file, "curr%d_input", i);
        set(&rig, "hwmon0", file, "100");
        snprintf(file, sizeof file, "in%d_enable", i);
        set(&rig, "hwmon0", file, i == 1 ? "1" : "0");
    }
    rig_open(&rig, "hwmon");
    assert_int_equal(meter_info(rig.meter)->n_channels, 1);
    assert_string_equal(meter_info(rig.meter)->channel[0].name, "curr1");
    rig_drop(&rig);
}

// An energy counter that only root may read gives way to the power beside it; alone it is refused
// with the fix. As nobody in a child, because root reads everything. Exit code 0 is success.
static int check_permission(struct rig *rig) {
    if (geteuid() == 0 && seteuid(65534) != 0) {
        return 1;
    }
    struct meter_verdict verdict = verdict_of(&rig->env);
    if (verdict.availability != METER_PERMISSION || !strstr(verdict.fix, "chmod a+r")) {
        return 2;
    }
    struct meter *meter;
    if (meter_open(&rig->env, "hwmon", &meter, &rig->err) != WL_PERMISSION) {
        return 3;
    }
    set(rig, "hwmon3", "power1_input", "4000000");
    if (meter_open(&rig->env, "hwmon", &meter, &rig->err) != WL_OK) {
        return 4;
    }
    bool is_power = meter_info(meter)->kind == METER_GAUGE_AVERAGED;
    meter_close(meter);
    return is_power ? 0 : 5;
}

static void an_unreadable_counter_is_explained(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_device(&rig, "hwmon3", "ina228", "1-0045");
    set(&rig, "hwmon3", "energy1_input", "500000000");
    assert_int_equal(chmod(rig.tree.root, 0755), 0);
    assert_int_equal(chmod(test_tree_path(&rig.tree, "/sys/class/hwmon/hwmon3"), 0777), 0);
    const char *path = test_tree_path(&rig.tree, "/sys/class/hwmon/hwmon3/energy1_input");
    assert_int_equal(chmod(path, geteuid() == 0 ? 0400 : 0), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(check_permission(&rig));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    rig_drop(&rig);
}

static void many_devices_and_rails_stay_within_bounds(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    for (int i = 0; i < 40; i++) {
        char dir[32], id[32];
        snprintf(dir, sizeof dir, "hwmon%d", i);
        snprintf(id, sizeof id, "1-%04x", i);
        add_device(&rig, dir, "zenpower", id);
        for (int k = 0; k < 31; k++) {
            char file[32];
            snprintf(file, sizeof file, "power%d_input", k);
            set(&rig, dir, file, "1000000");
        }
    }
    rig_open(&rig, "hwmon");
    assert_int_equal(meter_info(rig.meter)->n_channels, HWMON_MAX_RAILS);
    assert_float_equal(rig_read(&rig).power_w, HWMON_MAX_RAILS, 1e-9);
    rig_refuse(&rig, "hwmon:zenpower", WL_USAGE, "...");
    rig_drop(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_files_of_energy_are_taken),
        cmocka_unit_test(a_jetson_with_an_input_rail_counts_that),
        cmocka_unit_test(a_jetson_without_one_adds_its_rails),
        cmocka_unit_test(a_processors_graphics_is_not_a_card),
        cmocka_unit_test(jetson_labels_elsewhere_are_not_trusted),
        cmocka_unit_test(an_external_meter_is_used_only_when_named),
        cmocka_unit_test(an_unknown_driver_must_be_named),
        cmocka_unit_test(a_counter_is_better_than_power),
        cmocka_unit_test(a_usb_meter_may_be_plugged_in_either_way),
        cmocka_unit_test(a_load_gives_its_joules),
        cmocka_unit_test(nonsense_is_a_gap_and_never_zero),
        cmocka_unit_test(a_device_that_vanishes_is_found_again),
        cmocka_unit_test(an_unreadable_file_is_a_gap_while_it_lasts),
        cmocka_unit_test(a_disabled_rail_is_left_out),
        cmocka_unit_test(an_unreadable_counter_is_explained),
        cmocka_unit_test(many_devices_and_rails_stay_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
