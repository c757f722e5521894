// The JSON wrapper: bounded depth, no duplicates, getters that name the key, numbers that survive.
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static json_t *parse(const char *text) {
    json_t *value;
    struct wl_err err;
    if (wl_json_parse(text, strlen(text), &value, &err) != WL_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return value;
}

static void expect_refusal(const char *text, size_t len) {
    json_t *value = (json_t *)&value;
    struct wl_err err = {0};
    assert_int_equal(wl_json_parse(text, len, &value, &err), WL_INPUT);
    assert_int_equal(err.status, WL_INPUT);
    assert_null(value);
    assert_true(strlen(err.message) > 5);
}

static void refuses_what_is_no_json(void **state) {
    (void)state;
    static const char *const WRONG[] = {"",
                                        " ",
                                        "{",
                                        "}",
                                        "[1,]",
                                        "{\"a\":1,}",
                                        "{'a':1}",
                                        "{a:1}",
                                        "[1 2]",
                                        "nul",
                                        "NaN",
                                        "Infinity",
                                        "01",
                                        "1e999",
                                        "[1]x",
                                        "\"\x01\"",
                                        "\"\\x\"",
                                        "\"\xff\"",
                                        "\"\\ud800\"",
                                        "\"\\u0000\"",
                                        "{\"a\":1,\"a\":2}",
                                        "99999999999999999999",
                                        "// c\n1"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        expect_refusal(WRONG[i], strlen(WRONG[i]));
    }
    expect_refusal("{}\0", 3);
    expect_refusal("\"a\0b\"", 5);
    expect_refusal("[1, 2]", 3); // the length counts, not the NUL
}

static void takes_any_value(void **state) {
    (void)state;
    static const char *const GOOD[] = {"null", " true ", "-1", "1.5e3", "\"x\"", "[]", "{}"};
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        json_decref(parse(GOOD[i]));
    }
}

static void limits_the_depth(void **state) {
    (void)state;
    char text[200];
    for (int depth = WL_JSON_MAX_DEPTH; depth <= WL_JSON_MAX_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        if (depth <= WL_JSON_MAX_DEPTH) {
            json_decref(parse(text));
        } else {
            expect_refusal(text, strlen(text));
        }
    }
    json_decref(parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"]")); // not nesting
    json_decref(parse("[\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"]"));
    json_decref(parse("[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],"
                      "[],[],[],[],[],[],[],[],[],[],[],[],[]]")); // wide, not deep
}

// A value takes some hundred bytes of memory and as little as two of text.
static void limits_the_number_of_values(void **state) {
    (void)state;
    struct buf text;
    struct wl_err err;
    json_t *value;
    buf_init(&text, 16 << 20);
    buf_puts(&text, "[\"");
    for (int i = 0; i < WL_JSON_MAX_VALUES + 10; i++) {
        buf_puts(&text, ","); // in a string they are no values
    }
    buf_puts(&text, "\"");
    for (int i = 2; i < WL_JSON_MAX_VALUES; i++) {
        buf_puts(&text, ",0");
    }
    buf_puts(&text, "]");
    assert_int_equal(wl_json_parse(text.data, text.len, &value, &err), WL_OK);
    json_decref(value);
    text.len--;
    buf_puts(&text, ",0]");
    assert_int_equal(wl_json_parse(text.data, text.len, &value, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "1048576"));
    buf_release(&text);
}

static void gets_members(void **state) {
    (void)state;
    json_t *object = parse("{\"i\": -5, \"d\": 1.5, \"b\": true, \"s\": \"x\", \"n\": null}");
    struct wl_err err;
    int64_t i;
    double d;
    bool b;
    const char *s;
    assert_int_equal(wl_json_get_i64(object, "i", &i, &err), WL_OK);
    assert_int_equal(i, -5);
    assert_int_equal(wl_json_get_double(object, "d", &d, &err), WL_OK);
    assert_true(d == 1.5);
    assert_int_equal(wl_json_get_double(object, "i", &d, &err), WL_OK);
    assert_true(d == -5);
    assert_int_equal(wl_json_get_double(object, "n", &d, &err), WL_OK);
    assert_true(isnan(d));
    assert_int_equal(wl_json_get_bool(object, "b", &b, &err), WL_OK);
    assert_true(b);
    assert_int_equal(wl_json_get_string(object, "s", &s, &err), WL_OK);
    assert_string_equal(s, "x");
    json_decref(object);
}

static void names_key_and_types(void **state) {
    (void)state;
    json_t *object =
        parse("{\"i\": 1, \"d\": 1.5, \"b\": true, \"s\": \"x\", \"o\": {}, \"a\": []}");
    struct wl_err err;
    int64_t i = 7;
    double d = 7;
    bool b = true;
    const char *s = "kept";
    assert_int_equal(wl_json_get_i64(object, "d", &i, &err), WL_INPUT);
    assert_string_equal(err.message, "key 'd': expected an integer, found a number");
    assert_int_equal(wl_json_get_double(object, "s", &d, &err), WL_INPUT);
    assert_string_equal(err.message, "key 's': expected a number, found a string");
    assert_int_equal(wl_json_get_bool(object, "i", &b, &err), WL_INPUT);
    assert_string_equal(err.message, "key 'i': expected true or false, found an integer");
    assert_int_equal(wl_json_get_string(object, "o", &s, &err), WL_INPUT);
    assert_string_equal(err.message, "key 'o': expected a string, found an object");
    assert_int_equal(wl_json_get_i64(object, "gone", &i, &err), WL_INPUT);
    assert_string_equal(err.message, "key 'gone' is missing (expected an integer)");
    assert_int_equal(wl_json_get_i64(NULL, "x", &i, &err), WL_INPUT);
    assert_int_equal(wl_json_get_i64(json_object_get(object, "a"), "x", &i, NULL), WL_INPUT);
    assert_true(i == 7 && d == 7 && b && strcmp(s, "kept") == 0);
    json_decref(object);
}

static void falls_back(void **state) {
    (void)state;
    json_t *object = parse("{\"i\": 1, \"d\": 1.5, \"b\": false, \"s\": \"x\", \"n\": null}");
    assert_int_equal(wl_json_opt_i64(object, "i", 9), 1);
    assert_int_equal(wl_json_opt_i64(object, "d", 9), 9);
    assert_true(wl_json_opt_double(object, "i", 9) == 1);
    assert_true(wl_json_opt_double(object, "n", 9) == 9);
    assert_false(wl_json_opt_bool(object, "b", true));
    assert_true(wl_json_opt_bool(object, "i", true));
    assert_string_equal(wl_json_opt_string(object, "s", "y"), "x");
    assert_string_equal(wl_json_opt_string(object, "n", "y"), "y");
    assert_null(wl_json_opt_string(NULL, "n", NULL));
    json_decref(object);
}

static void keeps_numbers(void **state) {
    (void)state;
    static const double VALUES[] = {0.1, 1.0 / 3, -1e-300, DBL_MAX, DBL_MIN, 5e-324, 123456789.125};
    struct buf buf;
    buf_init(&buf, 1000);
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        json_t *out = wl_json_real(VALUES[i]);
        buf_clear(&buf);
        assert_true(wl_json_write(&buf, out));
        json_t *back = parse(buf_text(&buf));
        assert_true(json_is_real(back) && json_real_value(back) == VALUES[i]);
        json_decref(out);
        json_decref(back);
    }
    static const double NONE[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        json_t *out = wl_json_real(NONE[i]);
        assert_true(json_is_null(out));
        json_decref(out);
    }
    buf_release(&buf);
}

static void writes_within_the_limit(void **state) {
    (void)state;
    json_t *object = parse("{\"b\": [1, 2.5], \"a\": \"\xc3\xa9\"}");
    struct buf buf;
    buf_init(&buf, 100);
    assert_true(wl_json_write(&buf, object));
    assert_string_equal(buf_text(&buf), "{\"b\":[1,2.5],\"a\":\"\xc3\xa9\"}");
    buf_clear(&buf);
    assert_true(wl_json_write_pretty(&buf, object));
    assert_non_null(strchr(buf_text(&buf), '\n'));
    buf_release(&buf);
    buf_init(&buf, 10);
    assert_false(wl_json_write(&buf, object));
    buf_release(&buf);
    json_decref(object);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_no_json),
        cmocka_unit_test(takes_any_value),
        cmocka_unit_test(limits_the_depth),
        cmocka_unit_test(limits_the_number_of_values),
        cmocka_unit_test(gets_members),
        cmocka_unit_test(names_key_and_types),
        cmocka_unit_test(falls_back),
        cmocka_unit_test(keeps_numbers),
        cmocka_unit_test(writes_within_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
