// Whole answers out of pieces: what a client that did not ask for a stream would have got.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "failing_jansson.h"
#include "openai/assemble.h"
#include "openai/json_text.h"

static enum wl_status add(struct openai_assembly *a, const char *text, struct wl_err *err) {
    json_t *piece;
    struct wl_err bad;
    if (openai_json_parse(text, strlen(text), &piece, &bad) != WL_OK) {
        fail_msg("%s: %s", text, bad.message);
    }
    enum wl_status status = openai_assembly_add(a, piece, err);
    json_decref(piece);
    return status;
}

static char *written(json_t *value) {
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_non_null(value);
    assert_true(openai_json_write(&out, value));
    json_decref(value);
    return buf_detach(&out);
}

static void expect(enum openai_endpoint endpoint, const char *const *pieces,
                   const char *finish_reason, const char *expected) {
    struct openai_assembly a;
    openai_assembly_init(&a, endpoint, 1 << 20);
    for (; *pieces; pieces++) {
        struct wl_err err;
        if (add(&a, *pieces, &err) != WL_OK) {
            fail_msg("%s: %s", *pieces, err.message);
        }
    }
    char *found = written(openai_assembly_take(&a, finish_reason));
    assert_string_equal(found, expected);
    free(found);
    assert_true(!a.reply && !a.texts && a.n_texts == 0 && a.n_bytes == 0);
    openai_assembly_release(&a);
}

// ---- whole answers

// As llama-server sends them, with return_progress and include_usage.
static void test_llama_server(void **state) {
    (void)state;
#define NAMES(created)                                                                             \
    "\"created\":" #created ",\"id\":\"chatcmpl-o\",\"model\":\"m.gguf\",\"system_fingerprint\":"  \
    "\"b1\""
#define LLAMA(created, finish, delta)                                                              \
    "{\"choices\":[{\"finish_reason\":" finish ",\"index\":0,\"delta\":" delta                     \
    "}]," NAMES(created) ",\"object\":\"chat.completion.chunk\"}"
    static const char *const PIECES[] = {
        LLAMA(1, "null", "{\"role\":\"assistant\",\"content\":null}"),
        LLAMA(1, "null", "{\"content\":\"Sch\xc3\xb6n\"}"),
        LLAMA(2, "null", "{\"content\":\" \xf0\x9f\x98\x80\"}"),
        LLAMA(2, "null", "{\"content\":\"\\n\"}"),
        LLAMA(3, "\"stop\"", "{}"),
        "{\"choices\":[]," NAMES(3) ",\"object\":\"chat.completion.chunk\",\"usage\":{"
                                    "\"completion_tokens\":4,\"prompt_tokens\":10},\"timings\":{"
                                    "\"predicted_n\":4}}",
        NULL};
    expect(OPENAI_CHAT, PIECES, "length",
           "{" NAMES(3) ",\"usage\":{\"completion_tokens\":4,\"prompt_tokens\":10},\"timings\":{"
                        "\"predicted_n\":4},\"object\":\"chat.completion\",\"choices\":[{"
                        "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
                        "\"Sch\xc3\xb6n \xf0\x9f\x98\x80\\n\"},\"logprobs\":null,"
                        "\"finish_reason\":\"stop\"}]}");
}

static void test_completion(void **state) {
    (void)state;
    // Two prompts, whose pieces come in turns; null at first, as from llama-server.
    static const char *const PIECES[] = {
        "null",
        "{\"choices\":[{\"text\":\"a\",\"index\":0,\"logprobs\":{\"content\":[{\"id\":97}]},"
        "\"finish_reason\":null}],\"id\":\"c\",\"object\":\"text_completion\"}",
        "{\"choices\":[{\"text\":\"b\",\"index\":1,\"logprobs\":{\"content\":[{\"id\":98}]},"
        "\"finish_reason\":null}],\"id\":\"c\",\"object\":\"text_completion\"}",
        "{\"choices\":[{\"text\":\"A\",\"index\":0,\"logprobs\":{\"content\":[{\"id\":65}]},"
        "\"finish_reason\":null}],\"id\":\"c\"}",
        "{\"choices\":[{\"text\":\"\",\"index\":1,\"logprobs\":null,\"finish_reason\":\"stop\"}]}",
        NULL};
    expect(OPENAI_COMPLETION, PIECES, "length",
           "{\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"aA\","
           "\"logprobs\":{\"content\":[{\"id\":97},{\"id\":65}]},\"finish_reason\":\"length\"},"
           "{\"index\":1,\"text\":\"b\",\"logprobs\":{\"content\":[{\"id\":98}]},"
           "\"finish_reason\":\"stop\"}]}");
}

static void test_old_logprobs(void **state) {
    (void)state;
    static const char *const PIECES[] = {
        "{\"choices\":[{\"text\":\"a\",\"index\":0,\"logprobs\":{\"tokens\":[\"a\"],"
        "\"token_logprobs\":[-0.5],\"top_logprobs\":null,\"text_offset\":[0]}}]}",
        "{\"choices\":[{\"text\":\"b\",\"index\":0,\"logprobs\":{\"tokens\":[\"b\"],"
        "\"token_logprobs\":[-0.25],\"top_logprobs\":null,\"text_offset\":[1]}}]}",
        NULL};
    expect(
        OPENAI_COMPLETION, PIECES, NULL,
        "{\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"ab\",\"logprobs\":{"
        "\"tokens\":[\"a\",\"b\"],\"token_logprobs\":[-0.5,-0.25],\"top_logprobs\":null,"
        "\"text_offset\":[0,1]},\"finish_reason\":null}]}");
}

#define DELTA(delta) "{\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":null}]}"
#define ANSWER(message, finish)                                                                    \
    "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":" message               \
    ",\"logprobs\":null,\"finish_reason\":" finish "}]}"

static void test_tool_calls(void **state) {
    (void)state;
    static const char *const PIECES[] = {
        DELTA(
            "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":"
            "\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}"),
        DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\"\"}}]}"),
        // The second before the first is whole; names and ids that some servers repeat.
        DELTA(
            "{\"tool_calls\":[{\"index\":2,\"id\":\"call_3\",\"function\":{\"name\":\"h\"}},"
            "{\"index\":1,\"id\":\"call_2\",\"function\":{\"name\":\"g\",\"arguments\":\"1\"}}]}"),
        DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"\",\"type\":null,\"function\":{\"name\":\"\","
              "\"arguments\":\":1}\"}},{\"index\":1,\"function\":{\"name\":\"g\",\"arguments\":"
              "\"2\"}}]}"),
        "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}", NULL};
    expect(OPENAI_CHAT, PIECES, "stop",
           ANSWER("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
                  "{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
                  "\"arguments\":\"{\\\"a\\\":1}\"}},"
                  "{\"id\":\"call_2\",\"function\":{\"name\":\"g\",\"arguments\":\"12\"}},"
                  "{\"id\":\"call_3\",\"function\":{\"name\":\"h\"}}]}",
                  "\"tool_calls\""));
}

// Ollama sends calls whole and some servers send them without an index.
static void test_whole_tool_calls(void **state) {
    (void)state;
    static const char *const PIECES[] = {
        DELTA("{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"1\",\"function\":"
              "{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"2\",\"function\":{\"name\":\"g\","
              "\"arguments\":\"[]\"}}]}"),
        NULL};
    expect(OPENAI_CHAT, PIECES, "stop",
           ANSWER("{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"1\","
                  "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"2\",\"function\":{"
                  "\"name\":\"g\",\"arguments\":\"[]\"}}]}",
                  "\"stop\""));
}

static void test_other_deltas(void **state) {
    (void)state;
    static const struct {
        const char *pieces[4], *expected;
    } ROWS[] = {
        {{DELTA("{\"reasoning_content\":\"hm\"}"), DELTA("{\"reasoning_content\":\"m\"}"),
          DELTA("{\"content\":\"a\"}")},
         ANSWER("{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"hmm\"}",
                "\"stop\"")},
        // Cut off while it thought: an answer has a content.
        {{DELTA("{\"content\":null,\"reasoning\":\"hm\"}")},
         ANSWER("{\"role\":\"assistant\",\"content\":\"\",\"reasoning\":\"hm\"}", "\"stop\"")},
        {{DELTA("{\"refusal\":\"I \"}"), DELTA("{\"refusal\":\"will not\"}")},
         ANSWER("{\"role\":\"assistant\",\"content\":null,\"refusal\":\"I will not\"}",
                "\"stop\"")},
        {{DELTA("{\"function_call\":{\"name\":\"f\",\"arguments\":\"{\"}}"),
          DELTA("{\"function_call\":{\"arguments\":\"}\"}}")},
         ANSWER("{\"role\":\"assistant\",\"content\":null,\"function_call\":{\"name\":\"f\","
                "\"arguments\":\"{}\"}}",
                "\"stop\"")},
        {{DELTA("{\"x_new\":{\"a\":1},\"role\":\"tool\"}"), DELTA("{\"x_new\":{\"b\":[2]}}"),
          DELTA("{\"content\":\"c\",\"x_new\":{\"a\":3}}")},
         ANSWER("{\"role\":\"tool\",\"content\":\"c\",\"x_new\":{\"a\":3,\"b\":[2]}}", "\"stop\"")},
        // No stream at all.
        {{"{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"whole\"},"
          "\"finish_reason\":\"length\"}],\"object\":\"chat.completion\"}"},
         ANSWER("{\"role\":\"assistant\",\"content\":\"whole\"}", "\"length\"")},
        {{"{\"choices\":[{\"delta\":null}]}"},
         ANSWER("{\"role\":\"assistant\",\"content\":\"\"}", "\"stop\"")},
        // Nothing came.
        {{NULL}, ANSWER("{\"role\":\"assistant\",\"content\":\"\"}", "\"stop\"")},
        {{"{\"choices\":[]}"}, ANSWER("{\"role\":\"assistant\",\"content\":\"\"}", "\"stop\"")},
        {{"{\"choices\":null}", "{}"},
         ANSWER("{\"role\":\"assistant\",\"content\":\"\"}", "\"stop\"")},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        expect(OPENAI_CHAT, ROWS[i].pieces, "stop", ROWS[i].expected);
    }
    static const char *const NOTHING[] = {NULL};
    expect(OPENAI_COMPLETION, NOTHING, "length",
           "{\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"\",\"logprobs\":"
           "null,\"finish_reason\":\"length\"}]}");
}

// Choices in the order of their index, whatever the order in which they came; fields of choices.
static void test_choices(void **state) {
    (void)state;
    static const char *const PIECES[] = {
        "{\"choices\":[{\"index\":63,\"delta\":{\"content\":\"z\"}},{\"index\":2,\"delta\":{"
        "\"content\":\"c\"},\"stop_reason\":null}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"},"
        "{\"index\":2,\"delta\":{\"content\":\"C\"},\"stop_reason\":7}]}",
        NULL};
    expect(OPENAI_CHAT, PIECES, NULL,
           "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
           "\"assistant\",\"content\":\"a\"},\"logprobs\":null,\"finish_reason\":\"stop\"},"
           "{\"index\":2,\"message\":{\"role\":\"assistant\",\"content\":\"cC\"},\"logprobs\":null,"
           "\"finish_reason\":null,\"stop_reason\":7},{\"index\":63,\"message\":{\"role\":"
           "\"assistant\",\"content\":\"z\"},\"logprobs\":null,\"finish_reason\":null}]}");
}

// ---- strange upstreams

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } ROWS[] = {
        {"[]", "expected a piece of an answer: an object"},
        {"7", "expected a piece"},
        {"{\"choices\":{}}", "with a list 'choices'"},
        {"{\"choices\":[7]}", "'choices': expected a list of objects"},
        {"{\"choices\":[{\"index\":64}]}", "expected an index from 0 to 63, found 64"},
        {"{\"choices\":[{\"index\":-1}]}", "found -1"},
        {"{\"choices\":[{\"delta\":[]}]}", "expected an object as 'delta'"},
        {"{\"choices\":[{\"message\":\"a\"}]}", "expected an object as 'message'"},
        {DELTA("{\"tool_calls\":[7]}"), "expected objects with an index from 0 to 127"},
        {DELTA("{\"tool_calls\":[{\"index\":128}]}"), "'tool_calls'"},
        {DELTA("{\"tool_calls\":[{\"index\":-1}]}"), "'tool_calls'"},
        {"{\"error\":{\"code\":500,\"message\":\"out of slots\"}}", "found an error: out of slots"},
        {"{\"error\":\"x\",\"message\":\"out of luck\"}", "found an error: out of luck"},
        {"{\"error\":true}", "found an error: no words"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct openai_assembly a;
        struct wl_err err = {0};
        openai_assembly_init(&a, OPENAI_CHAT, 1 << 20);
        assert_int_equal(add(&a, DELTA("{\"content\":\"a\"}"), &err), WL_OK);
        enum wl_status status = add(&a, ROWS[i].text, &err);
        if (status != WL_INPUT || err.status != status || !strstr(err.message, ROWS[i].words)) {
            fail_msg("%s: found '%s', expected '%s'", ROWS[i].text, err.message, ROWS[i].words);
        }
        assert_int_equal(add(&a, ROWS[i].text, NULL), WL_INPUT);
        openai_assembly_release(&a);
    }
}

// Fields that change their kind, texts whose holders go: nothing of it is remembered wrongly.
static void test_changing_kinds(void **state) {
    (void)state;
    static const char *const PIECES[] = {DELTA("{\"function_call\":{\"arguments\":\"lost\"}}"),
                                         DELTA("{\"function_call\":7}"),
                                         DELTA("{\"function_call\":{\"arguments\":\"kept\"}}"),
                                         DELTA("{\"tool_calls\":{\"a\":1}}"),
                                         DELTA("{\"tool_calls\":[{\"index\":0,\"id\":5}]}"),
                                         DELTA("{\"content\":\"a\"}"),
                                         DELTA("{\"content\":[1]}"),
                                         DELTA("{\"content\":\"b\"}"),
                                         "{\"choices\":[{\"logprobs\":7}]}",
                                         "{\"choices\":[{\"logprobs\":{\"content\":3}}]}",
                                         "{\"choices\":[{\"logprobs\":{\"content\":[4]}}]}",
                                         NULL};
    expect(OPENAI_CHAT, PIECES, "stop",
           "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
           "\"assistant\",\"content\":\"ab\",\"function_call\":{\"arguments\":\"kept\"},"
           "\"tool_calls\":[{\"id\":5}]},\"logprobs\":{\"content\":[4]},\"finish_reason\":\"stop\"}"
           "]}");
}

// How many times a piece, with another number each time, can be added before the bound is met.
static size_t count_until_limit(const char *before, const char *after, size_t max_bytes) {
    enum { MAX_PIECES = 20000 };
    struct openai_assembly a;
    struct wl_err err = {0};
    size_t n = 0;
    openai_assembly_init(&a, OPENAI_CHAT, max_bytes);
    for (char text[512]; n < MAX_PIECES; n++) {
        snprintf(text, sizeof text, "%s%zu%s", before, n % 128, after);
        enum wl_status status = add(&a, text, &err);
        if (status != WL_OK) {
            assert_int_equal(status, WL_LIMIT);
            assert_non_null(strstr(err.message, "the answer: expected at most"));
            assert_true(a.n_bytes <= max_bytes);
            break;
        }
    }
    openai_assembly_release(&a);
    return n;
}

static void test_limit(void **state) {
    (void)state;
    enum { MAX = 100000 };
    static const char CONTENT[] = "{\"choices\":[{\"delta\":{\"content\":\"0123456789",
                      LOGPROBS[] = "{\"choices\":[{\"logprobs\":{\"content\":[{\"token\":\"",
                      CALLS[] = "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":",
                      CREATED[] =
                          "{\"choices\":[],\"usage\":{\"completion_tokens\":1},\"created\":";
    // All that grows is counted.
    size_t n = count_until_limit(CONTENT, "\"}}]}", MAX);
    assert_in_range(n, MAX / 13 * 9 / 10, MAX / 11);
    assert_int_equal(count_until_limit(CONTENT, "\"}}]}", 10), 0);
    n = count_until_limit(LOGPROBS, "\"}]}}]}", MAX);
    assert_in_range(n, MAX / 400, MAX / 100);
    n = count_until_limit(CALLS, ",\"function\":{\"arguments\":\"0123456789\"}}]}}]}", MAX);
    assert_in_range(n, 100, MAX / 10);
    // What only changes is not.
    assert_int_equal(count_until_limit(CREATED, "}", 1000), 20000);
}

static void test_many_fields(void **state) {
    (void)state;
    struct openai_assembly a;
    struct wl_err err = {0};
    size_t n = 0;
    openai_assembly_init(&a, OPENAI_CHAT, 100000);
    for (char text[128]; n < 10000; n++) {
        snprintf(text, sizeof text, n % 2 ? "{\"x%zu\":1}" : DELTA("{\"x%zu\":1}"), n);
        if (add(&a, text, &err) != WL_OK) {
            break;
        }
    }
    assert_int_equal(err.status, WL_LIMIT);
    assert_in_range(n, 500, 1100);
    openai_assembly_release(&a);
}

// A long answer in small pieces takes time in proportion to its length.
static void test_long_answer(void **state) {
    (void)state;
    enum { PIECES = 50000 };
    struct openai_assembly a;
    openai_assembly_init(&a, OPENAI_CHAT, 100 * PIECES);
    json_t *piece;
    static const char TEXT[] = DELTA("{\"content\":\"0123456789\"}");
    assert_int_equal(openai_json_parse(TEXT, sizeof TEXT - 1, &piece, NULL), WL_OK);
    for (int i = 0; i < PIECES; i++) {
        assert_int_equal(openai_assembly_add(&a, piece, NULL), WL_OK);
    }
    json_decref(piece);
    json_t *reply = openai_assembly_take(&a, "length");
    const json_t *choice = json_array_get(json_object_get(reply, "choices"), 0);
    const json_t *content = json_object_get(json_object_get(choice, "message"), "content");
    assert_int_equal(json_string_length(content), 10 * PIECES);
    json_decref(reply);
}

// What is done to a piece afterwards does not reach the answer.
static void test_keeps_copies(void **state) {
    (void)state;
    static const char TEXT[] = "{\"choices\":[{\"logprobs\":{\"content\":[{\"a\":1}]}}],\"usage\":{"
                               "\"prompt_tokens\":1}}";
    struct openai_assembly a;
    json_t *piece;
    openai_assembly_init(&a, OPENAI_CHAT, 1 << 20);
    assert_int_equal(openai_json_parse(TEXT, sizeof TEXT - 1, &piece, NULL), WL_OK);
    json_t *before = json_deep_copy(piece);
    assert_int_equal(openai_assembly_add(&a, piece, NULL), WL_OK);
    assert_true(json_equal(piece, before));
    const struct openai_energy energy = {.gross_j = 1};
    assert_true(openai_reply_add_energy(piece, NULL, &energy));
    json_decref(piece);
    json_decref(before);
    json_t *reply = openai_assembly_take(&a, NULL);
    assert_null(json_object_get(json_object_get(reply, "usage"), "energy"));
    json_decref(reply);
    // It can be used again, for another answer.
    assert_int_equal(add(&a, DELTA("{\"content\":\"b\"}"), NULL), WL_OK);
    char *found = written(openai_assembly_take(&a, "stop"));
    assert_string_equal(found, ANSWER("{\"role\":\"assistant\",\"content\":\"b\"}", "\"stop\""));
    free(found);
    struct openai_assembly zeroed = {0};
    openai_assembly_release(&zeroed);
}

static void test_no_memory(void **state) {
    (void)state;
    static const char TEXT[] =
        "{\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\",\"tool_calls\":[{"
        "\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"1\"}}]},\"logprobs\":{"
        "\"content\":[{\"token\":\"a\"}]}}]}";
    json_t *piece;
    assert_int_equal(openai_json_parse(TEXT, sizeof TEXT - 1, &piece, NULL), WL_OK);
    bool has_failed = true;
    size_t n = 0;
    for (; has_failed; n++) {
        struct openai_assembly a;
        struct wl_err err = {0};
        openai_assembly_init(&a, OPENAI_CHAT, 1 << 20);
        failing_begin(n);
        enum wl_status status = openai_assembly_add(&a, piece, &err);
        json_t *reply = status == WL_OK ? openai_assembly_take(&a, "stop") : NULL;
        has_failed = failing_end();
        assert_true(status == WL_OK || (status == WL_MEMORY && err.status == WL_MEMORY));
        assert_int_equal(reply != NULL, !has_failed);
        json_decref(reply);
        openai_assembly_release(&a);
        assert_true(n < 1000);
    }
    assert_true(n > 20);
    json_decref(piece);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_server),     cmocka_unit_test(test_completion),
        cmocka_unit_test(test_old_logprobs),     cmocka_unit_test(test_tool_calls),
        cmocka_unit_test(test_whole_tool_calls), cmocka_unit_test(test_other_deltas),
        cmocka_unit_test(test_choices),          cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_changing_kinds),   cmocka_unit_test(test_limit),
        cmocka_unit_test(test_many_fields),      cmocka_unit_test(test_long_answer),
        cmocka_unit_test(test_keeps_copies),     cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
