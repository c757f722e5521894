// Dropping the oldest turns of a chat: what goes, what stays, and its pictures.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "openai/request.h"

static const struct {
    char letter;
    const char *role;
} ROLES[] = {{'s', "system"},    {'d', "developer"}, {'u', "user"},
             {'a', "assistant"}, {'t', "tool"},      {'f', "function"}};

static const char *role_of(char letter) {
    for (size_t i = 0; i < sizeof ROLES / sizeof ROLES[0]; i++) {
        if (ROLES[i].letter == letter) {
            return ROLES[i].role;
        }
    }
    fail_msg("no role '%c'", letter);
    return "";
}

// One message for each letter, with its place as text. 'U' is a user's with a picture, 'c' an
// assistant's that calls a tool.
static void make_chat(const char *letters, struct openai_request *request) {
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_puts(&text, "{\"messages\":[");
    for (size_t i = 0; letters[i]; i++) {
        buf_puts(&text, i ? "," : "");
        if (letters[i] == 'U') {
            buf_printf(&text,
                       "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"%zu\"},"
                       "{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://%zu\"}}]}",
                       i, i);
        } else if (letters[i] == 'c') {
            buf_printf(
                &text,
                "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"%zu\"}]}", i);
        } else {
            buf_printf(&text, "{\"role\":\"%s\",\"content\":\"%zu\"}", role_of(letters[i]), i);
        }
    }
    buf_puts(&text, "]}");
    struct openai_fault fault;
    assert_int_equal(openai_request_parse(OPENAI_CHAT, text.data, text.len, request, &fault),
                     WL_OK);
    buf_release(&text);
}

// The places that the messages had at first, as "0 3 4".
static void places(const struct openai_request *request, char *out, size_t size) {
    const json_t *messages = json_object_get(request->root, "messages");
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        const json_t *content = json_object_get(message, "content");
        const char *text = json_string_value(content);
        if (json_is_array(content)) {
            text = json_string_value(json_object_get(json_array_get(content, 0), "text"));
        } else if (json_is_null(content)) {
            const json_t *call = json_array_get(json_object_get(message, "tool_calls"), 0);
            text = json_string_value(json_object_get(call, "id"));
        }
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? " " : "", text);
    }
}

static void check_images(const struct openai_request *request) {
    const json_t *messages = json_object_get(request->root, "messages");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *content = json_object_get(json_array_get(messages, i), "content");
        if (!json_is_array(content)) {
            continue;
        }
        assert_true(n < request->n_images);
        const struct openai_image *image = &request->images[n++];
        assert_int_equal(image->message, i);
        assert_int_equal(image->part, 1);
        assert_ptr_equal(image->holder, json_object_get(json_array_get(content, 1), "image_url"));
        assert_ptr_equal(image->url, json_string_value(json_object_get(image->holder, "url")));
    }
    assert_int_equal(n, request->n_images);
}

static void test_drop(void **state) {
    (void)state;
    static const struct {
        const char *chat;
        size_t n_turns, n;
        const char *stay;
    } ROWS[] = {
        {"", 0, 1, ""},
        {"s", 0, 1, "0"},
        {"u", 0, 1, "0"},
        {"su", 0, 9, "0 1"},
        {"sa", 0, 9, "0 1"},
        {"suau", 1, 0, "0 1 2 3"},
        {"suau", 1, 1, "0 3"},
        {"suau", 1, 99, "0 3"},
        {"uauau", 2, 1, "2 3 4"},
        {"uauau", 2, 2, "4"},
        {"uuu", 2, 1, "1 2"},
        // Calls go with their results.
        {"sucttau", 1, 1, "0 6"},
        {"sucfaucta", 1, 1, "0 5 6 7 8"},
        // What is said to the model stays, wherever it stands.
        {"dusauau", 2, 1, "0 2 4 5 6"},
        {"dusauau", 2, 2, "0 2 6"},
        {"udu", 1, 1, "1 2"},
        // A greeting before the first turn stays.
        {"sauau", 1, 1, "0 1 4"},
        // Pictures.
        {"sUaUaU", 2, 1, "0 3 4 5"},
        {"sUaUaU", 2, 2, "0 5"},
        {"UuUu", 3, 2, "2 3"},
        {"UaUa", 1, 1, "2 3"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct openai_request request;
        char stay[256];
        make_chat(ROWS[i].chat, &request);
        size_t n_before = strlen(ROWS[i].chat);
        assert_int_equal(request.n_messages, n_before);
        assert_int_equal(openai_request_n_turns(&request), ROWS[i].n_turns);
        size_t n_gone = openai_request_drop_turns(&request, ROWS[i].n);
        places(&request, stay, sizeof stay);
        if (strcmp(stay, ROWS[i].stay) != 0) {
            fail_msg("%s less %zu: found '%s', expected '%s'", ROWS[i].chat, ROWS[i].n, stay,
                     ROWS[i].stay);
        }
        assert_int_equal(request.n_messages, n_before - n_gone);
        assert_int_equal(request.is_changed, n_gone > 0);
        check_images(&request);
        size_t dropped = ROWS[i].n < ROWS[i].n_turns ? ROWS[i].n : ROWS[i].n_turns;
        assert_int_equal(openai_request_n_turns(&request), ROWS[i].n_turns - dropped);
        openai_request_release(&request);
    }
}

// One turn after the other comes to the same as all at once.
static void test_one_by_one(void **state) {
    (void)state;
    static const char CHAT[] = "sUauctaUsauUa";
    struct openai_request at_once, one_by_one;
    make_chat(CHAT, &at_once);
    make_chat(CHAT, &one_by_one);
    size_t n_turns = openai_request_n_turns(&at_once);
    assert_int_equal(n_turns, 4);
    size_t n_gone = openai_request_drop_turns(&at_once, n_turns), n = 0;
    for (size_t i = 0; i < n_turns; i++) {
        n += openai_request_drop_turns(&one_by_one, 1);
        check_images(&one_by_one);
    }
    assert_int_equal(openai_request_drop_turns(&one_by_one, 1), 0);
    assert_int_equal(n, n_gone);
    assert_true(json_equal(at_once.root, one_by_one.root));
    openai_request_release(&at_once);
    openai_request_release(&one_by_one);
}

static void test_no_chat(void **state) {
    (void)state;
    static const char TEXT[] = "{\"prompt\":\"a\",\"messages\":[{\"role\":\"user\"},{\"role\":"
                               "\"user\"}]}";
    struct openai_request request;
    assert_int_equal(openai_request_parse(OPENAI_COMPLETION, TEXT, sizeof TEXT - 1, &request, NULL),
                     WL_OK);
    assert_int_equal(openai_request_n_turns(&request), 0);
    assert_int_equal(openai_request_drop_turns(&request, 5), 0);
    assert_false(request.is_changed);
    openai_request_release(&request);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_one_by_one),
        cmocka_unit_test(test_no_chat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
