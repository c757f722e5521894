// Requests in OpenAI's form: what is read of them, what is refused in words, and what is changed
// while all else stays as it came.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "failing_jansson.h"
#include "openai/request.h"

static void parse(enum openai_endpoint endpoint, const char *text, struct openai_request *request) {
    struct openai_fault fault = {0};
    if (openai_request_parse(endpoint, text, strlen(text), request, &fault) != WL_OK) {
        fail_msg("%s: %s", text, fault.err.message);
    }
    assert_int_equal(request->endpoint, endpoint);
    assert_false(request->is_changed);
}

static void expect_written(const struct openai_request *request, const char *expected) {
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_true(openai_request_write(request, &out));
    assert_string_equal(buf_text(&out), expected);
    buf_release(&out);
}

// ---- reading

static void test_chat(void **state) {
    (void)state;
    // As the clients of OpenAI send it, with fields that nobody knows.
    static const char TEXT[] =
        "{\"model\":\"qwen\",\"messages\":[{\"role\":\"developer\",\"content\":\"Be brief.\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"h\xc3\xa4? \\\"\\n\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\","
        "\"detail\":\"low\"}},{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"UklG\","
        "\"format\":\"wav\"}},{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://b/"
        "c.jpg\"}}]},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call_1\",\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":[{\"type\":\"image_url\","
        "\"image_url\":\"https://d/"
        "e.png\",\"detail\":\"high\"},{\"type\":\"text\",\"text\":\"\"}]},"
        "{\"role\":\"user\",\"content\":\"And now?\",\"name\":\"x\"}],\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true,\"x\":1},\"max_completion_tokens\":200,"
        "\"max_tokens\":100,\"n\":2,\"temperature\":0.7,\"seed\":4294967295,\"stop\":[\"a\"],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":"
        "\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}}}],\"logit_bias\":{\"12\":-100},"
        "\"response_format\":{\"type\":\"json_object\"},\"x_unknown\":[null,{\"deep\":[[1.5]]}]}";
    struct openai_request request;
    parse(OPENAI_CHAT, TEXT, &request);
    assert_string_equal(request.model, "qwen");
    assert_true(request.is_stream && request.has_options && request.wants_usage);
    assert_int_equal(request.max_output, 100);
    assert_int_equal(request.n_choices, 2);
    assert_int_equal(request.n_prompts, 1);
    assert_int_equal(request.n_messages, 5);
    assert_int_equal(request.n_images, 3);
    static const struct {
        const char *url, *key;
        enum openai_detail detail;
        size_t message, part;
    } IMAGES[] = {{"data:image/png;base64,AAAA", "url", OPENAI_DETAIL_LOW, 1, 1},
                  {"http://b/c.jpg", "url", OPENAI_DETAIL_AUTO, 1, 3},
                  {"https://d/e.png", "image_url", OPENAI_DETAIL_HIGH, 3, 0}};
    for (size_t i = 0; i < 3; i++) {
        const struct openai_image *image = &request.images[i];
        assert_string_equal(image->url, IMAGES[i].url);
        assert_int_equal(image->n_url, strlen(IMAGES[i].url));
        assert_string_equal(image->key, IMAGES[i].key);
        assert_ptr_equal(json_string_value(json_object_get(image->holder, image->key)), image->url);
        assert_int_equal(image->detail, IMAGES[i].detail);
        assert_int_equal(image->message, IMAGES[i].message);
        assert_int_equal(image->part, IMAGES[i].part);
    }
    expect_written(&request, TEXT);
    openai_request_release(&request);
    openai_request_release(&request);
    assert_true(!request.root && !request.images && request.n_images == 0);
}

static void test_little(void **state) {
    (void)state;
    struct openai_request request;
    parse(OPENAI_CHAT, "{\"messages\":[]}", &request);
    assert_string_equal(request.model, "");
    assert_true(!request.is_stream && !request.has_options && !request.wants_usage);
    assert_int_equal(request.max_output, OPENAI_ABSENT);
    assert_int_equal(request.n_choices, 1);
    assert_true(request.n_messages == 0 && request.n_images == 0);
    openai_request_release(&request);
    // What a client leaves out it may send as null.
    parse(OPENAI_CHAT,
          "{\"model\":null,\"messages\":[{\"role\":\"assistant\"},{\"role\":\"user\",\"content\":"
          "null},{\"role\":\"user\",\"content\":[]}],\"stream\":null,\"stream_options\":null,"
          "\"max_tokens\":null,\"max_completion_tokens\":null,\"n\":null}",
          &request);
    assert_string_equal(request.model, "");
    assert_true(!request.is_stream && !request.has_options && !request.wants_usage);
    assert_int_equal(request.max_output, OPENAI_ABSENT);
    assert_int_equal(request.n_choices, 1);
    assert_int_equal(request.n_messages, 3);
    openai_request_release(&request);
    parse(OPENAI_CHAT, "{\"messages\":[],\"stream\":false,\"stream_options\":{}}", &request);
    assert_true(!request.is_stream && request.has_options && !request.wants_usage);
    openai_request_release(&request);
}

static void test_details(void **state) {
    (void)state;
    static const struct {
        const char *detail;
        enum openai_detail expected;
    } ROWS[] = {{"\"low\"", OPENAI_DETAIL_LOW},       {"\"high\"", OPENAI_DETAIL_HIGH},
                {"\"auto\"", OPENAI_DETAIL_AUTO},     {"\"LOW\"", OPENAI_DETAIL_AUTO},
                {"\"original\"", OPENAI_DETAIL_AUTO}, {"\"\"", OPENAI_DETAIL_AUTO},
                {"null", OPENAI_DETAIL_AUTO},         {"7", OPENAI_DETAIL_AUTO}};
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        char text[256];
        struct openai_request request;
        snprintf(text, sizeof text,
                 "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
                 "\"image_url\":{\"url\":\"u\",\"detail\":%s}},{\"type\":\"input_image\","
                 "\"image_url\":\"v\",\"detail\":%s}]}]}",
                 ROWS[i].detail, ROWS[i].detail);
        parse(OPENAI_CHAT, text, &request);
        assert_int_equal(request.n_images, 2);
        assert_int_equal(request.images[0].detail, ROWS[i].expected);
        assert_int_equal(request.images[1].detail, ROWS[i].expected);
        openai_request_release(&request);
    }
}

// max_tokens and its relatives; n and its relatives.
static void test_counts(void **state) {
    (void)state;
    static const struct {
        enum openai_endpoint endpoint;
        const char *fields;
        int64_t max_output;
        uint32_t n_choices;
        size_t n_prompts;
    } ROWS[] = {
        {OPENAI_COMPLETION, "\"prompt\":\"a\"", OPENAI_ABSENT, 1, 1},
        {OPENAI_COMPLETION, "\"max_tokens\":0", 0, 1, 1},
        {OPENAI_COMPLETION, "\"max_tokens\":-1", OPENAI_ABSENT, 1, 1},
        {OPENAI_COMPLETION, "\"max_tokens\":-1,\"n_predict\":7", 7, 1, 1},
        {OPENAI_COMPLETION, "\"max_tokens\":9,\"n_predict\":-1", 9, 1, 1},
        {OPENAI_COMPLETION, "\"n_predict\":7,\"max_tokens\":9", 7, 1, 1},
        {OPENAI_COMPLETION, "\"num_predict\":5,\"max_completion_tokens\":6", 5, 1, 1},
        {OPENAI_COMPLETION, "\"max_tokens\":20.0", 20, 1, 1},
        {OPENAI_COMPLETION, "\"max_tokens\":9223372036854775807", INT64_MAX, 1, 1},
        {OPENAI_COMPLETION, "\"n\":64", OPENAI_ABSENT, 64, 1},
        {OPENAI_COMPLETION, "\"n\":2,\"best_of\":5", OPENAI_ABSENT, 5, 1},
        {OPENAI_COMPLETION, "\"n\":4,\"best_of\":1", OPENAI_ABSENT, 4, 1},
        {OPENAI_COMPLETION, "\"n_cmpl\":3", OPENAI_ABSENT, 3, 1},
        {OPENAI_COMPLETION, "\"prompt\":[\"a\",\"b\",\"c\"],\"n\":2", OPENAI_ABSENT, 2, 3},
        {OPENAI_COMPLETION, "\"prompt\":[1,2,3]", OPENAI_ABSENT, 1, 1},
        {OPENAI_COMPLETION, "\"prompt\":[[1,2],[3]]", OPENAI_ABSENT, 1, 2},
        {OPENAI_COMPLETION, "\"prompt\":[]", OPENAI_ABSENT, 1, 1},
        {OPENAI_COMPLETION, "\"prompt\":{\"prompt_string\":\"a\"}", OPENAI_ABSENT, 1, 1},
        {OPENAI_CHAT, "\"messages\":[],\"max_completion_tokens\":8", 8, 1, 1},
        {OPENAI_CHAT, "\"messages\":[],\"n\":3.0,\"prompt\":[\"a\",\"b\"]", OPENAI_ABSENT, 3, 1},
        {OPENAI_CHAT, "\"messages\":[],\"best_of\":9", OPENAI_ABSENT, 1, 1},
        {OPENAI_EMBEDDING, "\"input\":\"a\"", OPENAI_ABSENT, 1, 1},
        {OPENAI_EMBEDDING, "\"input\":[\"a\",\"b\"],\"n\":\"x\",\"stream\":7", OPENAI_ABSENT, 1, 2},
        {OPENAI_EMBEDDING, "\"messages\":7", OPENAI_ABSENT, 1, 1},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        char text[256];
        struct openai_request request;
        snprintf(text, sizeof text, "{%s}", ROWS[i].fields);
        parse(ROWS[i].endpoint, text, &request);
        if (request.max_output != ROWS[i].max_output || request.n_choices != ROWS[i].n_choices ||
            request.n_prompts != ROWS[i].n_prompts) {
            fail_msg("%s: found %lld tokens, %u choices, %zu prompts", text,
                     (long long)request.max_output, request.n_choices, request.n_prompts);
        }
        openai_request_release(&request);
    }
}

// ---- refusals

#define USER(content) "{\"messages\":[{\"role\":\"user\",\"content\":" content "}]}"
static const struct {
    enum openai_endpoint endpoint;
    const char *text, *param, *words;
} REFUSALS[] = {
    {OPENAI_CHAT, "", "", "the request: expected JSON, found nothing"},
    {OPENAI_CHAT, "{\"messages\":[}", "", "the request: bad JSON at line 1 column 14"},
    {OPENAI_CHAT, "{\"a\":1,\"a\":2}", "", "duplicate"},
    {OPENAI_CHAT, "{\"a\":\"\\u0000\"}", "", "bad JSON"},
    {OPENAI_CHAT, "[]", "", "the request: expected an object, found a list"},
    {OPENAI_CHAT, "null", "", "found null"},
    {OPENAI_CHAT, "{}", "messages", "'messages' is missing: expected a list of messages"},
    {OPENAI_CHAT, "{\"messages\":{}}", "messages", "expected a list of messages, found an obj"},
    {OPENAI_CHAT, "{\"messages\":null}", "messages", "found null"},
    {OPENAI_CHAT, "{\"messages\":[1]}", "messages[0]", "expected an object, found a whole num"},
    {OPENAI_CHAT, "{\"messages\":[{\"role\":\"user\"},{}]}", "messages[1].role",
     "'messages[1].role' is missing: expected text"},
    {OPENAI_CHAT, "{\"messages\":[{\"role\":7}]}", "messages[0].role", "found a whole number"},
    {OPENAI_CHAT, USER("{}"), "messages[0].content",
     "'messages[0].content': expected text, or a list of parts, found an object"},
    {OPENAI_CHAT, USER("7.5"), "messages[0].content", "found a number"},
    {OPENAI_CHAT, USER("[\"a\"]"), "messages[0].content[0]", "expected an object, found text"},
    {OPENAI_CHAT, USER("[{\"type\":\"text\"},{\"image_url\":\"u\"}]"),
     "messages[0].content[1].type", "is missing: expected text"},
    {OPENAI_CHAT, USER("[{\"type\":null}]"), "messages[0].content[0].type", "found null"},
    {OPENAI_CHAT, USER("[{\"type\":\"image_url\"}]"), "messages[0].content[0].image_url",
     "is missing: expected an object with a 'url'"},
    {OPENAI_CHAT, USER("[{\"type\":\"input_image\",\"image_url\":[]}]"),
     "messages[0].content[0].image_url", "found a list"},
    {OPENAI_CHAT, USER("[{\"type\":\"image_url\",\"image_url\":{}}]"),
     "messages[0].content[0].image_url.url", "is missing: expected the address of a picture"},
    {OPENAI_CHAT, USER("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"\"}}]"),
     "messages[0].content[0].image_url.url", "is missing"},
    {OPENAI_CHAT, USER("[{\"type\":\"image_url\",\"image_url\":{\"url\":true}}]"),
     "messages[0].content[0].image_url.url", "found true"},
    {OPENAI_CHAT, USER("[{\"type\":\"image_url\",\"image_url\":\"\"}]"),
     "messages[0].content[0].image_url", "is missing"},
    {OPENAI_CHAT, "{\"messages\":[],\"model\":[]}", "model", "'model': expected text, found a"},
    {OPENAI_EMBEDDING, "{\"model\":1}", "model", "found a whole number"},
    {OPENAI_COMPLETION, "{\"stream\":\"true\"}", "stream",
     "'stream': expected true or false, found text"},
    {OPENAI_COMPLETION, "{\"stream_options\":true}", "stream_options",
     "expected an object, found true"},
    {OPENAI_COMPLETION, "{\"stream_options\":{\"include_usage\":1}}",
     "stream_options.include_usage", "expected true or false"},
    {OPENAI_COMPLETION, "{\"max_tokens\":\"9\"}", "max_tokens",
     "'max_tokens': expected a whole number, found text"},
    {OPENAI_COMPLETION, "{\"max_tokens\":1.5}", "max_tokens", "found a number"},
    {OPENAI_COMPLETION, "{\"max_tokens\":1e300}", "max_tokens", "found a number"},
    {OPENAI_COMPLETION, "{\"max_tokens\":-2}", "max_tokens",
     "expected 0 or more, or -1 for no limit, found -2"},
    {OPENAI_COMPLETION, "{\"max_completion_tokens\":-5}", "max_completion_tokens", "found -5"},
    {OPENAI_COMPLETION, "{\"n_predict\":{}}", "n_predict", "found an object"},
    {OPENAI_COMPLETION, "{\"num_predict\":false}", "num_predict", "found false"},
    {OPENAI_COMPLETION, "{\"n\":0}", "n", "'n': expected 1 to 64, found 0"},
    {OPENAI_COMPLETION, "{\"n\":65}", "n", "found 65"},
    {OPENAI_COMPLETION, "{\"n\":-1}", "n", "found -1"},
    {OPENAI_COMPLETION, "{\"n\":\"2\"}", "n", "expected a whole number, found text"},
    {OPENAI_COMPLETION, "{\"n_cmpl\":100}", "n_cmpl", "found 100"},
    {OPENAI_COMPLETION, "{\"best_of\":0}", "best_of", "found 0"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        struct openai_request request;
        struct openai_fault fault = {0};
        size_t n = strlen(REFUSALS[i].text);
        enum wl_status status =
            openai_request_parse(REFUSALS[i].endpoint, REFUSALS[i].text, n, &request, &fault);
        if (status != WL_INPUT || fault.err.status != status ||
            strcmp(fault.param, REFUSALS[i].param) != 0 ||
            !strstr(fault.err.message, REFUSALS[i].words)) {
            fail_msg("'%s': found %d, '%s': '%s', expected '%s': '%s'", REFUSALS[i].text,
                     (int)status, fault.param, fault.err.message, REFUSALS[i].param,
                     REFUSALS[i].words);
        }
        assert_true(!request.root && !request.images && request.n_images == 0);
        assert_int_equal(
            openai_request_parse(REFUSALS[i].endpoint, REFUSALS[i].text, n, &request, NULL),
            WL_INPUT);
        openai_request_release(&request);
    }
}

static void test_codes(void **state) {
    (void)state;
    static const struct {
        const char *text, *code;
    } ROWS[] = {{"{}", "missing_required_parameter"},
                {"{\"messages\":1}", "invalid_type"},
                {"{\"messages\":[],\"n\":0}", "invalid_value"}};
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct openai_request request;
        struct openai_fault fault = {0};
        openai_request_parse(OPENAI_CHAT, ROWS[i].text, strlen(ROWS[i].text), &request, &fault);
        assert_string_equal(fault.code, ROWS[i].code);
    }
}

static void expect_limit(enum openai_endpoint endpoint, const struct buf *text, bool is_fine,
                         const char *words) {
    struct openai_request request;
    struct openai_fault fault = {0};
    enum wl_status status = openai_request_parse(endpoint, text->data, text->len, &request, &fault);
    assert_int_equal(status, is_fine ? WL_OK : WL_LIMIT);
    if (!is_fine && !strstr(fault.err.message, words)) {
        fail_msg("found '%s', expected '%s'", fault.err.message, words);
    }
    openai_request_release(&request);
}

static void put_times(struct buf *text, const char *before, const char *each, size_t n,
                      const char *after) {
    buf_clear(text);
    buf_puts(text, before);
    for (size_t i = 0; i < n; i++) {
        buf_puts(text, i ? "," : "");
        buf_puts(text, each);
    }
    buf_puts(text, after);
}

static void test_limits(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t more = 0; more <= 1; more++) {
        put_times(&text, "{\"messages\":[", "{\"role\":\"user\"}", OPENAI_MAX_MESSAGES + more,
                  "]}");
        expect_limit(OPENAI_CHAT, &text, !more, "at most 4096 messages, found 4097");
        put_times(&text, "{\"messages\":[{\"role\":\"user\",\"content\":[",
                  "{\"type\":\"image_url\",\"image_url\":\"u\"}", OPENAI_MAX_IMAGES + more, "]}]}");
        expect_limit(OPENAI_CHAT, &text, !more, "at most 64 pictures, found more");
        put_times(&text, "{\"prompt\":[", "\"a\"", OPENAI_MAX_CHOICES / 4 + more, "],\"n\":4}");
        expect_limit(OPENAI_COMPLETION, &text, !more,
                     "at most 64 choices in all, found 17 prompts with 4 choices each");
    }
    put_times(&text, "{\"input\":[", "\"a\"", 5000, "]}");
    expect_limit(OPENAI_EMBEDDING, &text, true, "");
    buf_release(&text);
}

// ---- changes

static void test_limit_output(void **state) {
    (void)state;
    static const struct {
        const char *before;
        int64_t n_tokens;
        const char *after; // NULL: unchanged
        int64_t max_output;
    } ROWS[] = {
        {"{\"prompt\":\"a\"}", 10, "{\"prompt\":\"a\",\"max_tokens\":10}", 10},
        {"{\"max_tokens\":9}", 10, NULL, 9},
        {"{\"max_tokens\":10}", 10, NULL, 10},
        {"{\"max_tokens\":11}", 10, "{\"max_tokens\":10}", 10},
        {"{\"max_tokens\":9.0}", 10, NULL, 9},
        {"{\"max_tokens\":null}", 10, "{\"max_tokens\":10}", 10},
        {"{\"max_tokens\":-1}", 10, "{\"max_tokens\":10}", 10},
        {"{\"max_tokens\":5}", 0, "{\"max_tokens\":0}", 0},
        {"{\"max_tokens\":5}", -3, "{\"max_tokens\":0}", 0},
        // Whichever name the server reads.
        {"{\"max_completion_tokens\":20}", 10, "{\"max_completion_tokens\":10,\"max_tokens\":10}",
         10},
        {"{\"max_completion_tokens\":5}", 10, "{\"max_completion_tokens\":5,\"max_tokens\":5}", 5},
        {"{\"max_tokens\":8,\"n_predict\":-1}", 10, "{\"max_tokens\":8,\"n_predict\":8}", 8},
        {"{\"max_tokens\":8,\"n_predict\":null,\"num_predict\":99,\"max_completion_tokens\":3}", 10,
         "{\"max_tokens\":3,\"n_predict\":3,\"num_predict\":3,\"max_completion_tokens\":3}", 3},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct openai_request request;
        parse(OPENAI_COMPLETION, ROWS[i].before, &request);
        assert_true(openai_request_limit_output(&request, ROWS[i].n_tokens));
        expect_written(&request, ROWS[i].after ? ROWS[i].after : ROWS[i].before);
        assert_int_equal(request.is_changed, ROWS[i].after != NULL);
        assert_int_equal(request.max_output, ROWS[i].max_output);
        // Twice is once.
        request.is_changed = false;
        assert_true(openai_request_limit_output(&request, ROWS[i].n_tokens));
        assert_false(request.is_changed);
        openai_request_release(&request);
    }
    struct openai_request request;
    parse(OPENAI_EMBEDDING, "{\"input\":\"a\"}", &request);
    assert_true(openai_request_limit_output(&request, 10));
    assert_false(request.is_changed);
    openai_request_release(&request);
}

static void test_ask_usage(void **state) {
    (void)state;
    static const struct {
        const char *before;
        bool as_stream;
        const char *after; // NULL: unchanged
    } ROWS[] = {
        {"{\"prompt\":\"a\"}", false, NULL},
        {"{\"stream\":false}", false, NULL},
        {"{\"stream\":true}", false,
         "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream\":true,\"stream_options\":{\"include_usage\":true}}", true, NULL},
        {"{\"stream\":true,\"stream_options\":{\"include_usage\":false,\"x\":1}}", false,
         "{\"stream\":true,\"stream_options\":{\"include_usage\":true,\"x\":1}}"},
        {"{\"stream\":true,\"stream_options\":null}", false,
         "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream_options\":{}}", false, NULL},
        {"{}", true, "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream\":null}", true,
         "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream\":false,\"prompt\":\"a\"}", true,
         "{\"stream\":true,\"prompt\":\"a\",\"stream_options\":{\"include_usage\":true}}"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct openai_request request;
        parse(OPENAI_COMPLETION, ROWS[i].before, &request);
        bool was_stream = request.is_stream, wanted = request.wants_usage;
        assert_true(openai_request_ask_usage(&request, ROWS[i].as_stream));
        expect_written(&request, ROWS[i].after ? ROWS[i].after : ROWS[i].before);
        assert_int_equal(request.is_changed, ROWS[i].after != NULL);
        // They tell what the client asked for.
        assert_int_equal(request.is_stream, was_stream);
        assert_int_equal(request.wants_usage, wanted);
        openai_request_release(&request);
    }
    struct openai_request request;
    parse(OPENAI_EMBEDDING, "{\"input\":\"a\"}", &request);
    assert_true(openai_request_ask_usage(&request, true));
    assert_false(request.is_changed);
    openai_request_release(&request);
}

static void test_set_image(void **state) {
    (void)state;
    struct openai_request request;
    struct openai_fault fault = {0};
    parse(OPENAI_CHAT,
          USER("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"a\",\"detail\":\"low\"}},"
               "{\"type\":\"image_url\",\"image_url\":\"b\"}]"),
          &request);
    static const char *const WRONG[] = {"", "data: x", "\xc3\xa4", "a\nb", "a\x7f"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        assert_int_equal(openai_request_set_image(&request, 0, WRONG[i], strlen(WRONG[i]), &fault),
                         WL_INPUT);
        assert_non_null(strstr(fault.err.message, "picture 0: expected printable ASCII"));
    }
    assert_false(request.is_changed);
    char uri[] = "data:image/jpeg;base64,/9j/4AAQ";
    size_t n_uri = strlen(uri) - 2; // need not end where the text does
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(openai_request_set_image(&request, i, uri, n_uri, &fault), WL_OK);
        assert_int_equal(request.images[i].n_url, n_uri);
    }
    memset(uri, 'x', n_uri); // a copy was taken
    assert_string_equal(request.images[0].url, "data:image/jpeg;base64,/9j/4A");
    assert_true(request.is_changed);
    expect_written(&request,
                   USER("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/jpeg;base64,"
                        "/9j/4A\",\"detail\":\"low\"}},{\"type\":\"image_url\",\"image_url\":"
                        "\"data:image/jpeg;base64,/9j/4A\"}]"));
    openai_request_release(&request);
}

// One message of parts: letters are texts, digits pictures. Its parts afterwards, in `out`.
static bool images_first(const char *role, const char *parts, char *out) {
    struct buf text;
    struct openai_request request;
    buf_init(&text, 1 << 16);
    buf_printf(&text, "{\"messages\":[{\"role\":\"%s\",\"content\":[", role);
    for (size_t i = 0; parts[i]; i++) {
        bool is_image = parts[i] >= '0' && parts[i] <= '9';
        buf_printf(&text,
                   is_image ? "%s{\"type\":\"image_url\",\"image_url\":{\"url\":\"%c\"}}"
                            : "%s{\"type\":\"text\",\"text\":\"%c\"}",
                   i ? "," : "", parts[i]);
    }
    buf_puts(&text, "]}]}");
    parse(OPENAI_CHAT, text.data, &request);
    buf_release(&text);
    bool has_moved = openai_request_images_first(&request);
    assert_int_equal(request.is_changed, has_moved);
    const json_t *message = json_array_get(json_object_get(request.root, "messages"), 0);
    const json_t *content = json_object_get(message, "content");
    size_t n_images = 0;
    assert_int_equal(json_array_size(content), strlen(parts));
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        const json_t *holder = json_object_get(part, "image_url");
        const char *mark = json_string_value(json_object_get(part, "text"));
        if (holder) {
            mark = json_string_value(json_object_get(holder, "url"));
            assert_int_equal(request.images[n_images].part, i);
            assert_ptr_equal(request.images[n_images].url, mark);
            assert_ptr_equal(request.images[n_images++].holder, holder);
        }
        out[i] = mark[0];
    }
    out[strlen(parts)] = '\0';
    assert_int_equal(n_images, request.n_images);
    openai_request_release(&request);
    return has_moved;
}

static void test_images_first(void **state) {
    (void)state;
    static const struct {
        const char *before, *after;
    } ROWS[] = {{"", ""},         {"a", "a"},         {"0", "0"},     {"01ab", "01ab"},
                {"a0", "0a"},     {"a0b", "0ab"},     {"0a1", "01a"}, {"a0b1c2d", "012abcd"},
                {"ab01", "01ab"}, {"0ab1c", "01abc"}, {"a01", "01a"}, {"012a3b", "0123ab"}};
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        char out[32];
        bool is_same = strcmp(ROWS[i].before, ROWS[i].after) == 0;
        assert_int_equal(images_first("user", ROWS[i].before, out), !is_same);
        assert_string_equal(out, ROWS[i].after);
        // What others say keeps its order.
        assert_false(images_first("tool", ROWS[i].before, out));
        assert_string_equal(out, ROWS[i].before);
    }
}

static void test_images_first_of_each_message(void **state) {
    (void)state;
    struct openai_request request;
    parse(OPENAI_CHAT,
          "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
          "{\"type\":\"image_url\",\"image_url\":\"0\"}]},{\"role\":\"user\",\"content\":\"b\"},"
          "{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"1\"},"
          "{\"type\":\"text\",\"text\":\"c\"},{\"type\":\"image_url\",\"image_url\":\"2\"}]}]}",
          &request);
    assert_true(openai_request_images_first(&request));
    expect_written(
        &request,
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":"
        "\"0\"},{\"type\":\"text\",\"text\":\"a\"}]},{\"role\":\"user\",\"content\":\"b\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"1\"},"
        "{\"type\":\"image_url\",\"image_url\":\"2\"},{\"type\":\"text\",\"text\":\"c\"}]}]}");
    assert_true(request.images[2].message == 2 && request.images[2].part == 1);
    assert_false(openai_request_images_first(&request));
    openai_request_release(&request);
}

// A picture of 8 MiB comes out byte by byte as it came.
static void test_large_image(void **state) {
    (void)state;
    enum { BYTES = 8 << 20 };
    struct buf text, out;
    buf_init(&text, 2 * BYTES);
    buf_init(&out, 2 * BYTES);
    buf_puts(&text, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
                    "\"image_url\":{\"url\":\"");
    char *line = malloc(BYTES);
    assert_non_null(line);
    memset(line, 'A', BYTES);
    buf_append(&text, line, BYTES);
    free(line);
    buf_puts(&text, "\"}}]}]}");
    struct openai_request request;
    parse(OPENAI_CHAT, text.data, &request);
    assert_int_equal(request.images[0].n_url, BYTES);
    assert_true(openai_request_write(&request, &out));
    openai_request_release(&request);
    assert_int_equal(out.len, text.len);
    assert_memory_equal(out.data, text.data, text.len);
    buf_release(&text);
    buf_release(&out);
}

// A limit that could not be set must not pass for one that was.
static void test_no_memory(void **state) {
    (void)state;
    bool has_failed = true;
    for (size_t n = 0; has_failed; n++) {
        struct openai_request request;
        parse(OPENAI_CHAT, USER("[{\"type\":\"image_url\",\"image_url\":\"a\"}]"), &request);
        failing_begin(n);
        bool is_fine = openai_request_limit_output(&request, 10) &&
                       openai_request_ask_usage(&request, true) &&
                       openai_request_set_image(&request, 0, "b", 1, NULL) == WL_OK;
        has_failed = failing_end();
        assert_int_equal(is_fine, !has_failed);
        openai_request_release(&request);
        assert_true(n < 1000);
    }
    // Moving and dropping need none.
    struct openai_request request;
    parse(OPENAI_CHAT,
          "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"},{\"type\":"
          "\"image_url\",\"image_url\":\"a\"}]},{\"role\":\"user\"}]}",
          &request);
    failing_begin(0);
    assert_true(openai_request_images_first(&request));
    assert_int_equal(openai_request_drop_turns(&request, 1), 1);
    assert_false(failing_end());
    openai_request_release(&request);
}

static void test_no_memory_to_parse(void **state) {
    (void)state;
    static const char TEXT[] = USER("[{\"type\":\"image_url\",\"image_url\":\"a\"}]");
    bool has_failed = true;
    for (size_t n = 0; has_failed; n++) {
        struct openai_request request;
        struct openai_fault fault;
        failing_begin(n);
        enum wl_status status =
            openai_request_parse(OPENAI_CHAT, TEXT, sizeof TEXT - 1, &request, &fault);
        has_failed = failing_end();
        assert_int_equal(status == WL_OK, !has_failed);
        openai_request_release(&request);
        assert_true(n < 1000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_little),
        cmocka_unit_test(test_details),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_limit_output),
        cmocka_unit_test(test_ask_usage),
        cmocka_unit_test(test_set_image),
        cmocka_unit_test(test_images_first),
        cmocka_unit_test(test_images_first_of_each_message),
        cmocka_unit_test(test_large_image),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_memory_to_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
