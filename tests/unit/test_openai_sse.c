// Server-sent events: the same events however the bytes are cut, and every byte passed on.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "openai/sse.h"

// What came out: "<name|data>" for each event with data, and all raw bytes.
struct seen {
    struct buf events, raw;
    size_t n_without_data, n_rest;
};

static void seen_init(struct seen *seen) {
    *seen = (struct seen){0};
    buf_init(&seen->events, 1 << 20);
    buf_init(&seen->raw, 1 << 20);
}

static void seen_release(struct seen *seen) {
    buf_release(&seen->events);
    buf_release(&seen->raw);
}

static void take_all(struct sse *sse, struct seen *seen) {
    struct sse_event event;
    while (sse_next(sse, &event)) {
        assert_true(event.n_raw > 0);
        buf_append(&seen->raw, event.raw, event.n_raw);
        if (!event.data) {
            assert_int_equal(event.n_data, 0);
            seen->n_without_data++;
            continue;
        }
        assert_int_equal(event.data[event.n_data], '\0');
        buf_printf(&seen->events, "<%s|", event.name);
        buf_append(&seen->events, event.data, event.n_data);
        buf_puts(&seen->events, ">");
    }
}

// Fed in pieces of `first` bytes, then of `step` bytes.
static void feed(const char *text, size_t n, size_t first, size_t step, struct seen *seen) {
    struct sse sse;
    seen_init(seen);
    sse_init(&sse, 1 << 16);
    for (size_t at = 0, len = first; at < n; at += len, len = step) {
        len = len < n - at ? len : n - at;
        assert_int_equal(sse_feed(&sse, text + at, len, NULL), WL_OK);
        take_all(&sse, seen);
    }
    const char *rest;
    seen->n_rest = sse_rest(&sse, &rest);
    buf_append(&seen->raw, rest, seen->n_rest);
    sse_release(&sse);
}

static void expect(const char *text, size_t n, const char *events, size_t n_rest) {
    for (size_t first = 1; first <= n; first++) {
        for (size_t step = 1; step <= n; step += n - 1 > 0 ? n - 1 : 1) {
            struct seen seen;
            feed(text, n, first, step, &seen);
            if (strcmp(buf_text(&seen.events), events) != 0 || seen.n_rest != n_rest ||
                seen.raw.len != n || memcmp(buf_text(&seen.raw), text, n) != 0) {
                fail_msg("'%s' cut at %zu, then %zu: found '%s', rest %zu, expected '%s', rest %zu",
                         text, first, step, buf_text(&seen.events), seen.n_rest, events, n_rest);
            }
            seen_release(&seen);
        }
    }
}

static void test_events(void **state) {
    (void)state;
    static const struct {
        const char *text, *events;
        size_t n_rest;
    } ROWS[] = {
        {"data: a\n\n", "<|a>", 0},
        {"data:a\n\n", "<|a>", 0},
        {"data:  a\n\n", "<| a>", 0},
        {"data: {\"a\":1}\n\ndata: [DONE]\n\n", "<|{\"a\":1}><|[DONE]>", 0},
        {"data: a\r\n\r\ndata: b\r\n\r\n", "<|a><|b>", 0},
        {"data: a\r\rdata: b\r\r", "<|a><|b>", 0},
        {"data: a\n\rdata: b\r\n\n", "<|a><|b>", 0},
        {"data: a\r\n\ndata: b\n\r\n", "<|a><|b>", 0},
        {"data: a\n\r\ndata: b\n\n", "<|a><|b>", 0},
        {"data: a\ndata: b\n\n", "<|a\nb>", 0},
        {"data: a\r\ndata: b\rdata: c\n\n", "<|a\nb\nc>", 0},
        {"data\n\n", "<|>", 0},
        {"data:\n\n", "<|>", 0},
        {"data: \ndata\n\n", "<|\n>", 0},
        {"event: error\ndata: x\n\n", "<error|x>", 0},
        {"event: a\nevent: b\ndata: x\n\ndata: y\n\n", "<b|x><|y>", 0},
        {"event:0123456789012345678901234567890123456789\ndata: x\n\n",
         "<0123456789012345678901234567890|x>", 0},
        {": ping\n\ndata: a\n\n", "<|a>", 0},
        {":\n\n:\r\r:\r\n\r\n", "", 0},
        {": why\nid: 7\nretry: 10\nunknown\ndatax: no\n data: no\ndata: a\n\n", "<|a>", 0},
        {"error: {\"message\":\"old servers\"}\n\n", "", 0},
        {"\n\n\ndata: a\n\n\n", "<|a>", 0},
        {"\r\n\r\r\ndata: a\r\n\r\n\r\n", "<|a>", 0},
        {"data: a: b\n\n", "<|a: b>", 0},
        {"data: \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n\n",
         "<|\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80>", 0},
        {"\xef\xbb\xbf"
         "data: a\n\n\xef\xbb\xbf"
         "data: b\n\n",
         "<|a>", 0},
        {"\xef\xbb\xbf\ndata: a\n\n", "<|a>", 0},
        {"\n\xef\xbb\xbf"
         "data: a\n\n",
         "", 0},
        {"data: a\n\ndata: b", "<|a>", 7},
        {"data: a\n\ndata: b\n", "<|a>", 8},
        {"data: a\r\n\r\ndata: b\r\n", "<|a>", 9},
        {"data: a", "", 7},
        {":", "", 1},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        expect(ROWS[i].text, strlen(ROWS[i].text), ROWS[i].events, ROWS[i].n_rest);
    }
}

// As llama-server sends them.
static void test_llama_server(void **state) {
    (void)state;
    static const char TEXT[] = "data: null\n\n"
                               ":\n\n"
                               "data: {\"choices\":[{\"text\":\"a\"}]}\n\n"
                               "data: [DONE]\n\n\n";
    struct seen seen;
    feed(TEXT, sizeof TEXT - 1, 1, 1, &seen);
    assert_string_equal(buf_text(&seen.events),
                        "<|null><|{\"choices\":[{\"text\":\"a\"}]}><|[DONE]>");
    assert_int_equal(seen.n_without_data, 2);
    seen_release(&seen);
}

static void test_nul_bytes(void **state) {
    (void)state;
    static const char TEXT[] = "data: a\0b\n\n";
    struct sse sse;
    struct sse_event event;
    sse_init(&sse, 64);
    assert_int_equal(sse_feed(&sse, TEXT, sizeof TEXT - 1, NULL), WL_OK);
    assert_true(sse_next(&sse, &event));
    assert_int_equal(event.n_data, 3);
    assert_memory_equal(event.data, "a\0b", 4);
    assert_false(sse_next(&sse, &event));
    sse_release(&sse);
}

// Many events at once may be larger than one may be.
static void test_limit(void **state) {
    (void)state;
    static const char FINE[] = "data: 0123\n\n", LARGE[] = "data: 01234\n\n";
    const size_t max = sizeof FINE - 1;
    struct sse sse;
    struct sse_event event;
    struct wl_err err = {0};
    struct buf text;
    buf_init(&text, 4096);
    for (int i = 0; i < 10; i++) {
        buf_puts(&text, FINE);
    }
    sse_init(&sse, max);
    assert_int_equal(sse_feed(&sse, text.data, text.len, &err), WL_OK);
    for (int i = 0; i < 10; i++) {
        assert_true(sse_next(&sse, &event));
        assert_string_equal(event.data, "0123");
    }
    assert_false(sse_next(&sse, &event));
    assert_int_equal(sse_feed(&sse, LARGE, sizeof LARGE - 1, &err), WL_LIMIT);
    assert_int_equal(err.status, WL_LIMIT);
    assert_string_equal(err.message, "the stream: expected events of at most 12 bytes, found more");
    // Nothing of it was taken in.
    const char *rest;
    assert_int_equal(sse_rest(&sse, &rest), 0);
    assert_false(sse_next(&sse, &event));
    assert_int_equal(sse_feed(&sse, FINE, max, &err), WL_OK);
    assert_true(sse_next(&sse, &event));
    assert_false(sse_next(&sse, &event));
    // One byte after the other, without an end.
    size_t n = 0;
    while (n < 100 && sse_feed(&sse, "x", 1, &err) == WL_OK) {
        n++;
    }
    assert_int_equal(n, max);
    sse_release(&sse);
    buf_release(&text);
}

// The LF of a blank line belongs to the event in front of it, which is whole without.
static void test_limit_with_cr_lf(void **state) {
    (void)state;
    static const char TEXT[] = "data: a\r\n\r\n";
    struct sse sse;
    struct sse_event event;
    sse_init(&sse, sizeof TEXT - 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sse_feed(&sse, TEXT, sizeof TEXT - 1, NULL), WL_OK);
        assert_true(sse_next(&sse, &event));
        assert_int_equal(event.n_raw, sizeof TEXT - 1);
        assert_false(sse_next(&sse, &event));
    }
    sse_release(&sse);
    sse_init(&sse, sizeof TEXT - 3);
    assert_int_equal(sse_feed(&sse, TEXT, sizeof TEXT - 1, NULL), WL_LIMIT);
    sse_release(&sse);
}

// An event that comes byte by byte costs as much as one that comes at once: 4 MiB would take hours
// otherwise.
static void test_large_event_in_bytes(void **state) {
    (void)state;
    enum { BYTES = 4 << 20 };
    struct sse sse;
    struct sse_event event;
    sse_init(&sse, BYTES);
    assert_int_equal(sse_feed(&sse, "data:", 5, NULL), WL_OK);
    for (int i = 0; i < BYTES - 8; i++) {
        assert_int_equal(sse_feed(&sse, "x", 1, NULL), WL_OK);
        assert_false(sse_next(&sse, &event));
    }
    assert_int_equal(sse_feed(&sse, "\n\n", 2, NULL), WL_OK);
    assert_true(sse_next(&sse, &event));
    assert_int_equal(event.n_data, BYTES - 8);
    sse_release(&sse);
    sse_release(&sse);
}

static void expect_write(const char *text, const char *expected, const char *again) {
    struct buf out;
    struct sse sse;
    struct sse_event event;
    buf_init(&out, 4096);
    sse_write(&out, text, strlen(text));
    assert_string_equal(buf_text(&out), expected);
    sse_init(&sse, 4096);
    assert_int_equal(sse_feed(&sse, out.data, out.len, NULL), WL_OK);
    assert_true(sse_next(&sse, &event));
    assert_string_equal(event.data, again);
    assert_false(sse_next(&sse, &event));
    sse_release(&sse);
    buf_release(&out);
}

static void test_write(void **state) {
    (void)state;
    expect_write("{\"a\":1}", "data: {\"a\":1}\n\n", "{\"a\":1}");
    expect_write("", "data: \n\n", "");
    expect_write("a\nb", "data: a\ndata: b\n\n", "a\nb");
    expect_write("a\n", "data: a\ndata: \n\n", "a\n");
    expect_write("\n\n", "data: \ndata: \ndata: \n\n", "\n\n");
    expect_write(" a", "data:  a\n\n", " a");
    expect_write("a\rb\r\nc\r", "data: a\ndata: b\ndata: c\ndata: \n\n", "a\nb\nc\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_llama_server),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_limit_with_cr_lf),
        cmocka_unit_test(test_large_event_in_bytes),
        cmocka_unit_test(test_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
