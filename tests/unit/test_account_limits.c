// Limits of one request: read, and the least of several.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "account/limits.h"

static void the_least_counts(void **state) {
    (void)state;
    struct request_limits a, b;
    limits_none(&a);
    limits_none(&b);
    limits_tighten(&a, &b);
    assert_int_equal(a.input_tokens, LIMITS_NONE);
    assert_false(limits_stop_answers(&a));
    b = (struct request_limits){100, 50, 10, 200};
    limits_tighten(&a, &b);
    assert_int_equal(a.input_tokens, 100);
    assert_int_equal(a.output_tokens, 50);
    b = (struct request_limits){200, 5, 20, 20};
    limits_tighten(&a, &b);
    assert_int_equal(a.input_tokens, 100);
    assert_int_equal(a.output_tokens, 5);
    assert_true(a.seconds == 10 && a.joules == 20);
    limits_none(&b);
    limits_tighten(&a, &b);
    assert_int_equal(a.output_tokens, 5);
    assert_true(limits_stop_answers(&a));
}

static void fields_are_read_one_by_one(void **state) {
    (void)state;
    struct request_limits limits;
    limits_none(&limits);
    json_t *object = json_pack("{s:i, s:f}", "output_tokens", 9, "joules", 2.5);
    assert_int_equal(limits_read(object, &limits, NULL), WL_OK);
    json_decref(object);
    assert_int_equal(limits.output_tokens, 9);
    assert_int_equal(limits.input_tokens, LIMITS_NONE);
    assert_true(limits.joules == 2.5 && isinf(limits.seconds));
}

static void what_is_no_limit_is_refused(void **state) {
    (void)state;
    static const char *const TEXTS[] = {"{\"input_tokens\":0}",    "{\"output_tokens\":-1}",
                                        "{\"output_tokens\":1.5}", "{\"output_tokens\":\"9\"}",
                                        "{\"seconds\":0}",         "{\"joules\":-2}",
                                        "{\"joules\":true}",       "{\"input_tokens\":3000000000}"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        struct request_limits limits;
        struct wl_err err = {0};
        limits_none(&limits);
        json_t *object = json_loads(TEXTS[i], 0, NULL);
        assert_int_equal(limits_read(object, &limits, &err), WL_INPUT);
        assert_non_null(strstr(err.message, "field '"));
        assert_int_equal(limits.output_tokens, LIMITS_NONE);
        json_decref(object);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_counts),
        cmocka_unit_test(fields_are_read_one_by_one),
        cmocka_unit_test(what_is_no_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
