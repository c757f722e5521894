// What a person may type for a block's power.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "measure/typed_power.h"
#include "near.h"

static void test_units(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double power_w; // over 60 s
    } CASES[] = {{"6.2", 6.2},       {"6.2 W\n", 6.2}, {"  6.2W ", 6.2}, {"6200 mW", 6.2},
                 {"0.0062 kW", 6.2}, {"0.1 Wh", 6},    {"100 mWh", 6},   {"0.0001kWh", 6},
                 {"372 J", 6.2},     {"\t12\r\n", 12}, {".5 W", 0.5}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct calibrate_power power;
        assert_int_equal(typed_power_parse(CASES[i].text, 60, &power, NULL), WL_OK);
        assert_near(power.power_w, CASES[i].power_w, 1e-9);
        assert_true(power.is_valid && power.sd_w > 0);
    }
}

static void test_rounding_is_the_error(void **state) {
    (void)state;
    struct calibrate_power coarse, fine;
    assert_int_equal(typed_power_parse("0.1 Wh", 60, &coarse, NULL), WL_OK);
    assert_int_equal(typed_power_parse("0.1000 Wh", 60, &fine, NULL), WL_OK);
    assert_near(coarse.sd_w, 0.1 * 60 / sqrt(12), 1e-9); // 0.1 Wh in a minute is 6 W
    assert_near(fine.sd_w, coarse.sd_w / 1000, 1e-9);
    assert_int_equal(typed_power_parse("6.25 W", 60, &fine, NULL), WL_OK);
    assert_true(fine.sd_w > 0.06); // a display moves while it is read
}

static void test_refusals(void **state) {
    (void)state;
    static const char *const BAD[] = {"",     "W",     "six",    "-6 W", "0 W", "6.2 V",    "6,2 W",
                                      "1e99", "6 W 7", "6..2 W", "inf",  "nan", "999999 W", "6 w"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct calibrate_power power;
        struct wl_err err = {0};
        assert_int_equal(typed_power_parse(BAD[i], 60, &power, &err), WL_INPUT);
        assert_true(err.message[0] && !power.is_valid);
    }
    char longest[500];
    memset(longest, '1', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    struct calibrate_power power;
    assert_int_equal(typed_power_parse(longest, 60, &power, NULL), WL_INPUT);
    assert_int_equal(typed_power_parse("6 W", 0, &power, NULL), WL_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_rounding_is_the_error),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
