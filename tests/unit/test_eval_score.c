// What counts as right: each scorer with what models really answer, and answers that are none.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/number.h"
#include "eval/plain.h"
#include "eval/score.h"

static bool scores(enum score_method method, const char *answer, const char *reference) {
    struct score_rule rule = {.method = method};
    return score_answer(&rule, answer, &reference, 1);
}

static void test_names(void **state) {
    (void)state;
    enum score_method method;
    struct wl_err err;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(
            score_method_by_name(score_method_name((enum score_method)i), &method, &err), WL_OK);
        assert_int_equal(method, i);
    }
    assert_int_equal(score_method_by_name("normalized", &method, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "did you mean 'normalised'"));
    assert_string_equal(score_defect_name(SCORE_LOOPING), "looping");
}

static void test_exact(void **state) {
    (void)state;
    assert_true(scores(SCORE_EXACT, "Pump 7", "Pump 7"));
    assert_false(scores(SCORE_EXACT, "pump 7", "Pump 7"));
    assert_false(scores(SCORE_EXACT, "Pump 7\n", "Pump 7"));
    static const char *const TWO[] = {"a", "b"};
    assert_true(score_answer(&(struct score_rule){.method = SCORE_EXACT}, "b", TWO, 2));
}

static void expect_plain(const char *text, const char *expected) {
    char *plain = plain_normalise(text);
    assert_string_equal(plain, expected);
    free(plain);
}

static void test_normalisation(void **state) {
    (void)state;
    expect_plain("  The  pump\t7 is\nRUNNING. ", "pump 7 is running");
    expect_plain("**\"An open valve\"**", "open valve");
    expect_plain("\u201cIt\u2019s\u00a0on\u201d\u2026", "it's on");
    expect_plain("90 %", "90%");
    expect_plain("\u2212.5 bar", "-.5 bar");
    expect_plain(".5", ".5");
    expect_plain("...done", "done");
    expect_plain("The", "the");
    expect_plain("theatre", "theatre");
    expect_plain("a", "a");
    expect_plain("the a b", "a b");
    expect_plain("\u00c4rger \u00c4", "\u00c4rger \u00c4"); // only ASCII letters are folded
    expect_plain("", "");
    expect_plain(" . ", "");
    expect_plain("x,y!", "x,y");
}

static void test_normalised(void **state) {
    (void)state;
    assert_true(scores(SCORE_NORMALISED, " pump 7 is Running", "Pump 7 is running."));
    assert_true(scores(SCORE_NORMALISED, "45%", "45 %"));
    assert_false(scores(SCORE_NORMALISED, "pump 7 is not running", "pump 7 is running"));
    assert_false(scores(SCORE_NORMALISED, "", "pump"));
    assert_false(scores(SCORE_NORMALISED, "-5", "5"));
}

static void test_contains(void **state) {
    (void)state;
    assert_true(scores(SCORE_CONTAINS, "I think pump 7 is running now.", "Pump 7"));
    assert_true(scores(SCORE_CONTAINS, "It is red, not green", "red"));
    assert_false(scores(SCORE_CONTAINS, "It was cancelled and reddish", "red"));
    assert_false(scores(SCORE_CONTAINS, "hundred", "red"));
    assert_false(scores(SCORE_CONTAINS, "pump 71", "pump 7"));
    assert_true(scores(SCORE_CONTAINS, "pump-7 is it", "7"));
    assert_true(scores(SCORE_CONTAINS, "pump 7.", "7"));
    assert_true(scores(SCORE_CONTAINS, "pumps 5, 7, 9", "7"));
    assert_false(scores(SCORE_CONTAINS, "at 1.7 bar", "7"));
    assert_false(scores(SCORE_CONTAINS, "at 7.5 bar", "7"));
    assert_false(scores(SCORE_CONTAINS, "it is -7 now", "7"));
    assert_true(scores(SCORE_CONTAINS, "it is -7 now", "-7"));
    assert_true(scores(SCORE_CONTAINS, "costs \u20ac7", "7"));
    assert_true(scores(SCORE_CONTAINS, "about 45 % full", "45%"));
    assert_false(scores(SCORE_CONTAINS, "\u00fcber", "ber"));
    assert_true(scores(SCORE_CONTAINS, "7\u00d77", "7"));
    assert_true(scores(SCORE_CONTAINS, "\u6e29\u5ea6\u662f7\u5ea6", "\u6e29\u5ea6"));
    assert_false(scores(SCORE_CONTAINS, "", "7"));
}

static double number_of(const char *text) {
    double value = NAN;
    return number_first(text, &value) ? value : (double)NAN;
}

static void test_numbers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } ROWS[] = {
        {"45", 45},
        {"The pressure is 45.5 bar.", 45.5},
        {"45%", 45},
        {"45 kW", 45},
        {"45kW", 45},
        {"-3", -3},
        {"\u22123 \u00b0C", -3},
        {"it is +3", 3},
        {"(-3)", -3},
        {"- 3", 3}, // the dash of a list
        {"--3", 3},
        {"pump-7", 7},
        {"5-3", 5},
        {".5", 0.5},
        {"-.5", -0.5},
        {"1,234", 1234},
        {"1,234,567.8", 1234567.8},
        {"1,234.5", 1234.5},
        {"1.234,5", 1234.5},
        {"1.234", 1.234},
        {"1.234.567", 1234567},
        {"12,34", 12.34},
        {"0,125", 0.125},
        {"3,5", 3.5},
        {"3, 5", 3},
        {"3,5,7", 3},
        {"3.5,7.2", 3.5},
        {"1.2.3", 1.2},
        {"2024-05-01", 2024},
        {"7.", 7},
        {"7, then", 7},
        {"1.5e3", 1500},
        {"2E-1", 0.2},
        {"2eggs", 2},
        {"CO2 is at 400 ppm", 400},
        {"P7: 12", 12},
        {"v1.5 shows 9", 9},
        {"about \u20ac5", 5},
        {"Three", 3},
        {"there are twelve of them", 12},
        {"Twenty", 20},
        {"twenty-one", 21},
        {"forty two", 42},
        {"minus three", -3},
        {"minus 3.5", -3.5},
        {"negative", NAN},
        {"two hundred", NAN},
        {"three point five", NAN},
        {"often", NAN},
        {"someone", NAN},
        {"", NAN},
        {"no number", NAN},
        {"zero", 0},
        {"1e999", NAN},
        {"111111111111111111111111111111111111111111111111111111111111", NAN},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        double found = number_of(ROWS[i].text), wanted = ROWS[i].value;
        if (!(found == wanted || (isnan(found) && isnan(wanted)))) {
            fail_msg("'%s': found %.17g, expected %.17g", ROWS[i].text, found, wanted);
        }
    }
}

static void test_number_scorer(void **state) {
    (void)state;
    struct score_rule rule = {.method = SCORE_NUMBER};
    static const char *const REFERENCES[] = {"3 bar", "-20"};
    assert_true(score_answer(&rule, "3.0", REFERENCES, 2));
    assert_true(score_answer(&rule, "It is three bar.", REFERENCES, 2));
    assert_true(score_answer(&rule, "\u221220", REFERENCES, 2));
    assert_false(score_answer(&rule, "3.1", REFERENCES, 2));
    assert_false(score_answer(&rule, "no idea", REFERENCES, 2));
    rule.tolerance = 0.1;
    assert_true(score_answer(&rule, "3.1", REFERENCES, 2)); // although 3.1 - 3 > 0.1 in binary
    assert_false(score_answer(&rule, "3.11", REFERENCES, 2));
    rule.tolerance_rel = 0.1; // the larger of the two counts: 2 of -20
    assert_true(score_answer(&rule, "-22", REFERENCES, 2));
    assert_false(score_answer(&rule, "-22.1", REFERENCES, 2));
    assert_false(score_answer(&rule, "22", REFERENCES, 2));
}

static void test_references(void **state) {
    (void)state;
    struct wl_err err;
    struct score_rule rule = {.method = SCORE_NUMBER};
    assert_int_equal(score_check_reference(&rule, "twelve", &err), WL_OK);
    assert_int_equal(score_check_reference(&rule, "a lot", &err), WL_INPUT);
    rule.method = SCORE_CONTAINS;
    assert_int_equal(score_check_reference(&rule, "...", &err), WL_INPUT);
    assert_int_equal(score_check_reference(&rule, "on", &err), WL_OK);
    rule.method = SCORE_EXACT;
    assert_int_equal(score_check_reference(&rule, "...", &err), WL_OK);
    assert_int_equal(score_check_reference(&rule, "", &err), WL_INPUT);
}

static void test_empty(void **state) {
    (void)state;
    assert_int_equal(score_defect("", false), SCORE_EMPTY);
    assert_int_equal(score_defect(" \n\t\u00a0\u3000", true), SCORE_EMPTY);
    assert_int_equal(score_defect(".", false), SCORE_FINE);
}

static void test_looping(void **state) {
    (void)state;
    assert_int_equal(score_defect("go go go go", true), SCORE_LOOPING);
    assert_int_equal(score_defect("go go go go", false), SCORE_FINE); // it ended by itself
    assert_int_equal(score_defect("go go go", true), SCORE_FINE);
    assert_int_equal(score_defect("go go go g", true), SCORE_FINE);
    assert_int_equal(score_defect("well go go go go g", true), SCORE_LOOPING);
    assert_int_equal(score_defect("so: is on. it is on. it is on. it is on. it is on.", true),
                     SCORE_LOOPING);
    assert_int_equal(score_defect("it is on. it is on. it is on. it is on. it is o", true),
                     SCORE_LOOPING);
    assert_int_equal(score_defect("go go go go stop", true), SCORE_FINE);
    assert_int_equal(score_defect("one two three four five", true), SCORE_FINE);
}

// 32 words four times is a loop, 33 words are not looked at.
static void test_longest_loop(void **state) {
    (void)state;
    for (int period = 32; period <= 33; period++) {
        char text[4096] = "";
        size_t used = 0;
        for (int i = 0; i < 4 * period; i++) {
            used += (size_t)snprintf(text + used, sizeof text - used, "w%d ", i % period);
        }
        assert_int_equal(score_defect(text, true), period == 32 ? SCORE_LOOPING : SCORE_FINE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),         cmocka_unit_test(test_exact),
        cmocka_unit_test(test_normalisation), cmocka_unit_test(test_normalised),
        cmocka_unit_test(test_contains),      cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_number_scorer), cmocka_unit_test(test_references),
        cmocka_unit_test(test_empty),         cmocka_unit_test(test_looping),
        cmocka_unit_test(test_longest_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
