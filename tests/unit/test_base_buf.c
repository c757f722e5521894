// Buffers: the limit holds, a failed append changes nothing, and the end is always marked.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static void starts_empty(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    assert_string_equal(buf_text(&buf), "");
    char *text = buf_detach(&buf);
    assert_string_equal(text, "");
    free(text);
    buf_release(&buf);
}

static void holds_exactly_its_limit(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    assert_true(buf_puts(&buf, "01234"));
    assert_true(buf_puts(&buf, "56789"));
    assert_true(buf_append(&buf, NULL, 0));
    assert_false(buf_puts(&buf, "x"));
    assert_true(buf.is_failed);
    assert_string_equal(buf_text(&buf), "0123456789");
    assert_int_equal(buf.len, 10);
    buf_clear(&buf);
    assert_string_equal(buf_text(&buf), "");
    assert_true(buf_puts(&buf, "again"));
    buf_release(&buf);
}

// So that a writer may test once at the end.
static void stays_failed(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 4);
    assert_true(buf_puts(&buf, "ab"));
    assert_false(buf_printf(&buf, "%d", 12345));
    assert_false(buf_puts(&buf, "c")); // would fit, but the text would have a hole
    assert_string_equal(buf_text(&buf), "ab");
    buf_release(&buf);
    assert_true(buf_puts(&buf, "abcd")); // usable again, same limit
    assert_false(buf_puts(&buf, "e"));
    buf_release(&buf);
}

static void refuses_absurd_lengths(void **state) {
    (void)state;
    struct buf buf;
    volatile size_t absurd[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1};
    for (size_t i = 0; i < 3; i++) {
        buf_init(&buf, SIZE_MAX);
        assert_true(buf_puts(&buf, "x"));
        assert_false(buf_append(&buf, "y", absurd[i]));
        assert_string_equal(buf_text(&buf), "x");
        buf_release(&buf);
    }
}

static void grows_and_prints(void **state) {
    (void)state;
    struct buf buf;
    char expected[8];
    buf_init(&buf, 1 << 20);
    for (int i = 0; i < 20000; i++) {
        assert_true(buf_printf(&buf, "%05d,", i));
    }
    assert_int_equal(buf.len, 120000);
    memcpy(expected, buf.data + 6 * 12345, 6);
    assert_memory_equal(expected, "12345,", 6);
    assert_int_equal(strlen(buf_text(&buf)), buf.len);
    buf_release(&buf);
}

static void keeps_nul_bytes(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 100);
    assert_true(buf_append(&buf, "a\0b", 3));
    assert_int_equal(buf.len, 3);
    assert_int_equal(buf.data[3], 0);
    char *data = buf_detach(&buf);
    assert_memory_equal(data, "a\0b", 4);
    assert_int_equal(buf.len, 0);
    assert_null(buf.data);
    free(data);
    buf_release(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_empty),     cmocka_unit_test(holds_exactly_its_limit),
        cmocka_unit_test(stays_failed),     cmocka_unit_test(refuses_absurd_lengths),
        cmocka_unit_test(grows_and_prints), cmocka_unit_test(keeps_nul_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
