// What answers and pieces of streams tell, as the servers send them, and what is put into them.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "failing_jansson.h"
#include "openai/json_text.h"
#include "openai/reply.h"

static json_t *parse(const char *text) {
    json_t *value;
    struct wl_err err;
    if (openai_json_parse(text, strlen(text), &value, &err) != WL_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return value;
}

static void expect_json(json_t *value, const char *expected) {
    struct buf out;
    buf_init(&out, 1 << 16);
    assert_true(openai_json_write(&out, value));
    assert_string_equal(buf_text(&out), expected);
    buf_release(&out);
    json_decref(value);
}

// ---- usage

static bool read_usage(const char *text, struct openai_usage *usage) {
    json_t *reply = parse(text);
    bool has_tokens = openai_usage_read(reply, usage);
    json_decref(reply);
    return has_tokens;
}

static void expect_tokens(const struct openai_usage *usage, int64_t prompt, int64_t cached,
                          int64_t completion) {
    assert_int_equal(usage->prompt_tokens, prompt);
    assert_int_equal(usage->cached_tokens, cached);
    assert_int_equal(usage->completion_tokens, completion);
}

static void test_usage_of_whole_answers(void **state) {
    (void)state;
    struct openai_usage usage;
    openai_usage_none(&usage);
    expect_tokens(&usage, OPENAI_ABSENT, OPENAI_ABSENT, OPENAI_ABSENT);
    assert_true(isnan(usage.prompt_ms) && isnan(usage.predicted_ms));
    // llama-server
    assert_true(read_usage(
        "{\"choices\":[{\"finish_reason\":\"stop\",\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"none\"}}],\"usage\":{\"completion_tokens\":4,\"prompt_tokens\":17,"
        "\"total_tokens\":21,\"prompt_tokens_details\":{\"cached_tokens\":9}},\"timings\":{"
        "\"cache_n\":9,\"prompt_n\":8,\"prompt_ms\":22.006,\"predicted_n\":4,"
        "\"predicted_ms\":7.931}}",
        &usage));
    expect_tokens(&usage, 17, 9, 4);
    assert_true(usage.prompt_ms == 22.006 && usage.predicted_ms == 7.931);
    // Ollama, vLLM
    openai_usage_none(&usage);
    assert_true(read_usage("{\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{"
                           "\"prompt_tokens\":26,\"completion_tokens\":3,\"total_tokens\":29,"
                           "\"prompt_tokens_details\":null}}",
                           &usage));
    expect_tokens(&usage, 26, OPENAI_ABSENT, 3);
    assert_true(isnan(usage.prompt_ms));
    // Embeddings
    openai_usage_none(&usage);
    assert_true(
        read_usage("{\"data\":[],\"usage\":{\"prompt_tokens\":5,\"total_tokens\":5}}", &usage));
    expect_tokens(&usage, 5, OPENAI_ABSENT, OPENAI_ABSENT);
    // Times alone, whose prompt_n is without what was cached
    openai_usage_none(&usage);
    assert_true(
        read_usage("{\"timings\":{\"cache_n\":30,\"prompt_n\":12,\"predicted_n\":7}}", &usage));
    expect_tokens(&usage, 42, 30, 7);
    openai_usage_none(&usage);
    assert_true(read_usage("{\"timings\":{\"prompt_n\":12,\"prompt_ms\":3}}", &usage));
    expect_tokens(&usage, 12, OPENAI_ABSENT, OPENAI_ABSENT);
    assert_true(usage.prompt_ms == 3);
}

static void test_usage_that_is_none(void **state) {
    (void)state;
    static const char *const TEXTS[] = {
        "null",
        "[]",
        "7",
        "{}",
        "{\"usage\":null}",
        "{\"usage\":[],\"timings\":7}",
        "{\"usage\":{}}",
        "{\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":\"9\"}}",
        "{\"usage\":{\"prompt_tokens\":9223372036854775807,\"completion_tokens\":1e300}}",
        "{\"usage\":{\"prompt_tokens\":null,\"completion_tokens\":[4]}}",
        "{\"timings\":{\"prompt_n\":-5,\"prompt_ms\":-1,\"predicted_ms\":\"x\"}}",
        "{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}",
    };
    struct openai_usage usage;
    openai_usage_none(&usage);
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        assert_false(read_usage(TEXTS[i], &usage));
        expect_tokens(&usage, OPENAI_ABSENT, OPENAI_ABSENT, OPENAI_ABSENT);
        assert_true(isnan(usage.prompt_ms) && isnan(usage.predicted_ms));
    }
    // What says nothing overwrites nothing.
    assert_true(read_usage("{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6}}", &usage));
    assert_false(read_usage("{\"usage\":null}", &usage));
    expect_tokens(&usage, 5, OPENAI_ABSENT, 6);
}

// The completion tokens after all pieces of a stream.
static int64_t stream_tokens(const char *const *pieces) {
    struct openai_usage usage;
    openai_usage_none(&usage);
    for (; *pieces; pieces++) {
        read_usage(*pieces, &usage);
    }
    return usage.completion_tokens;
}

#define PIECE(index, rest) "{\"choices\":[{\"index\":" #index ",\"text\":\"a\"" rest
#define USAGE(n) "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":" #n "}"
#define TIMINGS(n) "\"timings\":{\"prompt_n\":1,\"predicted_n\":" #n "}"

static void test_usage_of_streams(void **state) {
    (void)state;
    static const struct {
        const char *name;
        const char *pieces[8];
        int64_t expected;
    } ROWS[] = {
        {"OpenAI: one piece for all choices",
         {PIECE(0, "}],\"usage\":null}"), PIECE(1, "}],\"usage\":null}"),
          "{\"choices\":[]," USAGE(7) "}"},
         7},
        {"vLLM, continuous_usage_stats",
         {PIECE(0, "}]," USAGE(1) "}"), PIECE(0, "}]," USAGE(2) "}"),
          PIECE(0, ",\"finish_reason\":\"stop\"}]," USAGE(3) "}"), "{\"choices\":[]," USAGE(3) "}"},
         3},
        {"llama-server: a piece for each choice",
         {PIECE(0, ",\"finish_reason\":\"length\"}]}"), "{\"choices\":[]," USAGE(2) "}",
          PIECE(1, "}]}"), PIECE(1, ",\"finish_reason\":\"length\"}]}"),
          "{\"choices\":[]," USAGE(5) "}"},
         7},
        {"llama-server: completions tell it when a choice ends",
         {"null", PIECE(0, "}]}"), PIECE(0, ",\"finish_reason\":\"length\"}]," USAGE(2) "}"),
          PIECE(1, ",\"finish_reason\":\"length\"}]," USAGE(4) "}")},
         6},
        {"llama-server: times only, when a choice ends",
         {PIECE(0, "}]}"), PIECE(0, ",\"finish_reason\":\"stop\"}]," TIMINGS(2) "}"),
          PIECE(1, ",\"finish_reason\":\"stop\"}]," TIMINGS(3) "}")},
         5},
        {"llama-server: timings_per_token",
         {PIECE(0, "}]," TIMINGS(1) "}"), PIECE(0, "}]," TIMINGS(2) "}"),
          PIECE(0, ",\"finish_reason\":\"stop\"}]}"),
          "{\"choices\":[]," USAGE(2) "," TIMINGS(2) "}"},
         2},
        {"cut off in the middle",
         {PIECE(0, "}]," TIMINGS(1) "}"), PIECE(0, "}]," TIMINGS(2) "}")},
         2},
        {"nothing told",
         {PIECE(0, "}]}"), PIECE(0, ",\"finish_reason\":\"stop\"}]}")},
         OPENAI_ABSENT},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        int64_t found = stream_tokens(ROWS[i].pieces);
        if (found != ROWS[i].expected) {
            fail_msg("%s: found %lld tokens, expected %lld", ROWS[i].name, (long long)found,
                     (long long)ROWS[i].expected);
        }
    }
}

// ---- energy

static const struct openai_energy ENERGY = {.gross_j = 7200,
                                            .gross_sd_j = 360,
                                            .net_j = 3600,
                                            .net_sd_j = NAN,
                                            .source = "powercap",
                                            .scope = "cpu",
                                            .label = "measured",
                                            .n_shared = 3};
#define ENERGY_NAMES "\"source\":\"powercap\",\"scope\":\"cpu\",\"label\":\"measured\","

static void test_energy_json(void **state) {
    (void)state;
    json_t *value = openai_energy_json(&ENERGY);
    const json_t *interval = json_object_get(value, "wh_ci95");
    double low = json_real_value(json_array_get(interval, 0));
    double high = json_real_value(json_array_get(interval, 1));
    assert_int_equal(json_array_size(interval), 2);
    assert_true(fabs(low - (2 - 0.195996398)) < 1e-8 && fabs(high - (2 + 0.195996398)) < 1e-8);
    json_object_del(value, "wh_ci95");
    expect_json(value,
                "{\"wh\":2.0,\"net_wh\":1.0,\"net_wh_ci95\":null," ENERGY_NAMES "\"shared_by\":3}");
    const struct openai_energy nothing = {.gross_j = NAN,
                                          .gross_sd_j = 1,
                                          .net_j = INFINITY,
                                          .net_sd_j = INFINITY,
                                          .n_shared = UINT32_MAX};
    expect_json(
        openai_energy_json(&nothing),
        "{\"wh\":null,\"wh_ci95\":null,\"net_wh\":null,\"net_wh_ci95\":null,\"source\":null,"
        "\"scope\":null,\"label\":null,\"shared_by\":4294967295}");
    struct openai_energy exact = ENERGY;
    exact.gross_sd_j = 0;
    value = openai_energy_json(&exact);
    interval = json_object_get(value, "wh_ci95");
    assert_true(json_real_value(json_array_get(interval, 0)) == 2);
    assert_true(json_real_value(json_array_get(interval, 1)) == 2);
    json_decref(value);
    exact.gross_sd_j = exact.gross_j; // no machine gives energy back
    value = openai_energy_json(&exact);
    interval = json_object_get(value, "wh_ci95");
    assert_true(json_real_value(json_array_get(interval, 0)) == 0);
    assert_true(json_real_value(json_array_get(interval, 1)) > 5);
    json_decref(value);
}

static void test_add_energy(void **state) {
    (void)state;
    struct openai_energy energy = ENERGY;
    energy.gross_sd_j = NAN;
#define ADDED                                                                                      \
    "\"energy\":{\"wh\":2.0,\"wh_ci95\":null,\"net_wh\":1.0,\"net_wh_ci95\":null," ENERGY_NAMES    \
    "\"shared_by\":3}"
    struct openai_usage usage;
    openai_usage_none(&usage);
    usage.prompt_tokens = 9;
    usage.completion_tokens = 4;
    usage.cached_tokens = 2;
    static const struct {
        const char *before, *after;
    } ROWS[] = {
        {"{\"id\":\"a\",\"usage\":{\"prompt_tokens\":1,\"x\":[2]}}",
         "{\"id\":\"a\",\"usage\":{\"prompt_tokens\":1,\"x\":[2]," ADDED "}}"},
        {"{\"usage\":{\"energy\":7}}", "{\"usage\":{" ADDED "}}"},
        {"{\"usage\":null}",
         "{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,"
         "\"total_tokens\":13,\"prompt_tokens_details\":{\"cached_tokens\":2}," ADDED "}}"},
        {"{\"usage\":[1]}",
         "{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,"
         "\"total_tokens\":13,\"prompt_tokens_details\":{\"cached_tokens\":2}," ADDED "}}"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        json_t *reply = parse(ROWS[i].before);
        assert_true(openai_reply_add_energy(reply, &usage, &energy));
        expect_json(reply, ROWS[i].after);
    }
    // Embeddings have no completion; nothing may be known at all.
    usage.completion_tokens = usage.cached_tokens = OPENAI_ABSENT;
    json_t *reply = parse("{}");
    assert_true(openai_reply_add_energy(reply, &usage, &energy));
    expect_json(reply, "{\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9," ADDED "}}");
    openai_usage_none(&usage);
    reply = parse("{}");
    assert_true(openai_reply_add_energy(reply, &usage, &energy));
    expect_json(reply, "{\"usage\":{" ADDED "}}");
    reply = parse("{}");
    assert_true(openai_reply_add_energy(reply, NULL, &energy));
    expect_json(reply, "{\"usage\":{" ADDED "}}");
    reply = parse("[]");
    assert_false(openai_reply_add_energy(reply, &usage, &energy));
    expect_json(reply, "[]");
}

// ---- pieces

static void test_piece_read(void **state) {
    (void)state;
    enum { TEXT = 1, FINISH = 2, USAGE_ONLY = 4, ERROR = 8 };
#define DELTA(delta) "{\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":null}]}"
    static const struct {
        const char *text;
        int expected;
        uint64_t ended;
    } ROWS[] = {
        {"null", 0, 0},
        {"{}", 0, 0},
        {"[]", 0, 0},
        {"{\"choices\":{}}", 0, 0},
        {"{\"choices\":[null,7,{}]}", 0, 0},
        {DELTA("{\"role\":\"assistant\",\"content\":null}"), 0, 0},
        {DELTA("{\"role\":\"assistant\",\"content\":\"\"}"), 0, 0},
        {DELTA("{\"content\":\"a\"}"), TEXT, 0},
        {DELTA("{\"reasoning_content\":\"a\"}"), TEXT, 0},
        {DELTA("{\"reasoning\":\"a\",\"content\":\"\"}"), TEXT, 0},
        {DELTA("{\"refusal\":\"a\"}"), TEXT, 0},
        {DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\"}}]}"), TEXT, 0},
        {DELTA("{\"tool_calls\":[]}"), 0, 0},
        {DELTA("{\"function_call\":{\"name\":\"f\"}}"), TEXT, 0},
        {DELTA("null"), 0, 0},
        {DELTA("{\"content\":[7]}"), 0, 0},
        // llama-server with return_progress
        {"{\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"role\":\"assistant\","
         "\"content\":null}}],\"prompt_progress\":{\"total\":10,\"cache\":0,\"processed\":0,"
         "\"time_ms\":0}}",
         0, 0},
        {"{\"choices\":[{\"text\":\"a\",\"index\":0,\"logprobs\":null,\"finish_reason\":null}]}",
         TEXT, 0},
        {"{\"choices\":[{\"text\":\"\",\"index\":1,\"finish_reason\":\"length\"}],\"usage\":{}}",
         FINISH, 2},
        {"{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{}}",
         FINISH, 1},
        {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"},"
         "{\"finish_reason\":\"stop\"},{\"index\":63,\"finish_reason\":\"\"}]}",
         TEXT | FINISH, UINT64_C(3) | UINT64_C(1) << 63},
        {"{\"choices\":[{\"index\":64,\"finish_reason\":\"stop\"},{\"index\":-1,"
         "\"finish_reason\":\"stop\"}]}",
         FINISH, 0},
        {"{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", USAGE_ONLY, 0},
        {"{\"usage\":{\"prompt_tokens\":1}}", USAGE_ONLY, 0},
        {"{\"choices\":[],\"usage\":null}", 0, 0},
        {"{\"choices\":[]}", 0, 0},
        {"{\"error\":{\"code\":500,\"message\":\"x\"}}", ERROR, 0},
        {"{\"error\":\"x\"}", ERROR, 0},
        {"{\"error\":null,\"choices\":[]}", 0, 0},
        {"{\"object\":\"error\",\"message\":\"x\"}", ERROR, 0},
        {"{\"object\":\"chat.completion.chunk\"}", 0, 0},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct openai_piece piece;
        json_t *value = parse(ROWS[i].text);
        openai_piece_read(value, &piece);
        int found = (piece.has_text ? TEXT : 0) | (piece.is_finish ? FINISH : 0) |
                    (piece.is_usage ? USAGE_ONLY : 0) | (piece.is_error ? ERROR : 0);
        if (found != ROWS[i].expected || piece.ended != ROWS[i].ended) {
            fail_msg("%s: found %d, ended %llx", ROWS[i].text, found,
                     (unsigned long long)piece.ended);
        }
        json_decref(value);
    }
    struct openai_piece piece;
    openai_piece_read(NULL, &piece);
    assert_false(piece.has_text || piece.is_error);
}

static void test_finish_piece(void **state) {
    (void)state;
    json_t *like = parse("{\"id\":\"a1\",\"object\":\"x\",\"created\":7,\"model\":\"m\","
                         "\"system_fingerprint\":\"b\",\"choices\":[{\"index\":0,\"delta\":{"
                         "\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":1},\"timings\":{}}");
    expect_json(openai_finish_piece(OPENAI_CHAT, like, 5, "length"),
                "{\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},"
                "\"logprobs\":null,\"finish_reason\":\"length\"},{\"index\":2,\"delta\":{},"
                "\"logprobs\":null,\"finish_reason\":\"length\"}],\"id\":\"a1\",\"created\":7,"
                "\"model\":\"m\",\"system_fingerprint\":\"b\"}");
    expect_json(openai_finish_piece(OPENAI_COMPLETION, like, UINT64_C(1) << 63, "stop"),
                "{\"object\":\"text_completion\",\"choices\":[{\"index\":63,\"text\":\"\","
                "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"id\":\"a1\",\"created\":7,"
                "\"model\":\"m\",\"system_fingerprint\":\"b\"}");
    expect_json(openai_finish_piece(OPENAI_CHAT, NULL, 0, "stop"),
                "{\"object\":\"chat.completion.chunk\",\"choices\":[]}");
    json_decref(like);
    // It says of itself what it is.
    struct openai_piece piece;
    json_t *finish = openai_finish_piece(OPENAI_CHAT, NULL, 6, "length");
    openai_piece_read(finish, &piece);
    assert_true(piece.is_finish && !piece.has_text && !piece.is_usage && piece.ended == 6);
    json_decref(finish);
}

static void test_no_memory(void **state) {
    (void)state;
    struct openai_usage usage = {.prompt_tokens = 1, .cached_tokens = 1, .completion_tokens = 1};
    json_t *like = parse("{\"id\":\"a\",\"model\":\"b\"}");
    bool has_failed = true;
    for (size_t n = 0; has_failed; n++) {
        json_t *reply = parse("{}");
        failing_begin(n);
        bool is_fine = openai_reply_add_energy(reply, &usage, &ENERGY);
        has_failed = failing_end();
        assert_int_equal(is_fine, !has_failed);
        json_decref(reply);
        assert_true(n < 1000);
    }
    has_failed = true;
    for (size_t n = 0; has_failed; n++) {
        failing_begin(n);
        json_t *piece = openai_finish_piece(OPENAI_CHAT, like, 3, "stop");
        has_failed = failing_end();
        assert_int_equal(piece != NULL, !has_failed);
        json_decref(piece);
        assert_true(n < 1000);
    }
    json_decref(like);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage_of_whole_answers),
        cmocka_unit_test(test_usage_that_is_none),
        cmocka_unit_test(test_usage_of_streams),
        cmocka_unit_test(test_energy_json),
        cmocka_unit_test(test_add_energy),
        cmocka_unit_test(test_piece_read),
        cmocka_unit_test(test_finish_piece),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
