// What `doctor` and the head of a study say about a machine, from recorded trees and from this one.
#include "test_meter_tree.h"

#include <math.h>

#include "base/json.h"
#include "sampler/machine.h"

static struct machine read_machine(const char *device) {
    static struct machine machine;
    struct wl_err err;
    if (machine_read(test_root(device), &machine, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return machine;
}

static void a_raspberry_pi(void **state) {
    (void)state;
    struct machine m = read_machine("pi5");
    assert_string_equal(m.board, "Raspberry Pi 5 Model B Rev 1.0");
    assert_string_equal(m.os_name, "Debian GNU/Linux 12 (bookworm)");
    assert_string_equal(m.kernel, "6.6.51+rpt-rpi-2712");
    assert_string_equal(m.architecture, "aarch64");
    assert_string_equal(m.governor, "ondemand");
    assert_int_equal(m.n_cores, 4);
    assert_true(m.min_mhz == 1500 && m.max_mhz == 2400 && m.current_mhz == 2400);
    assert_int_equal(m.ram_bytes, 8258448LL * 1024);
    assert_true(m.has_throttled_bits && m.throttled_bits == 0x50000);
    assert_int_equal(m.n_zones, 1);
    assert_false(m.is_virtual || m.container[0]);
    assert_string_equal(m.power_supply, "");
    char line[256];
    machine_describe(&m, line, sizeof line);
    assert_non_null(strstr(line, "Raspberry Pi 5"));
    assert_non_null(strstr(line, "4 cores"));
}

static void a_laptop(void **state) {
    (void)state;
    struct machine m = read_machine("x86_rapl_laptop");
    assert_string_equal(m.board, "LENOVO 20XW0026GE");
    assert_int_equal(m.n_cores, 8);
    assert_int_equal(m.n_physical_cores, 4);
    assert_string_equal(m.energy_preference, "balance_performance");
    assert_string_equal(m.power_supply, "battery");
    assert_int_equal(m.turbo, 1);
    assert_int_equal(m.throttle_count, 36);
    assert_int_equal(m.n_limits, 2); // not those of the twin and of the nested zones
    assert_string_equal(m.limit[0].zone, "package-0");
    assert_string_equal(m.limit[0].constraint, "long_term");
    assert_true(m.limit[0].power_w == 15 && fabs(m.limit[0].window_s - 27.98) < 0.01);
    assert_true(m.limit[1].power_w == 55);
}

static void a_virtual_machine_and_a_container(void **state) {
    (void)state;
    struct machine m = read_machine("vm_no_rapl");
    assert_true(m.is_virtual);
    assert_string_equal(m.hypervisor, "QEMU");
    assert_true(m.cgroup_cores == 1.5);
    assert_int_equal(m.cgroup_ram_bytes, 0);
    m = read_machine("container_cgroup_v1");
    assert_false(m.is_virtual);
    assert_string_equal(m.container, "docker");
    assert_true(m.cgroup_cores == 2);
    assert_int_equal(m.cgroup_ram_bytes, 2147483648LL);
    assert_string_equal(m.architecture, "x86_64"); // /proc/sys/kernel/arch is newer
}

static void the_json_form_is_complete(void **state) {
    (void)state;
    struct machine m = read_machine("x86_rapl_laptop");
    json_t *json = machine_to_json(&m);
    assert_non_null(json);
    const char *text;
    assert_int_equal(wl_json_get_string(json, "board", &text, NULL), WL_OK);
    assert_string_equal(text, "LENOVO 20XW0026GE");
    assert_int_equal(json_array_size(json_object_get(json, "power_limits")), 2);
    assert_int_equal(json_array_size(json_object_get(json, "thermal_zones")), 3);
    assert_true(json_is_null(json_object_get(json, "throttled_bits")));
    assert_true(json_is_false(json_object_get(json, "virtual")));
    json_decref(json);
    // What is not known is null, and a name that is not UTF-8 does not break the object.
    struct machine empty = {.min_mhz = (double)NAN, .cpu_model = "\xff\xfe", .turbo = -1};
    json = machine_to_json(&empty);
    assert_true(json_is_null(json_object_get(json, "cpu_model")));
    assert_true(json_is_null(json_object_get(json, "min_mhz")));
    assert_true(json_is_null(json_object_get(json, "turbo")));
    json_decref(json);
}

static void this_machine(void **state) {
    (void)state;
    struct machine m;
    assert_int_equal(machine_read(NULL, &m, NULL), WL_OK);
    assert_true(m.n_cores > 0 && m.ram_bytes > 0 && m.kernel[0]);
    char line[256];
    print_message("%s\n", machine_describe(&m, line, sizeof line));
    struct wl_err err;
    assert_int_equal(machine_read("/nonexistent", &m, &err), WL_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_raspberry_pi),
        cmocka_unit_test(a_laptop),
        cmocka_unit_test(a_virtual_machine_and_a_container),
        cmocka_unit_test(the_json_form_is_complete),
        cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
