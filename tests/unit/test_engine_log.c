// The tail of the engine's output and the last words found in it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/client_log.h"

static struct engine_log the_log; // 128 KiB: too much for a stack

static void keeps_what_fits(void **state) {
    (void)state;
    engine_log_clear(&the_log);
    assert_string_equal(engine_log_unroll(&the_log), "");
    engine_log_append(&the_log, "one\n", 4);
    engine_log_append(&the_log, "", 0);
    engine_log_append(&the_log, "two\0!\n", 6);
    assert_string_equal(engine_log_unroll(&the_log), "one\ntwo?!\n");
}

// Whatever the sizes of the pieces, the log is the tail of their concatenation.
static void keeps_the_tail(void **state) {
    (void)state;
    static const size_t SIZES[] = {1, 7, 4096, 16384, 65535, 65536, 65537, 100000};
    size_t total = 400000;
    char *all = malloc(total);
    for (size_t i = 0; i < total; i++) {
        all[i] = (char)('a' + i * i % 23);
    }
    for (size_t s = 0; s < sizeof SIZES / sizeof SIZES[0]; s++) {
        engine_log_clear(&the_log);
        size_t done = 0;
        while (done + SIZES[s] <= total) {
            engine_log_append(&the_log, all + done, SIZES[s]);
            done += SIZES[s];
        }
        size_t kept = done < ENGINE_LOG_BYTES ? done : ENGINE_LOG_BYTES;
        const char *text = engine_log_unroll(&the_log);
        assert_int_equal(strlen(text), kept);
        assert_memory_equal(text, all + done - kept, kept);
    }
    free(all);
}

static void check_words(const char *log, const char *expected) {
    char words[ENGINE_LAST_WORDS_BYTES];
    assert_string_equal(engine_last_words(words, log), expected);
}

static void finds_last_words(void **state) {
    (void)state;
    check_words("", "");
    check_words("\n\n  \n....\n", "");
    check_words("only line", "only line");
    check_words("one\ntwo\nthree\n", "two | three");
    check_words("loading\r\nstill loading\r\n", "loading | still loading");
    check_words("first\x1b[0m\n\n \t last  \n", "first\x1b[0m | last");
    // An assertion counts more than what the debugger printed after it.
    check_words("load: ok\nggml.c:99: GGML_ASSERT(x) failed\n[New LWP 12]\n"
                "#0  0x00007f in __wait4\n#1 main ()\n0x1234 in ??\nthe end\n",
                "ggml.c:99: GGML_ASSERT(x) failed");
    check_words("terminate called after throwing\n  what():  vector::_M_range_check\nbye\n",
                "terminate called after throwing | what():  vector::_M_range_check");
}

static void cuts_long_lines(void **state) {
    (void)state;
    char log[4096], words[ENGINE_LAST_WORDS_BYTES];
    memset(log, 'e', sizeof log);
    log[2000] = '\n';
    log[sizeof log - 1] = '\0';
    engine_last_words(words, log);
    assert_in_range(strlen(words), 300, ENGINE_LAST_WORDS_BYTES - 1);
    assert_non_null(strstr(words, "... | e"));
    assert_string_equal(words + strlen(words) - 3, "...");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_fits),
        cmocka_unit_test(keeps_the_tail),
        cmocka_unit_test(finds_last_words),
        cmocka_unit_test(cuts_long_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
