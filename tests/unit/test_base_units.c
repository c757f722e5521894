// Numbers for people: three digits, the unit that fits, nothing odd at the borders.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"

struct row {
    double value;
    const char *text;
};

static void check(char *(*format)(char *, double), const struct row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char out[UNITS_TEXT_BYTES];
        assert_ptr_equal(format(out, rows[i].value), out);
        if (strcmp(out, rows[i].text) != 0) {
            fail_msg("%.17g: expected '%s', found '%s'", rows[i].value, rows[i].text, out);
        }
    }
}

#define CHECK(format, ...)                                                                         \
    check(format, (const struct row[]){__VA_ARGS__},                                               \
          sizeof((const struct row[]){__VA_ARGS__}) / sizeof(struct row))

static void writes_seconds(void **state) {
    (void)state;
    CHECK(units_seconds, {1.234, "1.23 s"}, {0.0456, "45.6 ms"}, {99.94, "99.9 s"},
          {185, "3 min 05 s"}, {5399.9, "89 min 59 s"}, {5400, "1 h 30 min"}, {0, "0 s"},
          {0.99996, "1.00 s"}, {9.999e-4, "1.00 ms"}, {2e-6, "2.00 us"}, {-0.5, "-500 ms"},
          {NAN, "-"}, {INFINITY, "-"}, {1e-12, "0.0010 ns"});
}

static void writes_bytes(void **state) {
    (void)state;
    CHECK(units_bytes, {0, "0 B"}, {1, "1.00 B"}, {1023.9, "1.00 KiB"}, {1024, "1.00 KiB"},
          {144703488, "138 MiB"}, {1.5 * 1073741824, "1.50 GiB"}, {NAN, "-"});
}

static void writes_energy(void **state) {
    (void)state;
    CHECK(units_energy, {4.428, "1.23 mWh"}, {3600, "1.00 Wh"}, {3.6e6, "1.00 kWh"}, {0, "0 Wh"},
          {-7.2, "-2.00 mWh"}, {NAN, "-"});
    CHECK(units_joules, {1.23, "1.23 J"}, {0.0456, "45.6 mJ"}, {12345, "12.3 kJ"}, {0, "0 J"});
}

static void writes_numbers(void **state) {
    (void)state;
    CHECK(units_number, {1234, "1234"}, {12.34, "12.3"}, {0.01234, "0.0123"}, {0, "0"},
          {999.7, "1000"}, {9.996, "10.0"}, {1e-9, "1e-09"}, {1.5e9, "1.5e+09"}, {-3, "-3.00"},
          {-INFINITY, "-"});
}

static void writes_numbers_of_parameters(void **state) {
    (void)state;
    CHECK(units_params, {134515008, "135M"}, {1235814432, "1.24B"}, {1.5e9, "1.5B"}, {7e9, "7B"},
          {999.4e6, "999M"}, {999.5e6, "1B"}, {999.4e3, "999K"}, {999.5e3, "1M"}, {2048, "2.05K"},
          {42, "0.042K"}, {0, "-"}, {-1, "-"}, {NAN, "-"}, {INFINITY, "-"});
}

static void writes_changes(void **state) {
    (void)state;
    CHECK(units_signed_pct, {0.38, "-62.0 %"}, {1, "+0.0 %"}, {0.99999, "+0.0 %"},
          {2.6, "+160.0 %"}, {NAN, "-"});
}

static void never_overruns(void **state) {
    (void)state;
    static const double EXTREMES[] = {1e300, -1e300, 1e-300, 5e-324, 1.7976931348623157e308};
    char *(*const FORMATS[])(char *, double) = {units_seconds,   units_bytes,  units_energy,
                                                units_params,    units_joules, units_number,
                                                units_signed_pct};
    for (size_t f = 0; f < sizeof FORMATS / sizeof FORMATS[0]; f++) {
        for (size_t i = 0; i < sizeof EXTREMES / sizeof EXTREMES[0]; i++) {
            char out[UNITS_TEXT_BYTES + 1];
            out[UNITS_TEXT_BYTES] = 'Z';
            assert_true(strlen(FORMATS[f](out, EXTREMES[i])) < UNITS_TEXT_BYTES);
            assert_int_equal(out[UNITS_TEXT_BYTES], 'Z');
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_seconds),
        cmocka_unit_test(writes_bytes),
        cmocka_unit_test(writes_energy),
        cmocka_unit_test(writes_numbers),
        cmocka_unit_test(writes_numbers_of_parameters),
        cmocka_unit_test(writes_changes),
        cmocka_unit_test(never_overruns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
