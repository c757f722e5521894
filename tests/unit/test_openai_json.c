// JSON read and written quickly: never anything but what the slow way reads and writes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "openai/json_text.h"

// From memory that ends where the text does, so that reading behind it is seen.
static enum wl_status parse_exact(const char *text, size_t n, json_t **out, struct wl_err *err) {
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    enum wl_status status = openai_json_parse(copy, n, out, err);
    free(copy);
    return status;
}

static void expect_same(const char *text, size_t n) {
    json_t *quick, *slow;
    struct wl_err quick_err = {0}, slow_err = {0};
    enum wl_status status = parse_exact(text, n, &quick, &quick_err);
    if (wl_json_parse(text, n, &slow, &slow_err) != status ||
        strcmp(quick_err.message, slow_err.message) != 0 ||
        (status == WL_OK && !json_equal(quick, slow))) {
        fail_msg("'%.200s': found %d '%s', expected %d '%s'", text, (int)status, quick_err.message,
                 (int)slow_err.status, slow_err.message);
    }
    json_decref(quick);
    json_decref(slow);
}

static void test_reads_as_the_slow_way(void **state) {
    (void)state;
    static const char *const TEXTS[] = {
        "{}",
        " [ ] ",
        "\t{\"a\" : 1 ,\r\n\"b\":[true,false,null,\"\"]}\n",
        "\"text\"",
        "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\", \"a\\u00e4\\u20ACb\\ud83d\\ude00c\"]",
        "[\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"]",
        "[0, -0, 12, -7, 999999999999999999, -999999999999999999, 9223372036854775807, "
        "-9223372036854775808]",
        "[0.5, -1.25e10, 1E-3, 1e+2, 0e0, 1.0, 1e300]",
        "{\"a\":{\"b\":{\"c\":[[[]]]}}}",
        "{\"\":1}",
        "{\"k\\u00e4y\\n\":1}",
        // Refused.
        " ",
        "{",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1 \"b\":2}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1}x",
        "[1]]",
        "\"",
        "\"a",
        "\"a\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u0000\"",
        "\"\\ud83d\"",
        "\"\\ud83dx\"",
        "\"\\ud83d\\n\"",
        "\"\\ud83d\\u0041\"",
        "\"\\ud83d\\ue000\"",
        "\"\\ud83d\\ud83d\"",
        "\"\\ude00\"",
        "\"\x01\"",
        "\"a\nb\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xc3\"",
        "\"\xe2\x82",
        "\"\xf0\x9f\x98",
        "\xef\xbb\xbf{}",
        "tru",
        "truex",
        "nul",
        "True",
        "NaN",
        "-",
        "01",
        "-01",
        "1.",
        ".5",
        "1e",
        "+1",
        "1.5.5",
        "1e400",
        "99999999999999999999",
        "0x10",
    };
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        expect_same(TEXTS[i], strlen(TEXTS[i]));
    }
    expect_same("[1]\0", 4);
    expect_same("\"a\0b\"", 5);
}

static void test_nothing(void **state) {
    (void)state;
    json_t *value = (json_t *)&value;
    struct wl_err err = {0};
    assert_int_equal(openai_json_parse("", 0, &value, &err), WL_INPUT);
    assert_null(value);
    assert_string_equal(err.message, "expected JSON, found nothing");
    assert_int_equal(openai_json_parse(NULL, 0, &value, NULL), WL_INPUT);
}

// What needs care at each place among the eight bytes that are looked at together.
static void test_every_place_in_a_word(void **state) {
    (void)state;
    static const char *const CARE[] = {"\\n",    "\xc3\xa4", "\xf0\x9f\x98\x80",
                                       "\x1f",   "\x7f",     "\\ud83d\\ude00",
                                       "\"",     "\xff",     "\xc3",
                                       " !#[]~", "\x80",     "\xe2\x82(",
                                       "\\"};
    for (size_t i = 0; i < sizeof CARE / sizeof CARE[0]; i++) {
        for (int before = 0; before < 20; before++) {
            for (int after = 0; after < 10; after++) {
                char text[128];
                int n = snprintf(text, sizeof text, "[\"%.*s%s%.*s\"]", before,
                                 "aaaaaaaaaaaaaaaaaaaa", CARE[i], after, "zzzzzzzzzz");
                expect_same(text, (size_t)n);
            }
        }
    }
}

static void nest(struct buf *text, int depth) {
    buf_clear(text);
    for (int i = 0; i < depth; i++) {
        buf_puts(text, i % 2 ? "{\"a\":" : "[");
    }
    buf_puts(text, "1");
    for (int i = depth; i-- > 0;) {
        buf_puts(text, i % 2 ? "}" : "]");
    }
}

static void list_of(struct buf *text, size_t n_values) {
    buf_clear(text);
    buf_puts(text, "[0");
    for (size_t i = 2; i < n_values; i++) {
        buf_puts(text, ",0");
    }
    buf_puts(text, "]");
}

static void test_limits(void **state) {
    (void)state;
    struct buf text;
    struct wl_err err;
    json_t *value;
    buf_init(&text, 1 << 24);
    for (int depth = WL_JSON_MAX_DEPTH - 1; depth <= WL_JSON_MAX_DEPTH + 2; depth++) {
        nest(&text, depth);
        expect_same(text.data, text.len);
        bool is_fine = parse_exact(text.data, text.len, &value, &err) == WL_OK;
        assert_int_equal(is_fine, depth <= WL_JSON_MAX_DEPTH);
        json_decref(value);
    }
    for (size_t n = WL_JSON_MAX_VALUES - 1; n <= WL_JSON_MAX_VALUES + 1; n++) {
        list_of(&text, n);
        bool is_fine = parse_exact(text.data, text.len, &value, &err) == WL_OK;
        assert_int_equal(is_fine, n <= WL_JSON_MAX_VALUES);
        assert_int_equal(json_array_size(value), is_fine ? n - 1 : 0);
        json_decref(value);
    }
    // A key of any length.
    for (int n = 120; n < 140; n++) {
        buf_clear(&text);
        buf_printf(&text, "{\"%0*d\":1}", n, 1);
        expect_same(text.data, text.len);
    }
    buf_release(&text);
}

// ---- writing

static void expect_text(const char *text, const char *expected) {
    json_t *value;
    struct buf out;
    assert_int_equal(openai_json_parse(text, strlen(text), &value, NULL), WL_OK);
    buf_init(&out, 4096);
    assert_true(openai_json_write(&out, value));
    assert_string_equal(buf_text(&out), expected);
    json_decref(value);
    buf_release(&out);
}

static void test_writes(void **state) {
    (void)state;
    expect_text(" { \"b\" : [ 1 , -2 ] , \"a\" : { } , \"c\" : [ ] } ",
                "{\"b\":[1,-2],\"a\":{},\"c\":[]}");
    expect_text("[true,false,null,9223372036854775807,-9223372036854775808]",
                "[true,false,null,9223372036854775807,-9223372036854775808]");
    expect_text("\"\\u0001\\u001f\\b\\f\\n\\r\\t\\\"\\\\\\/\x7f\"",
                "\"\\u0001\\u001F\\b\\f\\n\\r\\t\\\"\\\\/\x7f\"");
    expect_text("\"\\u00e4\\ud83d\\ude00\"", "\"\xc3\xa4\xf0\x9f\x98\x80\"");
    expect_text("{\"a\\\"b\":\"\"}", "{\"a\\\"b\":\"\"}");
}

static void test_reals_keep_their_digits(void **state) {
    (void)state;
    expect_text("[0.7,0.1,1.0,-2.5,1e300,0.95]", "[0.7,0.1,1.0,-2.5,1e300,0.95]");
    // No shorter text makes the same number.
    expect_text("1.3679999999999999", "1.3679999999999999");
    expect_text("0.30000000000000004", "0.30000000000000004");
}

static void test_every_byte_is_written(void **state) {
    (void)state;
    for (size_t n = 0; n < 24; n++) {
        for (unsigned c = 1; c < 0x80; c++) {
            char text[32];
            memset(text, 'x', sizeof text);
            text[n] = (char)c;
            json_t *value = json_stringn(text, n + 1 + n % 5), *again;
            struct buf quick, slow;
            buf_init(&quick, 4096);
            buf_init(&slow, 4096);
            assert_true(openai_json_write(&quick, value) && wl_json_write(&slow, value));
            assert_string_equal(buf_text(&quick), buf_text(&slow));
            assert_int_equal(parse_exact(quick.data, quick.len, &again, NULL), WL_OK);
            assert_true(json_equal(value, again));
            json_decref(value);
            json_decref(again);
            buf_release(&quick);
            buf_release(&slow);
        }
    }
}

static void test_no_room(void **state) {
    (void)state;
    static const char TEXT[] = "{\"a\":[1,2.5,\"\\n\",{}],\"b\":null}";
    json_t *value;
    assert_int_equal(openai_json_parse(TEXT, sizeof TEXT - 1, &value, NULL), WL_OK);
    for (size_t max = 0; max <= sizeof TEXT - 1; max++) {
        struct buf out;
        buf_init(&out, max);
        assert_int_equal(openai_json_write(&out, value), max == sizeof TEXT - 1);
        buf_release(&out);
    }
    json_decref(value);
    struct buf out;
    buf_init(&out, 64);
    assert_false(openai_json_write(&out, NULL));
    buf_release(&out);
}

static void test_too_deep_to_write(void **state) {
    (void)state;
    json_t *value = json_null();
    struct buf out;
    buf_init(&out, 4096);
    for (int depth = 1; depth <= 100; depth++) {
        json_t *around = json_array();
        assert_int_equal(json_array_append_new(around, value), 0);
        value = around;
        buf_clear(&out);
        assert_int_equal(openai_json_write(&out, value), depth <= 64);
    }
    json_decref(value);
    buf_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_as_the_slow_way),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_every_place_in_a_word),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_writes),
        cmocka_unit_test(test_reals_keep_their_digits),
        cmocka_unit_test(test_every_byte_is_written),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_too_deep_to_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
