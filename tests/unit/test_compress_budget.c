// The written forms of a budget, and what is none.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compress/budget.h"

static void test_forms(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum allocate_budget kind;
        double budget;
        const char *said;
    } CASES[] = {
        {"0.5", ALLOCATE_WEIGHTS, 0.5, "50.0 % of the block weights"},
        {"50%", ALLOCATE_WEIGHTS, 0.5, "50.0 % of the block weights"},
        {"1", ALLOCATE_WEIGHTS, 1, "100 % of the block weights"},
        {"12.5%", ALLOCATE_WEIGHTS, 0.125, NULL},
        {"600MB", ALLOCATE_BYTES, 600 * 1048576.0, "600 MiB"},
        {"1.2GB", ALLOCATE_BYTES, 1.2 * 1073741824.0, NULL},
        {"1.2GiB", ALLOCATE_BYTES, 1.2 * 1073741824.0, NULL},
        {"512m", ALLOCATE_BYTES, 512 * 1048576.0, NULL},
        {"20tok/s", ALLOCATE_DECODE, 20, "20.0 tok/s"},
        {"100ptok/s", ALLOCATE_PROMPT, 100, "100 ptok/s"},
        {"1.5J", ALLOCATE_JOULES, 1.5, "1.50 J"},
        {"800mJ", ALLOCATE_JOULES, 0.8, "800 mJ"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        enum allocate_budget kind = ALLOCATE_JOULES;
        double budget = -1;
        char text[BUDGET_TEXT_BYTES];
        assert_int_equal(budget_parse(CASES[i].text, &kind, &budget, NULL), WL_OK);
        assert_int_equal(kind, CASES[i].kind);
        assert_true(fabs(budget / CASES[i].budget - 1) < 1e-8);
        if (CASES[i].said) {
            assert_string_equal(budget_text(text, kind, budget), CASES[i].said);
        }
    }
}

static void test_refused(void **state) {
    (void)state;
    static const char *const CASES[] = {"",      "0",      "0%",      "-0.5",   "1.5",  "101%",
                                        "nan",   "inf",    "tok/s",   "0tok/s", "J",    "-1J",
                                        "0MB",   "600",    "600 MB ", "MB",     "5tok", "half",
                                        "1e20J", "0.5\n%", "1GB/s",   "ptok/s", "%",    "0x10J"};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        enum allocate_budget kind = ALLOCATE_JOULES;
        double budget = -1;
        struct wl_err err = {0};
        assert_int_equal(budget_parse(CASES[i], &kind, &budget, &err), WL_USAGE);
        assert_true(kind == ALLOCATE_JOULES && budget == -1);
        assert_non_null(strstr(err.message, "tok/s"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
