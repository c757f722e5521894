// The firmware's mailbox: what is sent, and every way in which an answer can be wrong.
#include "test_meter_tree.h"

#include "fake_vcio.h"
#include "meter/vcio.h"

struct rig {
    struct fake_vcio fake;
    struct meter_device_ops ops;
    struct vcio vcio;
    struct wl_err err;
    char text[VCIO_TEXT_BYTES];
};

static struct rig *rig_make(struct fake_vcio fake) {
    static struct rig rig;
    rig = (struct rig){.fake = fake};
    rig.ops = fake_vcio_ops(&rig.fake);
    assert_int_equal(vcio_open(&rig.vcio, "/somewhere", &rig.ops, &rig.err), WL_OK);
    return &rig;
}

static enum wl_status ask(struct rig *rig, const char *command) {
    return vcio_gencmd(&rig->vcio, command, rig->text, sizeof rig->text, &rig->err);
}

static void a_command_is_answered(void **state) {
    (void)state;
    struct rig *rig = rig_make((struct fake_vcio){.throttled = "throttled=0x50005"});
    assert_string_equal(rig->fake.opened, "/dev/vcio_gencmd");
    assert_int_equal(ask(rig, "get_throttled"), WL_OK);
    assert_string_equal(rig->fake.command, "get_throttled");
    assert_string_equal(rig->text, "throttled=0x50005");
    rig->fake.throttled = "";
    assert_int_equal(ask(rig, "get_throttled"), WL_OK);
    assert_string_equal(rig->text, "");
    vcio_close(&rig->vcio);
    vcio_close(&rig->vcio);
    assert_int_equal(ask(rig, "get_throttled"), WL_NOT_FOUND);
    assert_int_equal(rig->fake.n_ioctl, 2);
}

static void the_older_node_serves_too(void **state) {
    (void)state;
    struct rig *rig =
        rig_make((struct fake_vcio){.restricted_error = ENOENT, .throttled = "throttled=0x0"});
    assert_string_equal(rig->fake.opened, "/dev/vcio");
    assert_int_equal(ask(rig, "get_throttled"), WL_OK);
    vcio_close(&rig->vcio);
    rig = rig_make((struct fake_vcio){.restricted_error = EACCES}); // only one of them is closed
    assert_string_equal(rig->fake.opened, "/dev/vcio");
    vcio_close(&rig->vcio);
}

static void a_node_that_does_not_open_is_explained(void **state) {
    (void)state;
    static const struct {
        int restricted, plain;
        enum wl_status status;
        const char *word;
    } CASES[] = {
        {ENOENT, ENOENT, WL_NOT_FOUND, "/dev/vcio'"},
        {ENOENT, EACCES, WL_PERMISSION, "/dev/vcio'"},
        {EACCES, ENOENT, WL_PERMISSION, "/dev/vcio_gencmd"},
        {EPERM, EACCES, WL_PERMISSION, "/dev/vcio_gencmd"},
        {ENXIO, ENOENT, WL_IO, "/dev/vcio_gencmd"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct fake_vcio fake = {.restricted_error = CASES[i].restricted,
                                 .plain_error = CASES[i].plain};
        struct meter_device_ops ops = fake_vcio_ops(&fake);
        struct vcio vcio;
        struct wl_err err;
        assert_int_equal(vcio_open(&vcio, NULL, &ops, &err), CASES[i].status);
        assert_non_null(strstr(err.message, CASES[i].word));
        vcio_close(&vcio);
    }
}

static void the_tree_of_another_machine_has_no_devices(void **state) {
    (void)state;
    struct vcio vcio;
    struct wl_err err;
    assert_int_equal(vcio_open(&vcio, test_root("pi5"), NULL, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "pi5"));
    vcio_close(&vcio);
}

static void a_refusal_says_who_refused(void **state) {
    (void)state;
    struct rig *rig = rig_make((struct fake_vcio){.ioctl_error = EPERM});
    assert_int_equal(ask(rig, "pmic_read_adc"), WL_PERMISSION);
    assert_non_null(strstr(rig->err.message, "/dev/vcio_gencmd"));
    assert_non_null(strstr(rig->err.message, "pmic_read_adc"));
    rig->fake.ioctl_error = ENOTTY;
    assert_int_equal(ask(rig, "pmic_read_adc"), WL_UNSUPPORTED);
    rig->fake.ioctl_error = ENODEV;
    assert_int_equal(ask(rig, "pmic_read_adc"), WL_IO);
    vcio_close(&rig->vcio);
}

static void an_error_of_the_firmware_is_an_error(void **state) {
    (void)state;
    struct rig *rig = rig_make((struct fake_vcio){.status = 0x80000001u, .adc = FAKE_ADC});
    assert_int_equal(ask(rig, "pmic_read_adc"), WL_INPUT);
    assert_non_null(strstr(rig->err.message, "0x80000001"));
    rig->fake.status = 1;
    assert_int_equal(ask(rig, "pmic_read_adc"), WL_INPUT);
    rig->fake.status = 0;
    rig->fake.error = 2;
    assert_int_equal(ask(rig, "pmic_read_adc"), WL_UNSUPPORTED);
    assert_non_null(strstr(rig->err.message, "error 2"));
    rig->fake.error = 0;
    rig->fake.adc = NULL; // an old firmware says so in words
    assert_int_equal(ask(rig, "pmic_read_adc"), WL_UNSUPPORTED);
    assert_non_null(strstr(rig->err.message, "not registered"));
    rig->fake.adc = FAKE_ADC;
    assert_int_equal(ask(rig, "pmic_read_adc"), WL_OK);
    vcio_close(&rig->vcio);
}

static void texts_are_bounded(void **state) {
    (void)state;
    struct rig *rig = rig_make((struct fake_vcio){.n_fill = 4096});
    assert_int_equal(ask(rig, "pmic_read_adc"), WL_INPUT);
    assert_non_null(strstr(rig->err.message, "does not end"));
    rig->fake.n_fill = 0;
    rig->fake.adc = "0123456789";
    char small[11] = "";
    assert_int_equal(vcio_gencmd(&rig->vcio, "pmic_read_adc", small, 10, &rig->err), WL_LIMIT);
    assert_int_equal(vcio_gencmd(&rig->vcio, "pmic_read_adc", small, 11, &rig->err), WL_OK);
    assert_string_equal(small, "0123456789");
    static char command[VCIO_TEXT_BYTES + 1];
    memset(command, 'c', VCIO_TEXT_BYTES);
    unsigned n_before = rig->fake.n_ioctl;
    assert_int_equal(ask(rig, command), WL_LIMIT);
    assert_int_equal(rig->fake.n_ioctl, n_before);
    command[VCIO_TEXT_BYTES - 1] = '\0'; // the longest that fits
    assert_int_not_equal(ask(rig, command), WL_LIMIT);
    assert_int_equal(rig->fake.n_ioctl, n_before + 1);
    vcio_close(&rig->vcio);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_answered),
        cmocka_unit_test(the_older_node_serves_too),
        cmocka_unit_test(a_node_that_does_not_open_is_explained),
        cmocka_unit_test(the_tree_of_another_machine_has_no_devices),
        cmocka_unit_test(a_refusal_says_who_refused),
        cmocka_unit_test(an_error_of_the_firmware_is_an_error),
        cmocka_unit_test(texts_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
