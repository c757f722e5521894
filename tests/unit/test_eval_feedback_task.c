// Answers that users liked, as lines of a task file.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "eval/feedback_task.h"
#include "eval/task.h"

static const struct feedback_task GOOD = {.id = "chatcmpl-1",
                                          .model = "builtin",
                                          .prompt = "Is pump \"7\"\nrunning?",
                                          .answer = "Yes.",
                                          .score = 1};

static void a_line_can_be_read_as_a_task(void **state) {
    (void)state;
    struct buf out;
    struct wl_err err;
    struct task_set set;
    struct feedback_task second = GOOD;
    second.id = "chatcmpl-2";
    buf_init(&out, 10000);
    assert_int_equal(feedback_task_write(&GOOD, &out, &err), WL_OK);
    assert_int_equal(feedback_task_write(&second, &out, &err), WL_OK);
    assert_int_equal(task_set_parse(buf_text(&out), out.len, &set, &err), WL_OK);
    assert_int_equal(set.n, 2);
    assert_string_equal(set.items[0].id, "chatcmpl-1");
    assert_string_equal(set.items[0].kind, "feedback");
    assert_string_equal(set.items[0].prompt, GOOD.prompt);
    assert_string_equal(set.items[0].references[0], "Yes.");
    assert_int_equal(set.items[0].rule.method, SCORE_NORMALISED);
    task_set_release(&set);
    buf_release(&out);
}

static void refuse(struct feedback_task task, const char *why) {
    struct buf out;
    struct wl_err err;
    buf_init(&out, 10000);
    assert_int_equal(feedback_task_write(&task, &out, &err), WL_INPUT);
    assert_non_null(strstr(err.message, why));
    assert_non_null(strstr(err.message, "chatcmpl-1"));
    assert_int_equal(out.len, 0);
    buf_release(&out);
}

static void what_makes_no_task_is_refused(void **state) {
    (void)state;
    char answer[FEEDBACK_MAX_REFERENCE_BYTES + 2];
    struct feedback_task task = GOOD;
    task.prompt = "";
    refuse(task, "no prompt");
    task = GOOD;
    task.n_images = 1;
    refuse(task, "images");
    task = GOOD;
    task.answer = " ... ";
    refuse(task, "");
    memset(answer, 'a', sizeof answer - 1);
    answer[sizeof answer - 1] = '\0';
    task.answer = answer;
    refuse(task, "201 bytes");
    task = GOOD;
    task.prompt = "\xff\xfe";
    refuse(task, "UTF-8");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_can_be_read_as_a_task),
        cmocka_unit_test(what_makes_no_task_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
