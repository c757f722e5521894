// The battery source: only what is drawn from the battery counts, whatever the firmware's signs,
// and everything else is a gap.
#include "test_meter_tree.h"

#include <math.h>

#include "meter/battery_supply.h"
#include "meter/meter.h"
#include "meter/meter_total.h"

#define SUPPLY "/sys/class/power_supply"
static const int64_t S = 1000000000;

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

static void set(const struct rig *rig, const char *name, const char *file, const char *content) {
    char inner[160];
    snprintf(inner, sizeof inner, SUPPLY "/%s/%s", name, file);
    test_tree_write(&rig->tree, inner, "%s\n", content);
}

static void add_battery(const struct rig *rig, const char *name, const char *status,
                        const char *power_uw) {
    set(rig, name, "type", "Battery");
    set(rig, name, "present", "1");
    set(rig, name, "status", status);
    set(rig, name, "power_now", power_uw);
}

static void rig_make(struct rig *rig) {
    *rig = (struct rig){.t_ns = 100 * S};
    test_tree_make(&rig->tree);
    rig->clock = (struct os_clock){.now_ns = fake_now, .context = rig};
    rig->env =
        (struct meter_env){.root = rig->tree.root, .clock = &rig->clock, .has_no_threads = true};
    set(rig, "AC", "type", "Mains");
    set(rig, "AC", "online", "0");
    set(rig, "hidpp_battery_0", "type", "Battery");
    set(rig, "hidpp_battery_0", "scope", "Device");
    set(rig, "hidpp_battery_0", "status", "Discharging");
    set(rig, "hidpp_battery_0", "power_now", "99000000");
}

static void rig_open(struct rig *rig) {
    enum wl_status status = meter_open(&rig->env, "battery", &rig->meter, &rig->err);
    if (status != WL_OK) {
        fail_msg("%s", rig->err.message);
    }
    assert_int_equal(meter_total_new(meter_info(rig->meter), NULL, &rig->total, NULL), WL_OK);
}

static struct meter_total_sample rig_read(struct rig *rig) {
    struct meter_reading reading;
    struct meter_total_sample sample;
    rig->t_ns += S;
    assert_int_equal(meter_read(rig->meter, &reading, NULL), WL_OK);
    assert_int_equal(meter_total_feed(rig->total, &reading, &sample, NULL), WL_OK);
    return sample;
}

static void rig_drop(struct rig *rig) {
    meter_total_free(rig->total);
    meter_close(rig->meter);
    test_tree_remove(&rig->tree);
}

static struct meter_verdict rig_verdict(const struct rig *rig) {
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(&rig->env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(verdicts[i].name, "battery") == 0) {
            return verdicts[i];
        }
    }
    fail_msg("battery is not listed");
    return verdicts[0];
}

// --- energy -------------------------------------------------------------------------------------

static void what_leaves_the_battery_is_the_machines(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_battery(&rig, "BAT0", "Discharging", "6000000");
    rig_open(&rig);
    const struct meter_info *info = meter_info(rig.meter);
    assert_int_equal(info->n_channels, 1); // not the mouse
    assert_int_equal(info->scope, METER_SCOPE_BOARD);
    assert_true(info->includes_dram);
    assert_float_equal(rig_read(&rig).power_w, 6, 1e-9);
    for (int i = 0; i < 60; i++) {
        rig_read(&rig);
    }
    set(&rig, "BAT0", "power_now", "-12000000"); // the sign means nothing
    assert_float_equal(rig_read(&rig).power_w, 12, 1e-9);
    for (int i = 0; i < 59; i++) {
        rig_read(&rig);
    }
    struct meter_energy energy;
    int64_t from_ns = meter_total_known_from_ns(rig.total);
    int64_t until_ns = meter_total_known_until_ns(rig.total);
    assert_int_equal(meter_total_window(rig.total, from_ns, until_ns, &energy, NULL), WL_OK);
    assert_float_equal(energy.gross_j, 60 * 6 + 9 + 59 * 12, 1e-6);
    rig_drop(&rig);
}

static void current_times_voltage_where_there_is_no_power(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    set(&rig, "BAT1", "type", "Battery");
    set(&rig, "BAT1", "status", "Discharging");
    set(&rig, "BAT1", "current_now", "-1500000");
    set(&rig, "BAT1", "voltage_now", "12000000");
    rig_open(&rig);
    assert_float_equal(rig_read(&rig).power_w, 18, 1e-9);
    set(&rig, "BAT1", "voltage_now", "12000"); // millivolts: the wrong unit
    assert_false(rig_read(&rig).is_valid);
    set(&rig, "BAT1", "voltage_now", "0");
    assert_false(rig_read(&rig).is_valid);
    set(&rig, "BAT1", "voltage_now", "12000000");
    assert_true(rig_read(&rig).is_valid);
    rig_drop(&rig);
}

static void several_batteries_add_up(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_battery(&rig, "BAT0", "Discharging", "6000000");
    add_battery(&rig, "BAT1", "Not charging", "0");
    set(&rig, "BAT2", "type", "Battery");
    set(&rig, "BAT2", "present", "0"); // an empty bay
    rig_open(&rig);
    assert_int_equal(meter_info(rig.meter)->n_channels, 2);
    assert_float_equal(rig_read(&rig).power_w, 6, 1e-9);
    set(&rig, "BAT1", "status", "Discharging");
    set(&rig, "BAT1", "power_now", "4000000");
    assert_float_equal(rig_read(&rig).power_w, 10, 1e-9);
    set(&rig, "BAT0", "status", "Unknown"); // but it still claims 6 W: which way?
    assert_false(rig_read(&rig).is_valid);
    set(&rig, "BAT0", "power_now", "0");
    assert_float_equal(rig_read(&rig).power_w, 4, 1e-9);
    set(&rig, "BAT0", "status", "Charging");
    assert_false(rig_read(&rig).is_valid);
    set(&rig, "BAT0", "status", "Full");
    set(&rig, "BAT1", "status", "Not charging");
    set(&rig, "BAT1", "power_now", "0");
    assert_false(rig_read(&rig).is_valid); // all rest: something else feeds the machine
    rig_drop(&rig);
}

static void the_charger_plugged_in_is_a_gap(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    add_battery(&rig, "BAT0", "Discharging", "10000000");
    rig_open(&rig);
    for (int i = 0; i < 11; i++) {
        rig_read(&rig);
    }
    set(&rig, "AC", "online", "1"); // a weak charger: the battery helps, but it is not all
    struct meter_total_sample sample = rig_read(&rig);
    assert_false(sample.is_valid);
    assert_int_equal(sample.flags, RECORD_GAP);
    assert_float_equal(sample.total_j, 100, 1e-6);
    set(&rig, "BAT0", "status", "Charging");
    for (int i = 0; i < 9; i++) {
        assert_false(rig_read(&rig).is_valid);
    }
    set(&rig, "AC", "online", "0");
    set(&rig, "BAT0", "status", "Discharging");
    sample = rig_read(&rig);
    assert_true(sample.is_valid);
    assert_true(sample.flags & RECORD_GAP);
    struct meter_energy energy;
    int64_t from_ns = meter_total_known_from_ns(rig.total);
    int64_t until_ns = meter_total_known_until_ns(rig.total);
    assert_int_equal(meter_total_window(rig.total, from_ns, until_ns, &energy, NULL), WL_OK);
    assert_true(energy.flags & RECORD_GAP);
    assert_true(energy.coverage < 0.6);
    rig_drop(&rig);
}

static void nonsense_is_a_gap_and_never_zero(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    set(&rig, "port0", "type", "USB");
    set(&rig, "port0", "online", "0");
    add_battery(&rig, "BAT0", "Discharging", "10000000");
    rig_open(&rig);
    assert_true(rig_read(&rig).is_valid);
    static const struct {
        const char *file, *content;
    } CASES[] = {
        {"power_now", ""},
        {"power_now", "nan"},
        {"power_now", "0"}, // not known yet
        {"power_now", "12.5"},
        {"power_now", "10000000000"}, // nanowatts
        {"power_now", "99999999999999999999"},
        {"power_now", "-9223372036854775808"},
        {"status", ""},
        {"status", "Full"},
        {"status", "discharging"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        set(&rig, "BAT0", CASES[i].file, CASES[i].content);
        struct meter_total_sample sample = rig_read(&rig);
        if (sample.is_valid || !isnan(sample.power_w)) {
            fail_msg("'%s' in %s was taken", CASES[i].content, CASES[i].file);
        }
        set(&rig, "BAT0", "power_now", "10000000");
        set(&rig, "BAT0", "status", "Discharging");
        assert_true(rig_read(&rig).is_valid);
    }
    set(&rig, "AC", "online", "maybe");
    assert_false(rig_read(&rig).is_valid);
    set(&rig, "AC", "online", "0");
    // A dock with its port is pulled: it feeds nothing.
    char path[1024];
    assert_int_equal(unlink(test_tree_path(&rig.tree, SUPPLY "/port0/online")), 0);
    assert_true(rig_read(&rig).is_valid);
    // The battery is taken out and put back.
    snprintf(path, sizeof path, "%s", test_tree_path(&rig.tree, SUPPLY "/BAT0/power_now"));
    assert_int_equal(unlink(path), 0);
    assert_false(rig_read(&rig).is_valid);
    assert_int_equal(mkdir(path, 0755), 0); // every read fails
    assert_false(rig_read(&rig).is_valid);
    assert_int_equal(rmdir(path), 0);
    set(&rig, "BAT0", "power_now", "5000000");
    assert_float_equal(rig_read(&rig).power_w, 5, 1e-9);
    rig_drop(&rig);
}

// --- verdicts -----------------------------------------------------------------------------------

static void the_verdict_says_what_to_do(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    struct meter *meter;
    struct meter_verdict verdict = rig_verdict(&rig);
    assert_int_equal(verdict.availability, METER_MISSING);
    assert_non_null(strstr(verdict.reason, "no battery"));
    set(&rig, "BAT0", "type", "Battery");
    set(&rig, "BAT0", "status", "Discharging");
    assert_int_equal(rig_verdict(&rig).availability, METER_WRONG_HARDWARE);
    add_battery(&rig, "BAT0", "Charging", "10000000");
    verdict = rig_verdict(&rig);
    assert_int_equal(verdict.availability, METER_MISSING);
    assert_non_null(strstr(verdict.reason, "BAT0 is 'Charging'"));
    assert_non_null(strstr(verdict.fix, "unplug"));
    assert_int_equal(meter_open(&rig.env, "battery", &meter, &rig.err), WL_NOT_FOUND);
    assert_non_null(strstr(rig.err.message, "unplug"));
    set(&rig, "BAT0", "status", "Discharging");
    set(&rig, "AC", "online", "1");
    assert_non_null(strstr(rig_verdict(&rig).reason, "AC is 'online'"));
    set(&rig, "AC", "online", "0");
    verdict = rig_verdict(&rig);
    assert_int_equal(verdict.availability, METER_AVAILABLE);
    assert_false(verdict.is_external);
    assert_int_equal(meter_open(&rig.env, "battery:BAT0", &meter, &rig.err), WL_USAGE);
    rig_drop(&rig);
}

// Whatever a battery shows, what is accepted is a power that a machine can draw.
static void every_accepted_figure_is_a_power(void **state) {
    (void)state;
    static const int64_t VALUES[] = {INT64_MIN, -1,       0,         1,         49999,
                                     500000,    12000000, 499999999, 500000001, INT64_MAX};
    enum { N = sizeof VALUES / sizeof VALUES[0] };
    for (size_t i = 0; i < 2 * 3 * N * N; i++) {
        struct battery_figures figures = {.has_power = i % 2,
                                          .state = (enum battery_state)(i / 2 % 3),
                                          .power_uw = VALUES[i / 6 % N],
                                          .current_ua = VALUES[i / 6 % N],
                                          .voltage_uv = VALUES[i / 6 / N % N]};
        double power_w = (double)NAN;
        if (battery_power_w(&figures, &power_w)) {
            assert_true(power_w >= 0 && power_w <= 500);
            assert_true(power_w > 0 || figures.state == BATTERY_RESTING);
            assert_true(figures.state != BATTERY_CHARGING);
        }
    }
}

// A study on a laptop must not take an hour because its charger is unplugged.
static void is_used_only_when_named(void **state) {
    (void)state;
    struct meter_env env = {.root = TEST_ROOTS_DIR "/x86_rapl_laptop"};
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(&env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(verdicts[i].is_slow, strcmp(verdicts[i].name, "battery") == 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_used_only_when_named),
        cmocka_unit_test(what_leaves_the_battery_is_the_machines),
        cmocka_unit_test(current_times_voltage_where_there_is_no_power),
        cmocka_unit_test(several_batteries_add_up),
        cmocka_unit_test(the_charger_plugged_in_is_a_gap),
        cmocka_unit_test(nonsense_is_a_gap_and_never_zero),
        cmocka_unit_test(the_verdict_says_what_to_do),
        cmocka_unit_test(every_accepted_figure_is_a_power),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
