// The stored calibration: what it does to a source, its file, and what it refuses.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "measure/calibrate.h"
#include "measure/machine_id.h"
#include "meter/calibration.h"
#include "near.h"
#include "test_meter_tree.h"

static struct meter_calibration a_line(void) {
    return (struct meter_calibration){.source = "powercap",
                                      .reference = "fnirsi",
                                      .scope = METER_SCOPE_BOARD,
                                      .gain = {.gain = 1.25,
                                               .offset_w = 2.5,
                                               .gain_sd = 0.025,
                                               .offset_sd_w = 0.1,
                                               .covariance = -0.002},
                                      .r2 = 0.998,
                                      .residual_sd_w = 0.05,
                                      .n_blocks = 5,
                                      .wall_ns = 1763800000000000000};
}

static struct meter_calibration a_model(void) {
    struct meter_calibration item = {.source = "estimate",
                                     .reference = "typed",
                                     .scope = METER_SCOPE_WALL,
                                     .is_model = true,
                                     .r2 = 0.99};
    static const double VALUES[] = {3.1, 1.2, 6.1e-11, 1.4e-11};
    for (int i = 0; i < METER_CALIBRATION_TERMS; i++) {
        item.terms.value[i] = VALUES[i];
        item.terms.covariance[i][i] = VALUES[i] * VALUES[i] * 0.01;
        item.terms.is_fitted[i] = i < 2;
    }
    item.terms.rel_sd = 0.06;
    return item;
}

static struct meter_calibration_set a_set(void) {
    struct meter_calibration_set set = {
        .machine = "machine:0123", .governor = "performance", .kernel = "6.12"};
    struct meter_calibration line = a_line(), model = a_model();
    assert_int_equal(meter_calibration_put(&set, &line, NULL), WL_OK);
    assert_int_equal(meter_calibration_put(&set, &model, NULL), WL_OK);
    return set;
}

static void test_put_and_find(void **state) {
    (void)state;
    struct meter_calibration_set set = a_set();
    assert_int_equal(set.n, 2);
    assert_null(meter_calibration_find(&set, "shelly"));
    assert_null(meter_calibration_find(NULL, "powercap"));
    struct meter_calibration again = a_line();
    again.gain.gain = 2;
    assert_int_equal(meter_calibration_put(&set, &again, NULL), WL_OK);
    assert_int_equal(set.n, 2); // replaced
    assert_near(meter_calibration_find(&set, "powercap")->gain.gain, 2, 0);
    assert_false(meter_calibration_remove(&set, "shelly"));
    assert_true(meter_calibration_remove(&set, "powercap"));
    assert_int_equal(set.n, 1);
    assert_string_equal(set.item[0].source, "estimate");
    struct wl_err err;
    for (int i = 0; set.n < METER_MAX_CALIBRATIONS; i++) {
        snprintf(again.source, sizeof again.source, "source-%d", i);
        assert_int_equal(meter_calibration_put(&set, &again, NULL), WL_OK);
    }
    snprintf(again.source, sizeof again.source, "one more");
    assert_int_equal(meter_calibration_put(&set, &again, &err), WL_LIMIT);
}

static struct meter_info an_info(void) {
    return (struct meter_info){
        .kind = METER_COUNTER,
        .scope = METER_SCOPE_CPU,
        .quantum = 6e-5,
        .gain_error_rel = 0.2,
        .offset_error_w = 1,
        .max_power_w = 100,
        .label = LABEL_MEASURED,
        .n_channels = 2,
        .channel = {{.scale = 1e-6, .is_counted = true}, {.scale = 1e-6, .is_counted = true}}};
}

static void test_apply(void **state) {
    (void)state;
    struct meter_info info = an_info();
    struct meter_calibration item = a_line();
    meter_calibration_apply(&item, &info);
    assert_near(info.channel[0].scale, 1.25e-6, 1e-18);
    assert_near(info.channel[1].scale, 1.25e-6, 1e-18);
    assert_near(info.offset_w, 2.5, 0);
    assert_near(info.gain_error_rel, 0.02, 1e-12);
    assert_near(info.offset_error_w, 0.1, 0);
    assert_int_equal(info.scope, METER_SCOPE_BOARD);
    assert_int_equal(info.label, LABEL_CALIBRATED);
    // A narrower reference does not narrow what the joules include.
    info = an_info();
    info.scope = METER_SCOPE_WALL;
    meter_calibration_apply(&item, &info);
    assert_int_equal(info.scope, METER_SCOPE_WALL);
}

// A package and psys are one source with two devices.
static void test_another_device_stays_as_it_is(void **state) {
    (void)state;
    struct meter_info info = an_info(), other = an_info();
    snprintf(info.channel[0].name, sizeof info.channel[0].name, "package-0");
    snprintf(info.channel[1].name, sizeof info.channel[1].name, "package-1");
    struct meter_calibration item = a_line();
    meter_calibration_device(&info, item.device);
    assert_string_equal(item.device, "package-0+package-1");
    other = info;
    snprintf(other.channel[0].name, sizeof other.channel[0].name, "psys");
    other.channel[1].is_counted = false;
    meter_calibration_apply(&item, &other);
    assert_int_equal(other.label, LABEL_MEASURED);
    assert_near(other.channel[0].scale, 1e-6, 0);
    meter_calibration_apply(&item, &info);
    assert_int_equal(info.label, LABEL_CALIBRATED);
    info.n_channels = METER_MAX_CHANNELS; // cut, never over the end
    for (size_t i = 0; i < info.n_channels; i++) {
        info.channel[i].is_counted = true;
        memset(info.channel[i].name, 'x', METER_NAME_BYTES - 1);
    }
    meter_calibration_device(&info, item.device);
    assert_true(strlen(item.device) < METER_DEVICE_BYTES);
}

static void test_a_lag_alone_changes_nothing_else(void **state) {
    (void)state;
    struct meter_info info = an_info(), before = an_info();
    struct meter_calibration item = {.source = "shelly",
                                     .reference = "pulses",
                                     .is_lag_only = true,
                                     .lag_ns = 1500000000,
                                     .lag_sd_ns = 200000000,
                                     .smoothing_ns = 400000000};
    meter_calibration_apply(&item, &info);
    assert_int_equal(info.lag_ns, 1500000000);
    assert_int_equal(info.lag_sd_ns, 200000000);
    assert_int_equal(info.smoothing_ns, 400000000);
    assert_int_equal(info.label, LABEL_MEASURED);
    assert_near(info.channel[0].scale, before.channel[0].scale, 0);
    assert_near(info.gain_error_rel, before.gain_error_rel, 0);
    struct meter_calibration_set set = {0}, read;
    assert_int_equal(meter_calibration_put(&set, &item, NULL), WL_OK);
    json_t *json = meter_calibration_to_json(&set);
    assert_int_equal(meter_calibration_from_json(json, &read, NULL), WL_OK);
    assert_true(read.item[0].is_lag_only);
    assert_int_equal(read.item[0].lag_ns, 1500000000);
    json_decref(json);
}

static void test_json_round_trip(void **state) {
    (void)state;
    struct meter_calibration_set set = a_set(), read;
    json_t *json = meter_calibration_to_json(&set);
    assert_int_equal(meter_calibration_from_json(json, &read, NULL), WL_OK);
    json_t *again = meter_calibration_to_json(&read);
    assert_true(json_equal(json, again));
    assert_string_equal(read.machine, "machine:0123");
    assert_int_equal(read.n, 2);
    const struct meter_calibration *line = &read.item[0], *model = &read.item[1];
    assert_near(line->gain.covariance, -0.002, 0);
    assert_int_equal(line->scope, METER_SCOPE_BOARD);
    assert_true(model->is_model && model->terms.is_fitted[1] && !model->terms.is_fitted[2]);
    assert_near(model->terms.value[3], 1.4e-11, 0);
    json_decref(json);
    json_decref(again);
}

// Each sets one field to nonsense.
static void test_refusals_name_the_field(void **state) {
    (void)state;
    static const struct {
        const char *container; // "line" or "terms" of its calibration, "" the calibration itself
        const char *field, *value;
    } BAD[] = {
        {"line", "gain", "-1"},           {"line", "gain", "0"},
        {"line", "gain", "1e9"},          {"line", "gain", "null"},
        {"line", "gain_sd", "-0.1"},      {"line", "offset_w", "1e9"},
        {"line", "covariance", "5"},      {"line", "offset_sd_w", "\"0.1\""},
        {"", "scope", "\"planet\""},      {"", "lag_ns", "99000000000000"},
        {"", "smoothing_ns", "-1"},       {"terms", "rel_sd", "-1"},
        {"terms", "covariance", "[[1]]"}, {"terms", "idle_w", "{\"value\":-3,\"is_fitted\":true}"},
        {"terms", "core_w", "7"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct meter_calibration_set set = a_set(), read;
        json_t *json = meter_calibration_to_json(&set);
        json_t *items = json_object_get(json, "calibrations");
        bool is_model = strcmp(BAD[i].container, "terms") == 0;
        json_t *item = json_array_get(items, is_model);
        json_t *place = BAD[i].container[0] ? json_object_get(item, BAD[i].container) : item;
        json_object_set_new(place, BAD[i].field, json_loads(BAD[i].value, JSON_DECODE_ANY, NULL));
        struct wl_err err = {0};
        assert_int_equal(meter_calibration_from_json(json, &read, &err), WL_INPUT);
        assert_non_null(strstr(err.message, BAD[i].field));
        json_decref(json);
    }
}

static void test_impossible_covariances(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct meter_calibration_set set = a_set(), read;
        double(*covariance)[METER_CALIBRATION_TERMS] = set.item[1].terms.covariance;
        covariance[0][1] = 2 * sqrt(covariance[0][0] * covariance[1][1]); // correlation 2
        covariance[1][0] = kind ? covariance[0][1] : 0;                   // or not symmetric
        json_t *json = meter_calibration_to_json(&set);
        struct wl_err err = {0};
        assert_int_equal(meter_calibration_from_json(json, &read, &err), WL_INPUT);
        assert_non_null(strstr(err.message, "covariance"));
        json_decref(json);
    }
}

// --- the file and the machine -------------------------------------------------------------------

struct home {
    struct test_tree data, machine;
};

static void make_home(struct home *home, const char *governor) {
    test_tree_make(&home->data);
    test_tree_make(&home->machine);
    setenv("XDG_DATA_HOME", home->data.root, 1);
    test_tree_write(&home->machine, "/proc/cpuinfo", "processor\t: 0\nmodel name\t: A CPU\n\n");
    test_tree_write(&home->machine, "/proc/stat", "cpu  1 0 1 100 0 0 0 0 0 0\ncpu0 1 0 1 100\n");
    test_tree_write(&home->machine, "/proc/meminfo", "MemTotal: 1000 kB\n");
    test_tree_write(&home->machine, "/etc/machine-id", "abc\n");
    test_tree_write(&home->machine, "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
                    "%s", governor);
}

static void remove_home(struct home *home) {
    test_tree_remove(&home->data);
    test_tree_remove(&home->machine);
    unsetenv("XDG_DATA_HOME");
}

static void test_only_a_current_calibration_is_used(void **state) {
    (void)state;
    struct home home;
    char warning[CALIBRATE_WARNING_BYTES];
    make_home(&home, "performance\n");
    const char *root = home.machine.root;
    struct meter_calibration_set set, read;
    assert_int_equal(calibrate_load_for_machine(root, &read, warning, sizeof warning, NULL), WL_OK);
    assert_int_equal(read.n, 0); // none yet, and no word about it
    assert_string_equal(warning, "");

    set = (struct meter_calibration_set){0};
    assert_int_equal(calibrate_claim(root, &set, NULL), WL_OK);
    assert_string_equal(set.governor, "performance");
    struct meter_calibration item = a_line();
    assert_int_equal(meter_calibration_put(&set, &item, NULL), WL_OK);
    assert_int_equal(meter_calibration_save(NULL, &set, NULL), WL_OK);
    assert_int_equal(calibrate_load_for_machine(root, &read, warning, sizeof warning, NULL), WL_OK);
    assert_int_equal(read.n, 1);
    assert_string_equal(warning, "");

    test_tree_write(&home.machine, "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
                    "powersave\n");
    assert_int_equal(calibrate_load_for_machine(root, &read, warning, sizeof warning, NULL), WL_OK);
    assert_int_equal(read.n, 0);
    assert_non_null(strstr(warning, "powersave"));
    test_tree_write(&home.machine, "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
                    "performance\n");
    test_tree_write(&home.machine, "/etc/machine-id", "another\n");
    assert_int_equal(calibrate_load_for_machine(root, &read, warning, sizeof warning, NULL), WL_OK);
    assert_int_equal(read.n, 0);
    assert_non_null(strstr(warning, "another machine"));
    // Claiming a set of another machine begins it anew.
    assert_int_equal(calibrate_claim(root, &set, NULL), WL_OK);
    assert_int_equal(set.n, 0);
    remove_home(&home);
}

static void test_a_broken_file_is_not_used(void **state) {
    (void)state;
    struct home home;
    char warning[CALIBRATE_WARNING_BYTES];
    struct meter_calibration_set read;
    make_home(&home, "performance\n");
    static const char *const TEXTS[] = {"", "{", "[]", "{\"schema_version\": 99}",
                                        "{\"schema_version\": 1, \"calibrations\": [{}]}"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        test_tree_write(&home.data, "/wattlaw/machine.json", "%s", TEXTS[i]);
        assert_int_equal(
            calibrate_load_for_machine(home.machine.root, &read, warning, sizeof warning, NULL),
            WL_OK);
        assert_int_equal(read.n, 0);
        assert_non_null(strstr(warning, "machine.json"));
        assert_non_null(strstr(warning, "--forget"));
    }
    remove_home(&home);
}

static void test_machine_id_gives_nothing_away(void **state) {
    (void)state;
    struct home home;
    make_home(&home, "performance\n");
    struct machine machine;
    char id[MACHINE_ID_BYTES], again[MACHINE_ID_BYTES];
    assert_int_equal(machine_read(home.machine.root, &machine, NULL), WL_OK);
    machine_id(home.machine.root, &machine, id);
    machine_id(home.machine.root, &machine, again);
    assert_string_equal(id, again);
    assert_null(strstr(id, "abc"));
    machine.n_cores++;
    machine_id(home.machine.root, &machine, again);
    assert_string_not_equal(id, again);
    remove_home(&home);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_find),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_another_device_stays_as_it_is),
        cmocka_unit_test(test_a_lag_alone_changes_nothing_else),
        cmocka_unit_test(test_json_round_trip),
        cmocka_unit_test(test_refusals_name_the_field),
        cmocka_unit_test(test_impossible_covariances),
        cmocka_unit_test(test_only_a_current_calibration_is_used),
        cmocka_unit_test(test_a_broken_file_is_not_used),
        cmocka_unit_test(test_machine_id_gives_nothing_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
