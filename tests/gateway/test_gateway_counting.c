// Counting by model servers that are made of fixed answers, and counts that are given up.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "counting_bench.h"

// ---- stubs ----

static void test_a_llama_server(void **state) {
    struct bench b;
    (void)state;
    open_stub(&b, STUB_LLAMA);
    assert_true(counting_can(b.counting, "any"));
    expect_count(&b, OPENAI_CHAT, CHAT("\"hello\""), 42);
    assert_string_equal(b.stub.last_path, "/v1/chat/completions/input_tokens");
    assert_string_equal(b.stub.last_body, CHAT("\"hello\""));
    expect_count(&b, OPENAI_COMPLETION, "{\"prompt\":\"one\"}", 5);
    assert_non_null(strstr(b.stub.last_body, "\"add_special\":true"));
    assert_non_null(strstr(b.stub.last_body, "\"content\":\"one\""));
    int n = b.stub.n_requests;
    expect_count(&b, OPENAI_COMPLETION, "{\"prompt\":[\"one\",\"two\",\"three\"]}", 15);
    assert_in_range(b.stub.n_requests - n, 3, 4);                           // and perhaps a look
    expect_count(&b, OPENAI_COMPLETION, "{\"prompt\":[7,8,\"three\"]}", 5); // one prompt
    n = b.stub.n_requests;
    expect_count(&b, OPENAI_EMBEDDING, "{\"input\":[1,2,3]}", 3);
    expect_count(&b, OPENAI_EMBEDDING, "{\"input\":[[1,2,3],[4]]}", 4);
    assert_in_range(b.stub.n_requests - n, 0, 1); // tokens count themselves
    expect_count(&b, OPENAI_EMBEDDING, "{\"input\":[\"a\",[1,2]]}", 7);
    expect_no(&b, OPENAI_COMPLETION, "{\"prompt\":{\"x\":1}}", WL_UNSUPPORTED, "only texts");
    expect_no(&b, OPENAI_COMPLETION, "{\"prompt\":[\"a\",{}]}", WL_UNSUPPORTED, "only texts");
    close_bench(&b);
}

static void test_a_request_without_its_text(void **state) {
    struct bench b;
    struct count_call *call;
    struct wl_err err;
    (void)state;
    open_stub(&b, STUB_LLAMA);
    struct openai_request request = parse(OPENAI_CHAT, CHAT("\"hello\""));
    assert_int_equal(count_start(b.counting, &request, NULL, 0, on_done, &b, &call, &err), WL_OK);
    assert_true(loop_until(&b.loop, &b.is_done));
    assert_int_equal(b.n_tokens, 42);
    assert_non_null(strstr(b.stub.last_body, "\"hello\""));
    openai_request_release(&request);
    close_bench(&b);
}

static void test_a_vllm(void **state) {
    static struct stub_answer newer[8];
    struct bench b;
    (void)state;
    open_stub(&b, STUB_VLLM);
    expect_count(&b, OPENAI_CHAT,
                 "{\"model\":\"qwen\",\"max_tokens\":5,\"tools\":[],\"messages\":[{\"role\":"
                 "\"user\",\"content\":\"x\"}]}",
                 17);
    assert_string_equal(b.stub.last_path, "/tokenize");
    assert_non_null(strstr(b.stub.last_body, "\"messages\""));
    assert_non_null(strstr(b.stub.last_body, "\"model\":\"qwen\""));
    assert_null(strstr(b.stub.last_body, "max_tokens"));
    expect_count(&b, OPENAI_COMPLETION, "{\"prompt\":[\"a\",\"b\"],\"model\":\"qwen\"}", 34);
    assert_non_null(strstr(b.stub.last_body, "\"prompt\":\"b\""));
    expect_no(&b, OPENAI_CHAT, CHAT("[" PICTURE "]"), WL_UNSUPPORTED, "0.17");
    close_bench(&b);
    memcpy(newer, STUB_VLLM, sizeof STUB_VLLM);
    for (int i = 0; newer[i].path; i++) {
        if (strcmp(newer[i].path, "/version") == 0) {
            newer[i].body = "{\"version\":\"0.17.1rc2\"}";
        }
    }
    open_stub(&b, newer);
    expect_count(&b, OPENAI_CHAT, CHAT("[" PICTURE "]"), 17);
    close_bench(&b);
}

// What a server says instead of a number.
static void test_refusals(void **state) {
    static const struct {
        unsigned http;
        const char *body;
        enum wl_status status;
        const char *words;
    } CASES[] = {
        {400, "{\"error\":{\"message\":\"no such role\"}}", WL_INPUT, "no such role"},
        {500, "{\"error\":{\"message\":\"roles must alternate\"}}", WL_INPUT, "alternate"},
        {404, "{\"error\":{\"message\":\"File Not Found\"}}", WL_UNSUPPORTED, "does not count"},
        {404, "{\"error\":{\"message\":\"no such model\"}}", WL_INPUT, "no such model"},
        {401, "{\"error\":{\"message\":\"Invalid API Key\"}}", WL_IO, "Invalid API Key"},
        {503, "{\"error\":{\"message\":\"Loading model\"}}", WL_IO, "Loading model"},
        {200, "{\"input_tokens\":-4}", WL_IO, "no number"},
        {200, "{\"input_tokens\":99999999999999}", WL_IO, "no number"},
        {200, "{\"input_tokens\":\"7\"}", WL_IO, "no number"},
        {200, "", WL_IO, "no number"},
        {200, "[[[", WL_IO, "no number"}};
    static struct stub_answer answers[8];
    struct bench b;
    (void)state;
    memcpy(answers, STUB_LLAMA, sizeof STUB_LLAMA);
    open_stub(&b, answers);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        answers[5].status = CASES[i].http;
        answers[5].body = CASES[i].body;
        assert_string_equal(answers[5].path, "/v1/chat/completions/input_tokens");
        expect_no(&b, OPENAI_CHAT, CHAT("\"x\""), CASES[i].status, CASES[i].words);
        assert_int_equal(b.http_status, CASES[i].http);
    }
    close_bench(&b);
}

static void test_a_server_that_is_gone(void **state) {
    struct bench b;
    struct upstream_facts facts;
    (void)state;
    open_stub(&b, STUB_LLAMA);
    http_server_close(b.stub.server);
    b.stub.server = NULL;
    loop_run_for(&b.loop, 20);
    expect_no(&b, OPENAI_CHAT, CHAT("\"x\""), WL_IO, "does not say");
    loop_run_for(&b.loop, 50); // it was suspected
    upstream_facts(b.upstream, &facts);
    assert_int_equal(facts.health, UPSTREAM_DOWN);
    assert_false(counting_can(b.counting, "any"));
    expect_no(&b, OPENAI_CHAT, CHAT("\"x\""), WL_UNSUPPORTED, "not up");
    close_bench(&b);
}

static void test_a_server_that_cannot_count(void **state) {
    struct bench b;
    (void)state;
    open_stub(&b, STUB_OTHER);
    assert_false(counting_can(b.counting, "any"));
    expect_no(&b, OPENAI_CHAT, CHAT("\"x\""), WL_UNSUPPORTED, "no way to ask");
    close_bench(&b);
}

// ---- cancelling ----

static void test_cancelling_at_a_server(void **state) {
    struct bench b;
    (void)state;
    count_cancel(NULL);
    open_stub(&b, STUB_LLAMA);
    b.stub.is_silent = true;
    cancel_after(&b, CHAT("\"x\""), -1);
    cancel_after(&b, CHAT("\"x\""), 1);
    cancel_after(&b, CHAT("\"x\""), 30);
    assert_int_equal(b.n_done, 0);
    b.stub.is_silent = false;
    for (int i = 0; i < 10; i++) {
        cancel_after(&b, CHAT("\"x\""), i / 3);
    }
    expect_count(&b, OPENAI_CHAT, CHAT("\"x\""), 42);
    close_bench(&b);
    open_stub(&b, STUB_OTHER); // the end that comes later
    cancel_after(&b, CHAT("\"x\""), -1);
    assert_int_equal(b.n_done, 0);
    close_bench(&b);
}

static void test_closing_with_counts_under_way(void **state) {
    struct bench b;
    struct count_call *call;
    struct wl_err err;
    (void)state;
    open_stub(&b, STUB_LLAMA);
    b.stub.is_silent = true;
    struct openai_request request = parse(OPENAI_CHAT, CHAT("\"x\""));
    for (int i = 0; i < 5; i++) {
        assert_int_equal(count_start(b.counting, &request, NULL, 0, on_done, &b, &call, &err),
                         WL_OK);
    }
    loop_run_for(&b.loop, 20);
    close_bench(&b);
    assert_int_equal(b.n_done, 0);
    openai_request_release(&request);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_llama_server),
        cmocka_unit_test(test_a_request_without_its_text),
        cmocka_unit_test(test_a_vllm),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_server_that_is_gone),
        cmocka_unit_test(test_a_server_that_cannot_count),
        cmocka_unit_test(test_cancelling_at_a_server),
        cmocka_unit_test(test_closing_with_counts_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
