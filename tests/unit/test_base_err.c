// Messages: cut, harmless on a terminal, always valid UTF-8 (they go into JSON), and the statuses'
// table.
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static const enum wl_status ALL[] = {
#define X(suffix, exit_code, http_code, name) WL_##suffix,
    WL_STATUS_LIST(X)
#undef X
};
enum { N_STATUS = sizeof ALL / sizeof ALL[0] };

static void has_a_consistent_table(void **state) {
    (void)state;
    for (size_t i = 0; i < N_STATUS; i++) {
        int code = wl_status_exit_code(ALL[i]);
        assert_true((code >= 0 && code <= 4) || code == 130);
        assert_in_range(wl_status_http_code(ALL[i]), 200, 599);
        assert_true((ALL[i] == WL_OK) == (code == 0));
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(wl_status_name(ALL[i]), wl_status_name(ALL[j]));
        }
    }
    assert_int_equal(WL_OK, 0);
    assert_string_equal(wl_status_name((enum wl_status)N_STATUS), "unknown");
    assert_int_equal(wl_status_exit_code((enum wl_status)999), 1);
    assert_int_equal(wl_status_http_code((enum wl_status) - 1), 500);
}

static void sets_and_prefixes(void **state) {
    (void)state;
    struct wl_err err;
    assert_int_equal(wl_err_set(&err, WL_INPUT, "line %d", 3), WL_INPUT);
    assert_int_equal(err.status, WL_INPUT);
    assert_int_equal(wl_err_prefix(&err, "file '%s'", "x"), WL_INPUT);
    assert_string_equal(err.message, "file 'x': line 3");
    assert_int_equal(wl_err_set(&err, WL_LIMIT, "again: %s", err.message), WL_LIMIT);
    assert_string_equal(err.message, "again: file 'x': line 3");
    assert_int_equal(wl_err_set(NULL, WL_LIMIT, "x"), WL_LIMIT);
    assert_int_equal(wl_err_prefix(NULL, "x"), WL_FAILED);
}

static void follows_errno(void **state) {
    (void)state;
    struct wl_err err;
    assert_int_equal(wl_err_errno(&err, ENOENT, "cannot open '%s'", "x"), WL_NOT_FOUND);
    assert_string_equal(err.message, "cannot open 'x': No such file or directory");
    assert_int_equal(wl_err_errno(&err, EACCES, "x"), WL_PERMISSION);
    assert_int_equal(wl_err_errno(&err, EPERM, "x"), WL_PERMISSION);
    assert_int_equal(wl_err_errno(&err, ENOMEM, "x"), WL_MEMORY);
    assert_int_equal(wl_err_errno(&err, EINTR, "x"), WL_INTERRUPTED);
    assert_int_equal(wl_err_errno(&err, EIO, "x"), WL_IO);
    assert_int_equal(err.status, WL_IO);
    assert_int_equal(wl_err_errno(NULL, EIO, "x"), WL_IO);
}

static void disarms_control_characters(void **state) {
    (void)state;
    struct wl_err err;
    wl_err_set(&err, WL_INPUT, "%s", "a\x1b[2J\rb\x7f\x07\tc\nd");
    assert_string_equal(err.message, "a?[2J?b??\tc\nd");
    wl_err_set(&err, WL_INPUT, "%s",
               "a\xc2\x9b"
               "31mb"); // CSI in one character
    assert_string_equal(err.message, "a??31mb");
    wl_err_set(&err, WL_INPUT, "%s", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_string_equal(err.message, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
}

static void assert_is_utf8(const char *text) {
    json_t *value = json_string(text); // jansson refuses anything else
    assert_non_null(value);
    json_decref(value);
}

static void is_always_utf8(void **state) {
    (void)state;
    static const char *const WRONG[] = {"\xff",
                                        "\xc3",
                                        "\xc3(",
                                        "\x80",
                                        "\xe2\x82",
                                        "\xed\xa0\x80",
                                        "\xf4\x90\x80\x80",
                                        "\xc0\xaf",
                                        "\xe0\x80\xaf",
                                        "caf\xe9!"};
    struct wl_err err;
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        wl_err_set(&err, WL_INPUT, "<%s>", WRONG[i]);
        assert_is_utf8(err.message);
        assert_int_equal(err.message[strlen(err.message) - 1], '>');
    }
    wl_err_set(&err, WL_INPUT, "caf\xe9!");
    assert_string_equal(err.message, "caf?!");
}

static void cuts_between_characters(void **state) {
    (void)state;
    char text[3001];
    struct wl_err err;
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'x', sizeof text);
        for (size_t i = shift; i + 3 < sizeof text; i += 3) {
            memcpy(text + i, "\xe2\x82\xac", 3);
        }
        text[sizeof text - 1] = '\0';
        wl_err_set(&err, WL_INPUT, "%s", text);
        assert_is_utf8(err.message);
        assert_in_range(strlen(err.message), WL_ERR_MESSAGE_BYTES - 4, WL_ERR_MESSAGE_BYTES - 1);
        wl_err_prefix(&err, "%s", text);
        assert_is_utf8(err.message);
        wl_err_errno(&err, EIO, "%s", text);
        assert_is_utf8(err.message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_a_consistent_table), cmocka_unit_test(sets_and_prefixes),
        cmocka_unit_test(follows_errno),          cmocka_unit_test(disarms_control_characters),
        cmocka_unit_test(is_always_utf8),         cmocka_unit_test(cuts_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
