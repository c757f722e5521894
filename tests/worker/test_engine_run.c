// The real engine with a real small model: load, tokenise, run, cancel, limits.
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "drive.h"

enum { SKIPPED = 77 };

static const char MODEL[] = "stories260k-f32.gguf";
static const char *const PASSIVE[] = {"OMP_WAIT_POLICY=passive", NULL};

static struct drive engine;
static json_t *hello;

static json_t *load_request(void) {
    return json_pack("{s:s, s:i}", "path", drive_model(MODEL), "n_ctx", 512);
}

static int start(void **state) {
    (void)state;
    if (!drive_start(&engine, PASSIVE, -1, &hello)) {
        return -1;
    }
    struct drive_answer answer = drive_call(&engine, ENGINE_LOAD, load_request(), 60);
    int result = answer.outcome == DRIVE_RESULT ? 0 : -1;
    drive_answer_release(&answer);
    return result;
}

static int stop(void **state) {
    (void)state;
    json_decref(hello);
    return drive_stop(&engine) == 0 ? 0 : -1;
}

static struct drive_answer run(json_t *request) {
    return drive_call(&engine, ENGINE_RUN, request, 60);
}

static const char *text_of(const struct drive_answer *answer) {
    return wl_json_opt_string(answer->json, "text", "");
}

static int64_t number(const struct drive_answer *answer, const char *key) {
    return wl_json_opt_i64(answer->json, key, -1);
}

static void assert_error(const struct drive_answer *answer, const char *status,
                         const char *mentions) {
    assert_int_equal(answer->outcome, DRIVE_ERROR);
    assert_string_equal(wl_json_opt_string(answer->json, "status", ""), status);
    const char *message = wl_json_opt_string(answer->json, "message", "");
    if (!strstr(message, mentions)) {
        fail_msg("'%s' does not mention '%s'", message, mentions);
    }
}

static void test_hello(void **state) {
    (void)state;
    assert_string_equal(wl_json_opt_string(hello, "engine", ""), "wattlaw-engine");
    assert_string_equal(wl_json_opt_string(hello, "omp_wait_policy", ""), "passive");
    assert_true(strlen(wl_json_opt_string(hello, "llama", "")) > 0);
    assert_true(json_array_size(json_object_get(hello, "backends")) > 0);
    assert_int_equal(json_array_size(json_object_get(hello, "caps")), 4);
}

static void test_describe(void **state) {
    (void)state;
    struct drive_answer answer = drive_call(&engine, ENGINE_DESCRIBE, json_object(), 10);
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    const json_t *model = json_object_get(answer.json, "model");
    assert_string_equal(wl_json_opt_string(model, "arch", ""), "llama");
    assert_int_equal(wl_json_opt_i64(model, "n_params", 0), 260032);
    assert_int_equal(wl_json_opt_i64(model, "n_layer", 0), 5);
    assert_int_equal(wl_json_opt_i64(model, "n_head_kv", 0), 4);
    // Tied, all F32: every weight is read and multiplied once per token.
    assert_int_equal(wl_json_opt_i64(model, "bytes_per_token", 0), 4 * 260032);
    assert_int_equal(wl_json_opt_i64(model, "flops_per_token", 0), 2 * 260032);
    // 5 layers x 4 heads x 8 values x (K and V) x 2 bytes.
    assert_int_equal(wl_json_opt_i64(model, "kv_bytes_per_token", 0), 640);
    assert_false(wl_json_opt_bool(model, "is_synthetic", true));
    drive_answer_release(&answer);
}

static void test_tokenize(void **state) {
    (void)state;
    json_t *request = json_pack("{s:s}", "text", "Once upon a time");
    struct drive_answer with = drive_call(&engine, ENGINE_TOKENIZE, request, 10);
    request = json_pack("{s:s, s:b}", "text", "Once upon a time", "add_special", 0);
    struct drive_answer bare = drive_call(&engine, ENGINE_TOKENIZE, request, 10);
    assert_int_equal(with.outcome, DRIVE_RESULT);
    assert_int_equal(number(&with, "n_tokens"), with.events.n_ids);
    assert_int_equal(with.events.n_ids, bare.events.n_ids + 1); // BOS
    assert_memory_equal(with.events.ids + 1, bare.events.ids, 4 * bare.events.n_ids);
    drive_answer_release(&bare);
    struct drive_answer answer =
        run(json_pack("{s:s, s:i}", "prompt", "Once upon a time", "n_predict", 1));
    assert_int_equal(number(&answer, "n_prompt"), with.events.n_ids);
    drive_answer_release(&answer);
    drive_answer_release(&with);
}

static double share_of_plain_text(const char *text) {
    size_t n_plain = 0;
    for (const char *p = text; *p; p++) {
        n_plain += isalpha((unsigned char)*p) || strchr(" .,'\"!?\n", *p);
    }
    return (double)n_plain / (double)(strlen(text) + !*text);
}

static void test_greedy_text(void **state) {
    (void)state;
    char first[4096] = "";
    for (int i = 0; i < 3; i++) {
        struct drive_answer answer = run(json_pack("{s:s, s:i, s:b}", "prompt", "Once upon a time",
                                                   "n_predict", 120, "stream", 1));
        assert_int_equal(answer.outcome, DRIVE_RESULT);
        assert_true(strlen(text_of(&answer)) > 100);
        assert_true(share_of_plain_text(text_of(&answer)) > 0.97);
        assert_non_null(strstr(text_of(&answer), " was "));
        assert_string_equal(buf_text(&answer.events.text), text_of(&answer));
        assert_int_equal(answer.events.n_tokens, 120);
        if (i == 0) {
            snprintf(first, sizeof first, "%s", text_of(&answer));
        }
        assert_string_equal(text_of(&answer), first);
        drive_answer_release(&answer);
    }
}

static int64_t edge(const json_t *event, const char *key) {
    return wl_json_opt_i64(event, key, -1);
}

// The events tell the same instants as the result, in order.
static void assert_phases(const struct drive_answer *answer, int64_t before_ns, int64_t after_ns) {
    const json_t *phases = json_object_get(answer->json, "phases");
    assert_int_equal(json_array_size(phases), 2);
    assert_int_equal(json_array_size(answer->events.phases), 4);
    const json_t *prefill = json_array_get(phases, 0);
    const json_t *decode = json_array_get(phases, 1);
    assert_string_equal(wl_json_opt_string(prefill, "phase", ""), "prefill");
    assert_string_equal(wl_json_opt_string(decode, "phase", ""), "decode");
    assert_true(before_ns <= edge(prefill, "t0_ns"));
    assert_true(edge(prefill, "t0_ns") < edge(prefill, "t1_ns"));
    assert_int_equal(edge(prefill, "t1_ns"), edge(decode, "t0_ns"));
    assert_int_equal(edge(prefill, "cpu1_ns"), edge(decode, "cpu0_ns"));
    assert_true(edge(decode, "t0_ns") < edge(decode, "t1_ns"));
    assert_true(edge(decode, "t1_ns") <= after_ns);
    assert_true(edge(prefill, "cpu0_ns") < edge(prefill, "cpu1_ns"));
    assert_true(edge(decode, "cpu0_ns") < edge(decode, "cpu1_ns"));
    for (size_t i = 0; i < 4; i++) {
        const json_t *event = json_array_get(answer->events.phases, i);
        const json_t *phase = i < 2 ? prefill : decode;
        assert_string_equal(wl_json_opt_string(event, "edge", ""), i % 2 ? "end" : "begin");
        assert_int_equal(edge(event, "t_ns"), edge(phase, i % 2 ? "t1_ns" : "t0_ns"));
        assert_int_equal(edge(event, "cpu_ns"), edge(phase, i % 2 ? "cpu1_ns" : "cpu0_ns"));
    }
}

static void test_phases(void **state) {
    (void)state;
    int64_t before_ns = os_now_ns();
    struct drive_answer answer = run(json_pack("{s:s, s:i, s:i, s:b}", "prompt", "Once upon a time",
                                               "n_prompt", 64, "n_predict", 40, "token_times", 1));
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    assert_phases(&answer, before_ns, os_now_ns());
    const json_t *phases = json_object_get(answer.json, "phases");
    assert_int_equal(edge(json_array_get(phases, 0), "n_tokens"), 64);
    assert_int_equal(edge(json_array_get(phases, 1), "n_tokens"), 39);
    assert_int_equal(number(&answer, "n_generated"), 40);
    assert_int_equal(answer.events.n_times, 40);
    int64_t last_ns = edge(json_array_get(phases, 0), "t0_ns");
    for (size_t i = 0; i < answer.events.n_times; i++) {
        assert_true(answer.events.times[i] > last_ns);
        last_ns = answer.events.times[i];
    }
    // The first token belongs to the prefill, the last one to the decode.
    assert_true(answer.events.times[0] <= edge(json_array_get(phases, 0), "t1_ns"));
    assert_true(last_ns <= edge(json_array_get(phases, 1), "t1_ns"));
    drive_answer_release(&answer);
}

static void test_exact_prompt_length(void **state) {
    (void)state;
    const int lengths[] = {1, 2, 5, 6, 37, 300, 511};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct drive_answer answer = run(json_pack("{s:s, s:i, s:i}", "prompt", "Once upon a time",
                                                   "n_prompt", lengths[i], "n_predict", 1));
        assert_int_equal(answer.outcome, DRIVE_RESULT);
        assert_int_equal(number(&answer, "n_prompt"), lengths[i]);
        const json_t *phases = json_object_get(answer.json, "phases");
        assert_int_equal(json_array_size(phases), 1); // the one token belongs to the prefill
        assert_int_equal(edge(json_array_get(phases, 0), "n_tokens"), lengths[i]);
        assert_string_equal(wl_json_opt_string(answer.json, "stop", ""), "length");
        drive_answer_release(&answer);
    }
}

static void test_no_generation(void **state) {
    (void)state;
    struct drive_answer answer = run(json_pack("{s:s, s:i}", "prompt", "Once", "n_predict", 0));
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    assert_int_equal(number(&answer, "n_generated"), 0);
    assert_string_equal(text_of(&answer), "");
    drive_answer_release(&answer);
}

static void test_context_limit(void **state) {
    (void)state;
    struct drive_answer answer = run(json_pack("{s:s, s:i, s:i}", "prompt", "Once upon a time",
                                               "n_prompt", 500, "n_predict", 13));
    assert_error(&answer, "limit", "500 prompt tokens + 13 to generate = 513");
    assert_error(&answer, "limit", "512");
    drive_answer_release(&answer);
    answer = run(json_pack("{s:s, s:i, s:i, s:b}", "prompt", "Once upon a time", "n_prompt", 500,
                           "n_predict", -1, "ignore_eos", 1));
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    assert_int_equal(number(&answer, "n_generated"), 12);
    assert_string_equal(wl_json_opt_string(answer.json, "stop", ""), "context");
    drive_answer_release(&answer);
}

static void test_sampling(void **state) {
    (void)state;
    char texts[3][2048];
    const int seeds[3] = {7, 7, 8};
    for (int i = 0; i < 3; i++) {
        struct drive_answer answer = run(
            json_pack("{s:s, s:i, s:f, s:i, s:f, s:i}", "prompt", "Once upon a time", "n_predict",
                      60, "temperature", 1.0, "top_k", 40, "top_p", 0.95, "seed", seeds[i]));
        assert_int_equal(answer.outcome, DRIVE_RESULT);
        snprintf(texts[i], sizeof texts[i], "%s", text_of(&answer));
        drive_answer_release(&answer);
    }
    assert_string_equal(texts[0], texts[1]);
    assert_string_not_equal(texts[0], texts[2]);
}

static void test_reuse_prefix(void **state) {
    (void)state;
    static const char PROMPT[] = "Once upon a time there was a little boy who had a red ball";
    struct drive_answer fresh = run(json_pack("{s:s, s:i}", "prompt", PROMPT, "n_predict", 30));
    struct drive_answer again =
        run(json_pack("{s:s, s:i, s:b}", "prompt", PROMPT, "n_predict", 30, "reuse_prefix", 1));
    assert_int_equal(number(&fresh, "n_reused"), 0);
    assert_int_equal(number(&again, "n_reused"), number(&fresh, "n_prompt") - 1);
    assert_string_equal(text_of(&again), text_of(&fresh));
    drive_answer_release(&again);
    drive_answer_release(&fresh);
}

// CANCEL right after the request: wherever the run is, it ends at once and the next one is whole.
static void test_cancel(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        json_t *request = json_pack("{s:s, s:i, s:i, s:b}", "prompt", "Once upon a time",
                                    "n_prompt", 100, "n_predict", 400, "ignore_eos", 1);
        assert_true(drive_send(&engine, ENGINE_RUN, request));
        os_sleep_until_ns(os_now_ns() + 5000000 * i);
        assert_true(drive_send(&engine, ENGINE_CANCEL, json_object()));
        struct drive_answer answer = drive_wait(&engine, 10);
        assert_int_equal(answer.outcome, DRIVE_RESULT);
        assert_string_equal(wl_json_opt_string(answer.json, "stop", ""), "cancel");
        assert_true(number(&answer, "n_generated") < 400);
        drive_answer_release(&answer);
    }
    test_greedy_text(state);
}

static void test_time_limit(void **state) {
    (void)state;
    int64_t t0_ns = os_now_ns();
    struct drive_answer answer =
        run(json_pack("{s:s, s:i, s:b, s:f}", "prompt", "Once upon a time", "n_predict", 500,
                      "ignore_eos", 1, "max_seconds", 0.02));
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    assert_string_equal(wl_json_opt_string(answer.json, "stop", ""), "time");
    assert_true(os_now_ns() - t0_ns < 2000000000);
    drive_answer_release(&answer);
}

static void test_bad_requests(void **state) {
    (void)state;
    struct drive_answer answer = run(json_object());
    assert_error(&answer, "bad-input", "'prompt' is missing");
    drive_answer_release(&answer);
    answer = run(json_pack("{s:s, s:f}", "prompt", "a", "temperature", -1.0));
    assert_error(&answer, "bad-input", "temperature");
    drive_answer_release(&answer);
    answer = run(json_pack("{s:[], s:b}", "messages", "template", 1));
    assert_error(&answer, "bad-input", "messages");
    drive_answer_release(&answer);
    json_t *load = load_request();
    json_object_set_new(load, "type_k", json_string("q3_k"));
    answer = drive_call(&engine, ENGINE_LOAD, load, 10);
    assert_error(&answer, "bad-input", "expected one of f16, q8_0, q4_0, f32");
    drive_answer_release(&answer);
    answer = drive_call(&engine, ENGINE_PING, json_object(), 10);
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    drive_answer_release(&answer);
}

static void test_too_little_memory(void **state) {
    (void)state;
    struct drive other;
    assert_true(drive_start(&other, PASSIVE, -1, NULL));
    json_t *load = load_request();
    json_object_set_new(load, "max_ram_bytes", json_integer(1 << 20));
    struct drive_answer answer = drive_call(&other, ENGINE_LOAD, load, 10);
    assert_error(&answer, "memory", "but 1.00 MiB may be used");
    drive_answer_release(&answer);
    answer = drive_call(&other, ENGINE_RUN, json_pack("{s:s}", "prompt", "a"), 10);
    assert_error(&answer, "usage", "no model is loaded");
    drive_answer_release(&answer);
    assert_int_equal(drive_stop(&other), 0);
}

static void test_settings_do_not_change_text(void **state) {
    (void)state;
    struct drive other;
    char first[2048] = "";
    assert_true(drive_start(&other, PASSIVE, -1, NULL));
    for (int i = 0; i < 4; i++) {
        json_t *load = load_request();
        json_object_set_new(load, "n_ubatch", json_integer(i == 1 ? 16 : 512));
        json_object_set_new(load, "n_batch", json_integer(i == 1 ? 32 : 2048));
        json_object_set_new(load, "threads", json_integer(1 + i % 2));
        json_object_set_new(load, "load_mode", json_string(i == 2 ? "none" : "mmap"));
        json_object_set_new(load, "repack", json_boolean(i != 3));
        struct drive_answer answer = drive_call(&other, ENGINE_LOAD, load, 30);
        assert_int_equal(answer.outcome, DRIVE_RESULT);
        drive_answer_release(&answer);
        answer = drive_call(&other, ENGINE_RUN,
                            json_pack("{s:s, s:i, s:i}", "prompt", "Once upon a time", "n_prompt",
                                      100, "n_predict", 20),
                            30);
        assert_int_equal(answer.outcome, DRIVE_RESULT);
        if (i == 0) {
            snprintf(first, sizeof first, "%s", text_of(&answer));
        }
        assert_string_equal(text_of(&answer), first);
        drive_answer_release(&answer);
    }
    assert_int_equal(drive_stop(&other), 0);
}

// The client dies in the middle of a run: the engine must not go on computing.
static void test_hang_up_during_run(void **state) {
    (void)state;
    struct drive other;
    assert_true(drive_start(&other, PASSIVE, -1, NULL));
    struct drive_answer answer = drive_call(&other, ENGINE_LOAD, load_request(), 30);
    drive_answer_release(&answer);
    drive_send(&other, ENGINE_RUN,
               json_pack("{s:s, s:i, s:b}", "prompt", "Once upon a time", "n_predict", 500,
                         "ignore_eos", 1));
    os_sleep_until_ns(os_now_ns() + 10000000);
    int64_t t0_ns = os_now_ns();
    assert_int_equal(drive_stop(&other), 0);
    assert_true(os_now_ns() - t0_ns < 1000000000);
}

static void test_needs_a_socket(void **state) {
    (void)state;
    const char *argv[] = {drive_engine_path(), NULL};
    int fds[2];
    pid_t pid;
    int wait_status = 0;
    char text[512] = "";
    assert_int_equal(os_pipe(fds, NULL), WL_OK);
    struct os_spawn spawn = {.argv = argv, .socket_fd = -1, .output_fd = fds[1]};
    assert_int_equal(os_spawn(&spawn, &pid, NULL), WL_OK);
    close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    close(fds[0]);
    assert_int_equal(os_wait(pid, 10000000000, &wait_status, NULL), WL_OK);
    assert_int_equal(wait_status, 2 << 8);
    assert_true(n > 0);
    assert_non_null(strstr(text, "file descriptor 3"));
}

int main(void) {
    if (!drive_model(MODEL)) {
        printf("skipped: %s is not in $WATTLAW_TEST_MODELS\n", MODEL);
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_greedy_text),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_exact_prompt_length),
        cmocka_unit_test(test_no_generation),
        cmocka_unit_test(test_context_limit),
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_reuse_prefix),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_time_limit),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_too_little_memory),
        cmocka_unit_test(test_settings_do_not_change_text),
        cmocka_unit_test(test_hang_up_during_run),
        cmocka_unit_test(test_needs_a_socket),
    };
    return cmocka_run_group_tests_name("engine_run", tests, start, stop);
}
