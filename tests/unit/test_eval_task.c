// Task files: everything the format has, and one clear refusal for everything it has not.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "eval/task.h"

static enum wl_status parse(const char *text, struct task_set *set, struct wl_err *err) {
    return task_set_parse(text, strlen(text), set, err);
}

static void test_whole_item(void **state) {
    (void)state;
    struct task_set set;
    struct wl_err err = {0};
    assert_int_equal(
        parse("\xef\xbb\xbf# panels\r\n"
              "\n"
              "  {\"id\": \"p1\", \"kind\": \"gauge\", \"prompt\": \"Read it.\", \"images\": "
              "[\"a.webp\", \"sub/b.png\"], \"reference\": [\"45\", \"45.0 bar\"], \"scorer\": "
              "\"number\", \"tolerance\": 0.5, \"tolerance_rel\": 0.02, \"max_tokens\": 32, "
              "\"x-note\": {\"any\": [1]}}  \r\n"
              "{\"prompt\": \"Say hello.\", \"reference\": \"hello\"}",
              &set, &err),
        WL_OK);
    assert_int_equal(set.n, 2);
    const struct task_item *item = &set.items[0];
    assert_string_equal(item->id, "p1");
    assert_string_equal(item->kind, "gauge");
    assert_string_equal(item->prompt, "Read it.");
    assert_int_equal(item->n_images, 2);
    assert_string_equal(item->images[1], "sub/b.png");
    assert_int_equal(item->n_references, 2);
    assert_string_equal(item->references[1], "45.0 bar");
    assert_int_equal(item->rule.method, SCORE_NUMBER);
    assert_true(item->rule.tolerance == 0.5 && item->rule.tolerance_rel == 0.02);
    assert_int_equal(item->max_tokens, 32);
    item = &set.items[1];
    assert_string_equal(item->id, "line 4");
    assert_string_equal(item->kind, "");
    assert_int_equal(item->n_images, 0);
    assert_int_equal(item->n_references, 1);
    assert_int_equal(item->rule.method, SCORE_NORMALISED);
    assert_int_equal(item->max_tokens, 0);
    task_set_release(&set);
    task_set_release(&set);
}

// Each line is refused, and the message has the words.
static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } ROWS[] = {
        {"", "no item"},
        {"# only this\n\n", "no item"},
        {"\n\n[1]", "line 3: expected an object"},
        {"\n{\"prompt\": \"a\", }", "line 2: bad JSON at column 17"},
        {"{\"prompt\": \"a\", \"prompt\": \"b\", \"reference\": \"c\"}", "duplicate"},
        {"{\"reference\": \"a\"}", "line 1: key 'prompt' is missing"},
        {"{\"prompt\": \"a\"}", "key 'reference' is missing"},
        {"{\"prompt\": \"\", \"reference\": \"a\"}", "key 'prompt': expected text, found none"},
        {"{\"prompt\": 1, \"reference\": \"a\"}", "found a whole number"},
        {"{\"prompt\": \"a\", \"reference\": 45}", "key 'reference': expected text, or a list"},
        {"{\"prompt\": \"a\", \"reference\": []}", "expected 1 to 16 in the list, found 0"},
        {"{\"prompt\": \"a\", \"reference\": [\"b\", null]}", "found null"},
        {"{\"prompt\": \"a\", \"reference\": \"\"}", "found an empty one"},
        {"{\"prompt\": \"a\", \"reference\": \"?!\"}", "normalisation leaves nothing"},
        {"{\"prompt\": \"a\", \"reference\": \"b\", \"refrence\": \"b\"}",
         "unknown key 'refrence': did you mean 'reference'?"},
        {"{\"prompt\": \"a\", \"reference\": \"b\", \"source\": \"b\"}", "begin with 'x-'"},
        {"{\"prompt\": \"a\", \"reference\": \"b\", \"scorer\": \"fuzzy\"}",
         "key 'scorer': expected exact, normalised, number or contains, found 'fuzzy'"},
        {"{\"prompt\": \"a\", \"reference\": \"b\", \"scorer\": 1}", "key 'scorer'"},
        {"{\"prompt\": \"a\", \"reference\": \"b\", \"scorer\": \"number\"}",
         "expected a number for the scorer 'number', found 'b'"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"tolerance\": 1}",
         "key 'tolerance' is for the scorer 'number'"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"scorer\": \"number\", \"tolerance\": -1}",
         "key 'tolerance': expected 0 to"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"scorer\": \"number\", \"tolerance_rel\": 2}",
         "key 'tolerance_rel': expected 0 to 1, found 2"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"max_tokens\": 0}",
         "key 'max_tokens': expected 1 to 1048576, found 0"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"max_tokens\": 1.5}", "found a number"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"images\": \"b.png\"}",
         "key 'images': expected a list of file names, found text"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"images\": []}", "found 0"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"id\": \"\"}", "key 'id'"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"id\": 7}", "key 'id': expected text"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"kind\": \"\\u001b[2J\"}",
         "expected no control characters"},
        {"{\"prompt\": \"a\", \"reference\": \"1\", \"kind\": "
         "\"0123456789012345678901234567890123456789012345678901234567890123\"}",
         "expected at most 63 bytes, found 64"},
        {"{\"id\": \"a\", \"prompt\": \"a\", \"reference\": \"1\"}\n"
         "{\"id\": \"b\", \"prompt\": \"a\", \"reference\": \"1\"}\n"
         "{\"id\": \"a\", \"prompt\": \"a\", \"reference\": \"1\"}\n",
         "line 3: id 'a' was used in line 1 already"},
        {"{\"prompt\": \"\xff\", \"reference\": \"1\"}", "bad JSON"},
        {"{\"prompt\": \"\\u0000\", \"reference\": \"1\"}", "bad JSON"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct task_set set;
        struct wl_err err = {0};
        enum wl_status status = parse(ROWS[i].text, &set, &err);
        if ((status != WL_INPUT && status != WL_LIMIT) || status != err.status ||
            !strstr(err.message, ROWS[i].words)) {
            fail_msg("'%s': found '%s', expected '%s'", ROWS[i].text, err.message, ROWS[i].words);
        }
        assert_true(set.n == 0 && !set.items);
        assert_int_equal(parse(ROWS[i].text, &set, NULL), status);
    }
}

static void test_nul_byte(void **state) {
    (void)state;
    static const char TEXT[] = "{\"prompt\": \"a\", \"reference\": \"1\"}\0";
    struct task_set set;
    assert_int_equal(task_set_parse(TEXT, sizeof TEXT, &set, NULL), WL_INPUT);
}

static void test_limits(void **state) {
    (void)state;
    struct buf text;
    struct task_set set;
    struct wl_err err = {0};
    buf_init(&text, 64 << 20);
    for (int i = 0; i < TASK_MAX_ITEMS; i++) {
        buf_puts(&text, "{\"prompt\":\"a\",\"reference\":\"1\"}\n");
    }
    assert_int_equal(task_set_parse(text.data, text.len, &set, &err), WL_OK);
    assert_int_equal(set.n, TASK_MAX_ITEMS);
    assert_string_equal(set.items[TASK_MAX_ITEMS - 1].id, "line 100000");
    task_set_release(&set);
    buf_puts(&text, "{\"prompt\":\"a\",\"reference\":\"1\"}\n");
    assert_int_equal(task_set_parse(text.data, text.len, &set, &err), WL_LIMIT);
    assert_string_equal(err.message, "line 100001: more than 100000 items");
    buf_clear(&text);
    for (int i = 0; i <= TASK_MAX_LINE_BYTES; i++) {
        buf_puts(&text, " ");
    }
    assert_int_equal(task_set_parse(text.data, text.len, &set, &err), WL_LIMIT);
    buf_release(&text);
}

static size_t find(const struct task_set *set, const char *id) {
    size_t i = 0;
    while (i < set->n && strcmp(set->items[i].id, id) != 0) {
        i++;
    }
    return i;
}

// The same items each time, in their order, and a larger draw has the smaller one's.
static void test_draw(void **state) {
    (void)state;
    struct buf text;
    struct task_set few, more;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 100; i++) {
        buf_puts(&text, "{\"prompt\":\"a\",\"reference\":\"1\"}\n");
    }
    assert_int_equal(parse(text.data, &few, NULL), WL_OK);
    assert_int_equal(parse(text.data, &more, NULL), WL_OK);
    assert_int_equal(task_set_draw(&few, 10, NULL), WL_OK);
    assert_int_equal(task_set_draw(&more, 30, NULL), WL_OK);
    assert_true(few.n == 10 && more.n == 30);
    for (size_t i = 0, last = 0; i < few.n; i++) {
        size_t at = find(&more, few.items[i].id);
        assert_true(at < more.n && (i == 0 || at > last));
        last = at;
    }
    assert_int_equal(task_set_draw(&few, 10, NULL), WL_OK);
    assert_int_equal(task_set_draw(&few, 0, NULL), WL_OK);
    assert_int_equal(few.n, 10);
    task_set_release(&few);
    task_set_release(&more);
    buf_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_item), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_nul_byte),   cmocka_unit_test(test_limits),
        cmocka_unit_test(test_draw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
