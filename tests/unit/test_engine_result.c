// Decoding of the engine's answers: a good one is taken whole, every single lie is refused by name.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "engine/result.h"

static const struct engine_bounds BOUNDS = {
    .t_min_ns = 1000, .t_max_ns = 9000, .n_prompt = 0, .n_predict = 4};

static const char RUN[] =
    "{\"text\": \"h\xc3\xa9llo\", \"n_prompt\": 12, \"n_generated\": 3, \"stop\": \"eos\","
    " \"phases\": ["
    "{\"phase\": \"prefill\", \"t0_ns\": 1000, \"t1_ns\": 4000, \"cpu0_ns\": 0, \"cpu1_ns\": 7000,"
    " \"n_tokens\": 12},"
    "{\"phase\": \"decode\", \"t0_ns\": 4000, \"t1_ns\": 9000, \"cpu0_ns\": 7000,"
    " \"cpu1_ns\": 9999, \"n_tokens\": 2}]}";

static const char MODEL[] =
    "{\"arch\": \"llama\", \"name\": \"n\", \"description\": \"d\", \"n_params\": 1000,"
    " \"file_bytes\": 2000, \"tensor_bytes\": 1500, \"n_layer\": 5, \"n_embd\": 64, \"n_head\": 8,"
    " \"n_head_kv\": 4, \"n_ff\": 172, \"n_vocab\": 512, \"n_ctx_train\": 2048, \"n_ctx\": 128,"
    " \"types\": {\"f32\": 10, \"q4_K\": 20}, \"file_type\": \"Q4_K - Medium\","
    " \"has_chat_template\": false, \"chat_template\": \"\", \"bytes_per_token\": 1400,"
    " \"flops_per_token\": 2000, \"kv_bytes_per_token\": 512, \"threads\": 2,"
    " \"threads_batch\": 2, \"n_ubatch\": 512, \"type_k\": \"f16\", \"type_v\": \"q8_0\","
    " \"load_mode\": \"mmap\", \"flash_attn\": \"auto\", \"repack\": true, \"later\": [1]}";

static json_t *parse(const char *text) {
    json_t *value;
    struct wl_err err;
    if (wl_json_parse(text, strlen(text), &value, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return value;
}

static void takes_a_good_run(void **state) {
    (void)state;
    struct engine_run_result result;
    struct wl_err err;
    json_t *json = parse(RUN);
    assert_int_equal(engine_run_result_decode(json, &BOUNDS, &result, &err), WL_OK);
    json_decref(json);
    assert_string_equal(result.text, "h\xc3\xa9llo");
    assert_int_equal(result.text_bytes, 6);
    assert_int_equal(result.n_prompt, 12);
    assert_int_equal(result.n_generated, 3);
    assert_int_equal(result.stop, ENGINE_STOP_EOS);
    assert_int_equal(result.n_phases, 2);
    assert_int_equal(engine_result_phase(&result, "decode")->cpu1_ns, 9999);
    engine_run_result_release(&result);
    assert_null(result.text);
}

// Replaces `key` (in the first phase if is_phase) by the JSON in `value`, NULL removes it.
static void expect_lie(const char *key, const char *value, bool is_phase, const char *words) {
    struct engine_run_result result;
    struct wl_err err = {0};
    json_t *json = parse(RUN);
    json_t *object = is_phase ? json_array_get(json_object_get(json, "phases"), 0) : json;
    if (value) {
        json_object_set_new(object, key, parse(value));
    } else {
        json_object_del(object, key);
    }
    enum wl_status status = engine_run_result_decode(json, &BOUNDS, &result, &err);
    json_decref(json);
    if (status != WL_PROTOCOL || err.status != WL_PROTOCOL || !strstr(err.message, words)) {
        fail_msg("%s = %s: expected '%s', found %s: %s", key, value ? value : "(none)", words,
                 wl_status_name(status), err.message);
    }
    assert_null(result.text);
    assert_int_equal(result.n_phases, 0);
}

static void names_the_lie(void **state) {
    (void)state;
    static const char *const KEYS[] = {"text", "n_prompt", "n_generated", "stop", "phases"};
    static const char *const PHASE_KEYS[] = {"phase",   "t0_ns",   "t1_ns",
                                             "cpu0_ns", "cpu1_ns", "n_tokens"};
    static const char *const WRONG[] = {"null", "1.5", "{}", "true", NULL};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        for (size_t k = 0; k < sizeof KEYS / sizeof KEYS[0]; k++) {
            expect_lie(KEYS[k], WRONG[i], false, KEYS[k]);
        }
        for (size_t k = 0; k < sizeof PHASE_KEYS / sizeof PHASE_KEYS[0]; k++) {
            expect_lie(PHASE_KEYS[k], WRONG[i], true, PHASE_KEYS[k]);
        }
    }
    expect_lie("n_generated", "5", false, "expected 0 to 4, found 5");
    expect_lie("n_generated", "-1", false, "n_generated");
    expect_lie("n_prompt", "99999999", false, "n_prompt");
    expect_lie("stop", "\"bored\"", false, "found 'bored'");
    expect_lie("phases", "[1]", false, "expected an object");
    expect_lie("phases", "[{},{}]", false, "expected");
    expect_lie("peak_rss_bytes", "-1", true, "peak_rss_bytes");
    expect_lie("n_tokens", "13", true, "phase 'prefill': n_tokens is 13 of 12");
    expect_lie("images", "[{}]", false, "nobody asked");
    expect_lie("phase", "\"\"", true, "expected a word");
    expect_lie("phase", "\"Pre fill\"", true, "expected a word");
    expect_lie("phase", "\"a-very-long-name-of-a-phase-that-nobody-needs\"", true, "phase");
    expect_lie("t0_ns", "999", true, "expected 1000 to 9000, found 999");
    expect_lie("t0_ns", "4001", true, "'t1_ns'");
    expect_lie("t1_ns", "9001", true, "phase 'prefill': key 't1_ns'");
    expect_lie("t1_ns", "4001", true, "begins before phase 'prefill' ends");
    expect_lie("cpu0_ns", "-1", true, "cpu0_ns");
    expect_lie("cpu0_ns", "7001", true, "cpu1_ns");
    expect_lie("cpu1_ns", "9223372036854775807", true, "begins before");
    expect_lie("n_tokens", "4294967296", true, "n_tokens");
}

static void counts_the_phases(void **state) {
    (void)state;
    struct engine_run_result result;
    struct wl_err err;
    json_t *json = parse(RUN);
    json_t *phases = json_array();
    for (int i = 0; i <= ENGINE_MAX_PHASES; i++) {
        json_array_append(phases, json_array_get(json_object_get(json, "phases"), 0));
    }
    json_object_set_new(json, "phases", phases);
    assert_int_equal(engine_run_result_decode(json, &BOUNDS, &result, &err), WL_PROTOCOL);
    assert_non_null(strstr(err.message, "at most 64"));
    json_decref(json);
}

static void holds_to_what_was_asked(void **state) {
    (void)state;
    struct engine_run_result result;
    struct engine_bounds bounds = BOUNDS;
    struct wl_err err;
    json_t *json = parse(RUN);
    bounds.n_prompt = 12;
    assert_int_equal(engine_run_result_decode(json, &bounds, &result, &err), WL_OK);
    engine_run_result_release(&result);
    bounds.n_prompt = 13;
    assert_int_equal(engine_run_result_decode(json, &bounds, &result, &err), WL_PROTOCOL);
    assert_non_null(strstr(err.message, "expected 13 as asked for, found 12"));
    json_decref(json);
    json = json_array();
    assert_int_equal(engine_run_result_decode(json, &bounds, &result, NULL), WL_PROTOCOL);
    assert_int_equal(engine_run_result_decode(NULL, &bounds, &result, NULL), WL_PROTOCOL);
    json_decref(json);
}

static void limits_the_text(void **state) {
    (void)state;
    struct engine_run_result result;
    struct wl_err err;
    char *text = calloc(1, ENGINE_MAX_TEXT_BYTES + 2);
    memset(text, 'x', ENGINE_MAX_TEXT_BYTES);
    json_t *json = parse(RUN);
    json_object_set_new(json, "text", json_string(text));
    assert_int_equal(engine_run_result_decode(json, &BOUNDS, &result, &err), WL_OK);
    engine_run_result_release(&result);
    text[ENGINE_MAX_TEXT_BYTES] = 'x';
    json_object_set_new(json, "text", json_string(text));
    assert_int_equal(engine_run_result_decode(json, &BOUNDS, &result, &err), WL_PROTOCOL);
    assert_non_null(strstr(err.message, "1048577 bytes"));
    json_decref(json);
    free(text);
}

static void put_i64(unsigned char *out, int64_t value) {
    for (int i = 0; i < 8; i++) {
        out[i] = (unsigned char)((uint64_t)value >> (8 * i));
    }
}

static void checks_token_times(void **state) {
    (void)state;
    struct engine_run_result result = {.n_generated = 3};
    struct wl_err err;
    unsigned char bytes[25] = {0};
    put_i64(bytes, 1000);
    put_i64(bytes + 8, 1000);
    put_i64(bytes + 16, 9000);
    assert_int_equal(engine_token_times_decode(bytes, 24, &BOUNDS, &result, &err), WL_OK);
    assert_int_equal(result.token_t_ns[2], 9000);
    assert_int_equal(engine_token_times_decode(bytes, 16, &BOUNDS, &result, &err), WL_PROTOCOL);
    assert_int_equal(engine_token_times_decode(bytes, 25, &BOUNDS, &result, &err), WL_PROTOCOL);
    put_i64(bytes + 8, 999);
    assert_int_equal(engine_token_times_decode(bytes, 24, &BOUNDS, &result, &err), WL_PROTOCOL);
    assert_non_null(strstr(err.message, "entry 1 is 999"));
    put_i64(bytes + 8, 1000);
    put_i64(bytes + 16, 9001);
    assert_int_equal(engine_token_times_decode(bytes, 24, &BOUNDS, &result, &err), WL_PROTOCOL);
    put_i64(bytes, INT64_MIN);
    assert_int_equal(engine_token_times_decode(bytes, 24, &BOUNDS, &result, &err), WL_PROTOCOL);
    assert_int_equal(result.token_t_ns[2], 9000); // the good ones stay
    result.n_generated = 0;
    assert_int_equal(engine_token_times_decode(NULL, 0, &BOUNDS, &result, &err), WL_OK);
    engine_run_result_release(&result);
}

static void checks_tokens(void **state) {
    (void)state;
    int32_t *ids;
    size_t n;
    struct wl_err err;
    static const unsigned char GOOD[] = {1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f};
    static const unsigned char BAD[] = {1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(engine_tokens_decode(GOOD, 8, &ids, &n, &err), WL_OK);
    assert_int_equal(n, 2);
    assert_int_equal(ids[1], INT32_MAX);
    free(ids);
    assert_int_equal(engine_tokens_decode(GOOD, 0, &ids, &n, &err), WL_OK);
    assert_null(ids);
    assert_int_equal(engine_tokens_decode(GOOD, 7, &ids, &n, &err), WL_PROTOCOL);
    assert_int_equal(engine_tokens_decode(BAD, 8, &ids, &n, &err), WL_PROTOCOL);
    assert_non_null(strstr(err.message, "entry 1 is -1"));
    assert_null(ids);
}

static void takes_a_good_model(void **state) {
    (void)state;
    struct engine_model *model = malloc(sizeof *model);
    struct wl_err err;
    json_t *json = parse(MODEL);
    assert_int_equal(engine_model_decode(json, model, &err), WL_OK);
    assert_string_equal(model->arch, "llama");
    assert_string_equal(model->file_type, "Q4_K - Medium");
    assert_int_equal(model->n_head_kv, 4);
    assert_int_equal(model->kv_bytes_per_token, 512);
    assert_int_equal(model->n_types, 2);
    assert_string_equal(model->type_v, "q8_0");
    assert_true(model->repack);
    assert_false(model->is_synthetic); // absent
    json_decref(json);
    free(model);
}

static void refuses_bad_models(void **state) {
    (void)state;
    static const char *const REQUIRED[] = {"arch",
                                           "n_params",
                                           "file_bytes",
                                           "tensor_bytes",
                                           "n_layer",
                                           "n_embd",
                                           "n_head",
                                           "n_head_kv",
                                           "n_ff",
                                           "n_vocab",
                                           "n_ctx_train",
                                           "n_ctx",
                                           "types",
                                           "bytes_per_token",
                                           "flops_per_token",
                                           "kv_bytes_per_token",
                                           "threads",
                                           "threads_batch",
                                           "n_ubatch",
                                           "type_k",
                                           "type_v",
                                           "load_mode",
                                           "flash_attn",
                                           "repack",
                                           "has_chat_template"};
    static const char *const WRONG[] = {"null", "-1", "1e300", "[]", NULL};
    struct engine_model *model = malloc(sizeof *model);
    for (size_t i = 0; i < sizeof REQUIRED / sizeof REQUIRED[0]; i++) {
        for (size_t w = 0; w < sizeof WRONG / sizeof WRONG[0]; w++) {
            struct wl_err err = {0};
            json_t *json = parse(MODEL);
            if (WRONG[w]) {
                json_object_set_new(json, REQUIRED[i], parse(WRONG[w]));
            } else {
                json_object_del(json, REQUIRED[i]);
            }
            assert_int_equal(engine_model_decode(json, model, &err), WL_PROTOCOL);
            assert_int_equal(err.status, WL_PROTOCOL);
            assert_non_null(strstr(err.message, REQUIRED[i]));
            assert_string_equal(model->arch, "");
            json_decref(json);
        }
    }
    free(model);
}

static void cuts_texts_of_the_file(void **state) {
    (void)state;
    struct engine_model *model = malloc(sizeof *model);
    struct wl_err err;
    char text[9001];
    for (size_t i = 0; i + 3 <= sizeof text - 1; i += 3) {
        memcpy(text + i, "\xe2\x82\xac", 3); // three bytes each: no limit is a multiple
    }
    text[sizeof text - 1] = '\0';
    json_t *json = parse(MODEL);
    json_object_set_new(json, "name", json_string(text));
    json_object_set_new(json, "chat_template", json_string(text));
    assert_int_equal(engine_model_decode(json, model, &err), WL_OK);
    assert_int_equal(strlen(model->name), 255);
    assert_int_equal(strlen(model->chat_template), 4098);
    json_t *again = json_string(model->chat_template); // NULL unless it is valid UTF-8
    assert_non_null(again);
    json_decref(again);
    json_decref(json);
    free(model);
}

static void expect_error(const char *text, enum wl_status status, const char *words) {
    struct wl_err err = {0};
    json_t *json = parse(text);
    assert_int_equal(engine_error_decode(json, &err), status);
    assert_int_equal(err.status, status);
    assert_non_null(strstr(err.message, words));
    json_decref(json);
}

static void maps_errors(void **state) {
    (void)state;
    expect_error("{\"status\": \"memory\", \"message\": \"too big\"}", WL_MEMORY, "too big");
    expect_error("{\"status\": \"bad-input\", \"message\": \"\"}", WL_INPUT, "no reason");
    expect_error("{\"status\": \"odd\", \"message\": \"x\"}", WL_FAILED, "x");
    expect_error("{\"status\": \"ok\", \"message\": \"x\"}", WL_PROTOCOL, "status 'ok'");
    expect_error("{\"status\": \"crashed\", \"message\": \"x\"}", WL_PROTOCOL, "crashed");
    expect_error("{\"status\": \"timeout\", \"message\": \"x\"}", WL_PROTOCOL, "timeout");
    expect_error("{\"message\": \"x\"}", WL_PROTOCOL, "'status'");
    expect_error("{\"status\": \"io\"}", WL_PROTOCOL, "'message'");
    expect_error("{\"status\": \"io\", \"message\": \"a\\u001b[2Jb%s%n\"}", WL_IO, "a?[2Jb%s%n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_good_run),   cmocka_unit_test(names_the_lie),
        cmocka_unit_test(counts_the_phases),  cmocka_unit_test(holds_to_what_was_asked),
        cmocka_unit_test(limits_the_text),    cmocka_unit_test(checks_token_times),
        cmocka_unit_test(checks_tokens),      cmocka_unit_test(takes_a_good_model),
        cmocka_unit_test(refuses_bad_models), cmocka_unit_test(cuts_texts_of_the_file),
        cmocka_unit_test(maps_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
