// Errors in OpenAI's form: always JSON that clients can show.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "openai/fault.h"

static json_t *written(int http_status, const struct openai_fault *fault) {
    struct buf out;
    json_t *value;
    buf_init(&out, 8192);
    openai_fault_write(&out, http_status, fault);
    assert_int_equal(wl_json_parse(buf_text(&out), out.len, &value, NULL), WL_OK);
    assert_int_equal(json_object_size(value), 1);
    buf_release(&out);
    return value;
}

static const char *text_of(const json_t *whole, const char *key) {
    const json_t *value = json_object_get(json_object_get(whole, "error"), key);
    return json_is_null(value) ? "null" : json_string_value(value);
}

static void test_set_and_write(void **state) {
    (void)state;
    struct openai_fault fault = {0};
    assert_int_equal(openai_fault_set(&fault, WL_LIMIT, "context_length_exceeded", "messages",
                                      "expected %d tokens, found %d", 10, 20),
                     WL_LIMIT);
    assert_int_equal(fault.err.status, WL_LIMIT);
    assert_int_equal(wl_status_http_code(fault.err.status), 413);
    struct buf out;
    buf_init(&out, 8192);
    openai_fault_write(&out, 413, &fault);
    assert_string_equal(buf_text(&out),
                        "{\"error\":{\"message\":\"expected 10 tokens, found "
                        "20\",\"type\":\"invalid_request_error\","
                        "\"param\":\"messages\",\"code\":\"context_length_exceeded\"}}");
    buf_release(&out);
    // The next one leaves nothing of it.
    openai_fault_set(&fault, WL_INPUT, NULL, NULL, "no");
    json_t *value = written(400, &fault);
    assert_string_equal(text_of(value, "message"), "no");
    assert_string_equal(text_of(value, "param"), "null");
    assert_string_equal(text_of(value, "code"), "null");
    json_decref(value);
    assert_int_equal(openai_fault_set(NULL, WL_BUSY, NULL, NULL, "%s", "x"), WL_BUSY);
}

static void test_types(void **state) {
    (void)state;
    static const struct {
        int http_status;
        const char *type;
    } ROWS[] = {
        {400, "invalid_request_error"}, {401, "authentication_error"},
        {402, "invalid_request_error"}, {403, "permission_error"},
        {404, "not_found_error"},       {413, "invalid_request_error"},
        {429, "rate_limit_error"},      {499, "invalid_request_error"},
        {500, "server_error"},          {501, "server_error"},
        {502, "server_error"},          {503, "overloaded_error"},
        {504, "server_error"},          {507, "server_error"},
    };
    struct openai_fault fault = {0};
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        json_t *value = written(ROWS[i].http_status, &fault);
        assert_string_equal(text_of(value, "type"), ROWS[i].type);
        assert_string_equal(text_of(value, "message"), "the request failed");
        json_decref(value);
    }
}

static void test_hostile_text(void **state) {
    (void)state;
    struct openai_fault fault = {0};
    char longest[2000];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    openai_fault_set(&fault, WL_INPUT, "c", longest, "\"\\\n\x1b[2J\xff %s", longest);
    assert_int_equal(strlen(fault.param), OPENAI_PARAM_BYTES - 1);
    json_t *value = written(400, &fault);
    assert_true(strncmp(text_of(value, "message"), "\"\\\n?[2J? aaa", 11) == 0);
    assert_int_equal(strlen(text_of(value, "message")), WL_ERR_MESSAGE_BYTES - 1);
    json_decref(value);
    // Put together by hand.
    memcpy(fault.err.message, "a\xc3", 3);
    memcpy(fault.param, "\xe2\x82\x01\"", 5);
    fault.code = "\xff";
    value = written(400, &fault);
    assert_string_equal(text_of(value, "message"), "a?");
    assert_string_equal(text_of(value, "param"), "??\x01\"");
    assert_string_equal(text_of(value, "code"), "?");
    json_decref(value);
}

static void test_no_room(void **state) {
    (void)state;
    struct openai_fault fault = {0};
    struct buf out;
    buf_init(&out, 20);
    openai_fault_write(&out, 400, &fault);
    assert_true(out.is_failed);
    buf_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_write),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_hostile_text),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
