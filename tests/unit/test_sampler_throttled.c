// A Raspberry Pi's throttled bits where sysfs has no file for them: asked of the firmware.
#include "test_meter_tree.h"

#include "fake_vcio.h"
#include "sampler/machine.h"
#include "sampler/sampler.h"

static const int64_t MS = 1000000;

static int64_t g_now_ns;
static int64_t fake_now(void *context) {
    (void)context;
    return g_now_ns;
}
static const struct os_clock CLOCK = {.now_ns = fake_now};

static int64_t no_cpu(void) {
    return 0;
}

struct rig {
    struct fake_vcio fake;
    struct meter_device_ops ops;
    struct test_tree tree;
    struct sampler *sampler;
};

static void rig_make(struct rig *rig, const char *throttled) {
    *rig = (struct rig){.fake = {.throttled = throttled}};
    rig->ops = fake_vcio_ops(&rig->fake);
    test_tree_make(&rig->tree);
    test_tree_write(&rig->tree, "/proc/stat", "cpu  100 0 50 1000 0 0 0 25 0 0\n");
    g_now_ns = 0;
}

static void rig_start(struct rig *rig) {
    struct sampler_options options = {.root = rig->tree.root,
                                      .clock = &CLOCK,
                                      .thread_cpu_ns = no_cpu,
                                      .has_no_thread = true,
                                      .devices = &rig->ops};
    struct wl_err err;
    if (sampler_start(&options, &rig->sampler, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
}

static void rig_drop(struct rig *rig) {
    sampler_free(rig->sampler);
    test_tree_remove(&rig->tree);
}

static uint32_t flags_now(struct rig *rig) {
    struct sampler_row row;
    assert_int_equal(sampler_mark(rig->sampler, &row, NULL), WL_OK);
    return row.flags & (SAMPLER_HAS_THROTTLE | SAMPLER_IS_THROTTLED | SAMPLER_IS_UNDERVOLT);
}

static void the_firmware_says_what_holds_now(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        uint32_t flags;
    } CASES[] = {
        {"throttled=0x0", SAMPLER_HAS_THROTTLE},
        {"throttled=0xf0000", SAMPLER_HAS_THROTTLE}, // since boot is not now
        {"throttled=0x50001", SAMPLER_HAS_THROTTLE | SAMPLER_IS_UNDERVOLT},
        {"throttled=0x2", SAMPLER_HAS_THROTTLE | SAMPLER_IS_THROTTLED},
        {"throttled=0x4", SAMPLER_HAS_THROTTLE | SAMPLER_IS_THROTTLED},
        {"throttled=0x8", SAMPLER_HAS_THROTTLE | SAMPLER_IS_THROTTLED},
        {"throttled=0x50005", SAMPLER_HAS_THROTTLE | SAMPLER_IS_THROTTLED | SAMPLER_IS_UNDERVOLT},
        {"throttled=", 0},
        {"nonsense", 0},
        {"", 0},
    };
    struct rig rig;
    rig_make(&rig, "throttled=0x0");
    rig_start(&rig);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        rig.fake.throttled = CASES[i].answer;
        assert_int_equal(flags_now(&rig), CASES[i].flags);
    }
    rig.fake.throttled = "throttled=0x50005";
    rig.fake.ioctl_error = ENODEV;
    assert_int_equal(flags_now(&rig), 0); // unknown, and not "all is well"
    rig_drop(&rig);
}

static void ordinary_rows_ask_once_a_second_at_most(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, "throttled=0x0");
    rig_start(&rig);
    unsigned n_before = rig.fake.n_ioctl;
    for (int i = 1; i <= 100; i++) { // ten seconds at 10 Hz
        g_now_ns = i * 100 * MS;
        assert_int_equal(sampler_tick(rig.sampler, NULL), WL_OK);
    }
    assert_in_range(rig.fake.n_ioctl - n_before, 9, 11);
    rig_drop(&rig);
}

static void the_file_is_preferred(void **state) {
    (void)state;
    static const char *const FILES[] = {
        "/sys/devices/platform/soc/soc:firmware/get_throttled",
        "/sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"};
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        struct rig rig;
        rig_make(&rig, "throttled=0x0");
        test_tree_write(&rig.tree, FILES[i], "50005\n");
        test_tree_write(&rig.tree, "/sys/devices/platform/soc-audio/uevent", "\n");
        rig_start(&rig);
        assert_int_equal(flags_now(&rig),
                         SAMPLER_HAS_THROTTLE | SAMPLER_IS_THROTTLED | SAMPLER_IS_UNDERVOLT);
        assert_int_equal(rig.fake.n_ioctl, 0);
        rig_drop(&rig);
    }
}

static void a_firmware_without_the_command_is_asked_once(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, NULL);
    rig_start(&rig);
    assert_int_equal(flags_now(&rig), 0);
    assert_int_equal(flags_now(&rig), 0);
    assert_int_equal(rig.fake.n_ioctl, 1);
    rig_drop(&rig);
}

static void the_machine_shows_the_bits_since_boot(void **state) {
    (void)state;
    struct rig rig;
    struct machine machine;
    rig_make(&rig, "throttled=0x50005");
    assert_int_equal(machine_read_with(rig.tree.root, &rig.ops, &machine, NULL), WL_OK);
    assert_true(machine.has_throttled_bits && machine.throttled_bits == 0x50005);
    rig.fake.throttled = NULL;
    assert_int_equal(machine_read_with(rig.tree.root, &rig.ops, &machine, NULL), WL_OK);
    assert_false(machine.has_throttled_bits);
    assert_int_equal(machine_read(rig.tree.root, &machine, NULL), WL_OK); // has no devices
    assert_false(machine.has_throttled_bits);
    test_tree_remove(&rig.tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_firmware_says_what_holds_now),
        cmocka_unit_test(ordinary_rows_ask_once_a_second_at_most),
        cmocka_unit_test(the_file_is_preferred),
        cmocka_unit_test(a_firmware_without_the_command_is_asked_once),
        cmocka_unit_test(the_machine_shows_the_bits_since_boot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
