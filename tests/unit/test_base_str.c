// Strict parsing: whole string or failure, never a prefix, whatever the locale.
#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

static const char *const NO_NUMBERS[] = {"",     " ",     "\n",    " 1",   "1 ",  "1x",  "x1",
                                         "0x10", "1\n\n", "1\n ",  "--1",  "+-1", "-",   "+",
                                         ".",    "1,5",   "1_000", "nan",  "NaN", "inf", "infinity",
                                         "-inf", "1e",    "1e+",   "1..2", "\xff"};
enum { N_NO_NUMBERS = sizeof NO_NUMBERS / sizeof NO_NUMBERS[0] };

static void refuses_what_is_no_number(void **state) {
    (void)state;
    for (size_t i = 0; i < N_NO_NUMBERS; i++) {
        uint64_t u = 77;
        int64_t s = 77;
        double d = 77, seconds = 77;
        uint64_t bytes = 77;
        if (str_parse_u64(NO_NUMBERS[i], &u) || str_parse_i64(NO_NUMBERS[i], &s) ||
            str_parse_double(NO_NUMBERS[i], &d) || str_parse_bytes(NO_NUMBERS[i], &bytes) ||
            str_parse_seconds(NO_NUMBERS[i], &seconds)) {
            fail_msg("'%s' was taken for a number", NO_NUMBERS[i]);
        }
        assert_true(u == 77 && s == 77 && bytes == 77); // left alone
        assert_true(d == 77 && seconds == 77);
    }
    uint64_t u;
    double d;
    assert_false(str_parse_u64(NULL, &u));
    assert_false(str_parse_double(NULL, &d));
}

static void parses_integers(void **state) {
    (void)state;
    uint64_t u;
    int64_t s;
    assert_true(str_parse_u64("0", &u) && u == 0);
    assert_true(str_parse_u64("007\n", &u) && u == 7);
    assert_true(str_parse_u64("18446744073709551615", &u) && u == UINT64_MAX);
    assert_false(str_parse_u64("18446744073709551616", &u));
    assert_false(str_parse_u64("-1", &u));
    assert_false(str_parse_u64("+1", &u));
    assert_true(str_parse_i64("-9223372036854775808", &s) && s == INT64_MIN);
    assert_true(str_parse_i64("9223372036854775807\n", &s) && s == INT64_MAX);
    assert_false(str_parse_i64("9223372036854775808", &s));
    assert_false(str_parse_i64("- 1", &s));
}

static void parses_doubles(void **state) {
    (void)state;
    double d;
    assert_true(str_parse_double("1.5", &d) && d == 1.5);
    assert_true(str_parse_double("-2e-3\n", &d) && d == -2e-3);
    assert_true(str_parse_double("+.5", &d) && d == 0.5);
    assert_true(str_parse_double("5.", &d) && d == 5);
    assert_true(str_parse_double("-0", &d) && d == 0);
    assert_false(str_parse_double("1e999", &d));
    assert_false(str_parse_double("0x1p3", &d));
    assert_false(str_parse_double("-0X1", &d));
}

static void ignores_the_locale(void **state) {
    (void)state;
    double d;
    static const char *const NAMES[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "C"};
    for (size_t i = 0; i < 4 && !setlocale(LC_ALL, NAMES[i]); i++) {
    }
    assert_true(str_parse_double("1.5", &d) && d == 1.5);
    assert_false(str_parse_double("1,5", &d));
    setlocale(LC_ALL, "C");
}

static void *parse_some(void *context) {
    double value = 0;
    *(bool *)context = str_parse_double("2.5", &value) && value == 2.5;
    return NULL;
}

// A meter's thread reads numbers while the gateway's loop does; the thread sanitizer looks on.
static void parses_doubles_in_threads(void **state) {
    pthread_t threads[4];
    bool are_right[4] = {false};
    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, parse_some, &are_right[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(are_right[i]);
    }
}

static void parses_bytes(void **state) {
    (void)state;
    uint64_t n;
    assert_true(str_parse_bytes("512", &n) && n == 512);
    assert_true(str_parse_bytes("64K", &n) && n == 65536);
    assert_true(str_parse_bytes("64k", &n) && n == 65536);
    assert_true(str_parse_bytes("1.5M", &n) && n == 1572864);
    assert_true(str_parse_bytes("2GiB", &n) && n == 2147483648u);
    assert_true(str_parse_bytes("2GB", &n) && n == 2147483648u);
    assert_true(str_parse_bytes("3B", &n) && n == 3);
    assert_true(str_parse_bytes("1T\n", &n) && n == 1099511627776u);
    static const char *const WRONG[] = {"-1", "1iB",       "1KK",  "1Kb", "1 K",  "K",
                                        "1P", "99999999T", "0x10", "1BB", "1e300"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        n = 77;
        if (str_parse_bytes(WRONG[i], &n) || n != 77) {
            fail_msg("'%s' was taken for a size", WRONG[i]);
        }
    }
}

static void parses_seconds(void **state) {
    (void)state;
    double s;
    assert_true(str_parse_seconds("90", &s) && s == 90);
    assert_true(str_parse_seconds("0.5s", &s) && s == 0.5);
    assert_true(str_parse_seconds("5m", &s) && s == 300);
    assert_true(str_parse_seconds("2h\n", &s) && s == 7200);
    assert_false(str_parse_seconds("2d", &s));
    assert_false(str_parse_seconds("5ms", &s));
    assert_false(str_parse_seconds("-5", &s));
    assert_false(str_parse_seconds("1e9", &s));
    assert_false(str_parse_seconds("0x5", &s));
}

static void check_sweep(const char *text, const uint32_t *expected, size_t n_expected) {
    uint32_t values[8] = {0};
    size_t n = 99;
    if (!str_parse_sweep(text, values, 8, &n)) {
        fail_msg("'%s' was refused", text);
    }
    assert_int_equal(n, n_expected);
    assert_memory_equal(values, expected, n * sizeof *expected);
}

static void parses_sweeps(void **state) {
    (void)state;
    check_sweep("16..128", (const uint32_t[]){16, 32, 64, 128}, 4);
    check_sweep("16..100", (const uint32_t[]){16, 32, 64, 100}, 4);
    check_sweep("5..5", (const uint32_t[]){5}, 1);
    check_sweep("256,16,64,16", (const uint32_t[]){16, 64, 256}, 3);
    check_sweep("1..4,3,4", (const uint32_t[]){1, 2, 3, 4}, 4);
    check_sweep("1,2,3,4,5,6,7,8", (const uint32_t[]){1, 2, 3, 4, 5, 6, 7, 8}, 8);
    check_sweep("1073741823", (const uint32_t[]){1073741823}, 1);
    static const char *const WRONG[] = {"",
                                        ",",
                                        "0",
                                        "1,",
                                        ",1",
                                        "1,,2",
                                        "4..1",
                                        "0..4",
                                        "1..",
                                        "..4",
                                        "1...4",
                                        "1..2..4",
                                        "a",
                                        "-1",
                                        "1 ,2",
                                        "1;2",
                                        "1.5",
                                        "1..1000",
                                        "1,2,3,4,5,6,7,8,9",
                                        "4294967295",
                                        "1..1073741824",
                                        "1\n",
                                        "1\n,2",
                                        "99999999999999999999"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        uint32_t values[8];
        size_t n = 99;
        if (str_parse_sweep(WRONG[i], values, 8, &n)) {
            fail_msg("'%s' was taken for a sweep", WRONG[i]);
        }
        assert_int_equal(n, 99);
    }
    size_t n;
    assert_false(str_parse_sweep(NULL, NULL, 0, &n));
    assert_false(str_parse_sweep("1", NULL, 0, &n));
}

static void compares_ends(void **state) {
    (void)state;
    assert_true(str_starts_with("abc", "ab"));
    assert_true(str_starts_with("abc", ""));
    assert_false(str_starts_with("a", "ab"));
    assert_true(str_ends_with("x.gguf", ".gguf"));
    assert_true(str_ends_with("x", ""));
    assert_false(str_ends_with("f", "gguf"));
}

static void copies_and_trims(void **state) {
    (void)state;
    char out[4], text[] = " \t a b \n", empty[] = " \n ";
    assert_true(str_copy(out, sizeof out, "abc"));
    assert_string_equal(out, "abc");
    assert_false(str_copy(out, sizeof out, "abcd"));
    assert_string_equal(out, "abc");
    assert_false(str_copy(out, 1, "abcd"));
    assert_string_equal(out, "");
    assert_string_equal(str_trim(text), "a b");
    assert_string_equal(str_trim(empty), "");
}

static void finds_the_nearest_word(void **state) {
    (void)state;
    static const char *const WORDS[] = {"study", "run", "serve", "report", NULL};
    static const char *const NONE[] = {NULL};
    char long_word[200];
    memset(long_word, 'a', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    assert_string_equal(str_nearest("stduy", WORDS), "study");
    assert_string_equal(str_nearest("reprot", WORDS), "report");
    assert_string_equal(str_nearest("serv", WORDS), "serve");
    assert_null(str_nearest("quantisation", WORDS));
    assert_null(str_nearest(long_word, NONE));
    str_nearest(long_word, WORDS); // longer than its table: must not overrun
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_doubles_in_threads), // the first of all
        cmocka_unit_test(refuses_what_is_no_number),
        cmocka_unit_test(parses_integers),
        cmocka_unit_test(parses_doubles),
        cmocka_unit_test(ignores_the_locale),
        cmocka_unit_test(parses_bytes),
        cmocka_unit_test(parses_seconds),
        cmocka_unit_test(parses_sweeps),
        cmocka_unit_test(compares_ends),
        cmocka_unit_test(copies_and_trims),
        cmocka_unit_test(finds_the_nearest_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
