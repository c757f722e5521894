// A task file asked of an engine whose answers are known: scores, resuming, an engine that dies,
// and the file that keeps the answers.
#include "near.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "measure/eval_answers.h"
#include "measure/eval_run.h"
#include "os/file.h"

enum { N_ITEMS = 4 };
static char dir[] = "/tmp/wattlaw-eval-XXXXXX";
static char model_file[256], answers_file[256];

// The engine answers "once upon a time there was once upon ...", a word per token.
static const char TASKS[] =
    "{\"id\": \"a\", \"kind\": \"text\", \"prompt\": \"A?\", \"reference\": \"Once upon a time.\", "
    "\"max_tokens\": 4}\n"
    "{\"id\": \"b\", \"kind\": \"text\", \"prompt\": \"B?\", \"reference\": \"twice\"}\n"
    "{\"id\": \"c\", \"prompt\": \"C?\", \"reference\": \"5\", \"scorer\": \"number\"}\n"
    "{\"id\": \"d\", \"prompt\": \"D?\", \"reference\": \"was\", \"scorer\": \"contains\", "
    "\"max_tokens\": 24}\n";

static int set_up(void **state) {
    (void)state;
    const char *fake = getenv("WATTLAW_FAKE_ENGINE");
    if (!fake || !os_exists(fake)) {
        fprintf(stderr, "WATTLAW_FAKE_ENGINE names no program: run through ctest\n");
        exit(77);
    }
    if (!mkdtemp(dir)) {
        return -1;
    }
    snprintf(model_file, sizeof model_file, "%s/model.gguf", dir);
    snprintf(answers_file, sizeof answers_file, "%s/answers.jsonl", dir);
    return os_write_atomic(model_file, "GGUF", 4, NULL) == WL_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    char command[512];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static int fresh(void **state) {
    (void)state;
    unlink(answers_file);
    unsetenv("FAKE_ENGINE_FAULT");
    unsetenv("FAKE_ENGINE_FAULT_AFTER");
    return 0;
}

// What the events saw.
struct seen {
    struct eval_item_result result[N_ITEMS]; // answers are copies
    size_t n, n_warnings, fail_at;
};

static void take(void *context, size_t index, const struct eval_item_result *result) {
    struct seen *seen = context;
    free(seen->result[index].answer);
    seen->result[index] = *result;
    seen->result[index].answer = strdup(result->answer);
    seen->n++;
}

static enum wl_status on_result(void *context, size_t index, const struct eval_item_result *result,
                                struct wl_err *err) {
    struct seen *seen = context;
    take(context, index, result);
    return seen->n == seen->fail_at ? wl_err_set(err, WL_IO, "no room") : WL_OK;
}

static void on_warning(void *context, const char *text) {
    assert_true(text[0] != '\0');
    ((struct seen *)context)->n_warnings++;
}

static void release(struct seen *seen) {
    for (size_t i = 0; i < N_ITEMS; i++) {
        free(seen->result[i].answer);
    }
}

static void parse(const char *text, struct task_set *set) {
    struct wl_err err;
    if (task_set_parse(text, strlen(text), set, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
}

static const struct subject_options *subject_options(void) {
    static struct subject_options options;
    options = (struct subject_options){.model_path = model_file,
                                       .engine_path = getenv("WATTLAW_FAKE_ENGINE"),
                                       .meters = "estimate"};
    return &options;
}

static enum wl_status run(const struct eval_options *options, struct seen *seen,
                          struct wl_err *err) {
    struct task_set set;
    struct subject subject;
    struct eval_events events = {.on_result = on_result, .on_warning = on_warning, .context = seen};
    parse(TASKS, &set);
    enum wl_status status = subject_open(&subject, subject_options(), err);
    assert_int_equal(status, WL_OK);
    status = eval_run(&subject, &set, options, &events, err);
    subject_close(&subject);
    task_set_release(&set);
    for (size_t i = 0; i < N_ITEMS; i++) {
        seen->result[i].item = NULL; // went with the set
    }
    return status;
}

static void test_scores(void **state) {
    (void)state;
    struct seen seen = {0};
    struct wl_err err = {0};
    struct eval_options options = {.max_tokens = 6};
    assert_int_equal(run(&options, &seen, &err), WL_OK);
    assert_int_equal(seen.n, 4);
    assert_string_equal(seen.result[0].answer, "once upon a time ");
    assert_true(seen.result[0].is_right && !seen.result[1].is_right);
    assert_true(!seen.result[2].is_right && seen.result[3].is_right);
    assert_int_equal(seen.result[1].record.generated_tokens, 6);
    assert_int_equal(seen.result[1].stop, ENGINE_STOP_LENGTH);
    assert_int_equal(seen.result[1].defect, SCORE_FINE);
    assert_int_equal(seen.result[3].defect, SCORE_LOOPING);
    for (size_t i = 0; i < N_ITEMS; i++) {
        const struct record *record = &seen.result[i].record;
        assert_true(record->value[METRIC_time_s] > 0 && record->value[METRIC_cpu_core_s] > 0);
        assert_true(record->n_energies == 1 && record->energy[0].gross_j > 0);
    }
    release(&seen);
}

static void test_done_items_are_skipped(void **state) {
    (void)state;
    struct seen seen = {0};
    struct wl_err err = {0};
    bool is_done[N_ITEMS] = {true, false, true, false};
    struct eval_options options = {.is_done = is_done};
    assert_int_equal(run(&options, &seen, &err), WL_OK);
    assert_int_equal(seen.n, 2);
    assert_true(!seen.result[0].answer && seen.result[1].answer && seen.result[3].answer);
    release(&seen);
    is_done[1] = is_done[3] = true;
    seen = (struct seen){0};
    assert_int_equal(run(&options, &seen, &err), WL_OK);
    assert_int_equal(seen.n, 0);
}

// Dies at every third request: the warm-up and the first item, then the second one dies.
static void test_engine_that_dies(void **state) {
    (void)state;
    struct seen seen = {0};
    struct wl_err err = {0};
    struct eval_options options = {0};
    setenv("FAKE_ENGINE_FAULT", "crash_in_run", 1);
    setenv("FAKE_ENGINE_FAULT_AFTER", "3", 1);
    assert_int_equal(run(&options, &seen, &err), WL_OK);
    assert_int_equal(seen.n, 4);
    assert_int_equal(seen.n_warnings, 4); // twice two
    release(&seen);
    setenv("FAKE_ENGINE_FAULT_AFTER", "1", 1);
    seen = (struct seen){0};
    assert_int_equal(run(&options, &seen, &err), WL_CRASHED);
    assert_int_equal(seen.n, 0);
    assert_non_null(strstr(err.message, "item 'a'"));
}

static void test_failure_of_the_caller(void **state) {
    (void)state;
    struct seen seen = {.fail_at = 2};
    struct wl_err err = {0};
    struct eval_options options = {0};
    assert_int_equal(run(&options, &seen, &err), WL_IO);
    assert_int_equal(seen.n, 2);
    release(&seen);
}

static enum wl_status check(const char *line, bool has_encoder, struct wl_err *err) {
    struct task_set set;
    parse(line, &set);
    enum wl_status status = eval_check(&set, dir, has_encoder, err);
    task_set_release(&set);
    return status;
}

static void test_checks(void **state) {
    (void)state;
    struct wl_err err = {0};
    static const char ONE[] =
        "{\"id\": \"p\", \"prompt\": \"a\", \"reference\": \"1\", \"images\": "
        "[\"model.gguf\"]}";
    assert_int_equal(check(ONE, true, &err), WL_OK); // that it is no image is the engine's to say
    assert_int_equal(check(ONE, false, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "item 'p': it has images"));
    assert_int_equal(
        check("{\"prompt\": \"a\", \"reference\": \"1\", \"images\": [\"no.png\"]}", true, &err),
        WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "no.png"));
    assert_int_equal(
        check("{\"prompt\": \"a\", \"reference\": \"1\", \"images\": [\".\"]}", true, &err),
        WL_INPUT);
    assert_int_equal(check("{\"prompt\": \"a <__media__>\", \"reference\": \"1\"}", true, &err),
                     WL_INPUT);
    assert_non_null(strstr(err.message, "1 times, but the item has 0 images"));
    char path[OS_PATH_BYTES];
    assert_int_equal(eval_image_path("there", "/a/b.png", path, &err), WL_OK);
    assert_string_equal(path, "/a/b.png");
    assert_int_equal(eval_image_path("there", "b.png", path, &err), WL_OK);
    assert_string_equal(path, "there/b.png");
    assert_int_equal(eval_image_path("", "b.png", path, &err), WL_OK);
    assert_string_equal(path, "b.png");
}

// ---- the file of answers

struct kept {
    struct task_set set;
    char text[N_ITEMS][EVAL_KEY_BYTES];
    const char *keys[N_ITEMS];
    json_t *head;
};

static void prepare(const char *tasks, struct kept *kept) {
    struct wl_err err;
    struct eval_options options = {0};
    parse(tasks, &kept->set);
    for (size_t i = 0; i < kept->set.n; i++) {
        kept->keys[i] = kept->text[i];
        assert_int_equal(eval_item_key(&kept->set.items[i], dir, 0, kept->text[i], &err), WL_OK);
    }
    assert_int_equal(eval_answers_head(subject_options(), &options, &kept->head, &err), WL_OK);
}

static void discard(struct kept *kept) {
    task_set_release(&kept->set);
    json_decref(kept->head);
}

static enum wl_status read_back(const struct kept *kept, struct seen *seen, struct wl_err *err) {
    struct eval_answers_reader reader = {
        .set = &kept->set, .keys = kept->keys, .head = kept->head, .visit = take, .context = seen};
    return eval_answers_read(answers_file, &reader, err);
}

static void write_two(const struct kept *kept) {
    struct eval_answers_writer writer;
    struct wl_err err;
    assert_int_equal(eval_answers_open(answers_file, kept->head, &writer, &err), WL_OK);
    for (size_t i = 0; i < 2; i++) {
        struct eval_item_result result = {.item = &kept->set.items[i],
                                          .answer = (char *)(i ? "twice" : "line\n\"two\" \u00e4"),
                                          .stop = ENGINE_STOP_EOS};
        record_init(&result.record);
        result.record.value[METRIC_time_s] = 1.5;
        assert_int_equal(eval_answers_add(&writer, &result, kept->keys[i], &err), WL_OK);
    }
    eval_answers_close(&writer);
}

static void test_answers_come_back(void **state) {
    (void)state;
    struct kept kept;
    struct seen seen = {0};
    struct wl_err err = {0};
    prepare(TASKS, &kept);
    write_two(&kept);
    assert_int_equal(read_back(&kept, &seen, &err), WL_OK);
    assert_int_equal(seen.n, 2);
    assert_string_equal(seen.result[0].answer, "line\n\"two\" \u00e4");
    assert_true(!seen.result[0].is_right && seen.result[1].is_right); // scored when read
    assert_near(seen.result[1].record.value[METRIC_time_s], 1.5, 0);
    release(&seen);
    discard(&kept);
}

// Another reference is scored anew, another prompt is another question.
static void test_changed_tasks(void **state) {
    (void)state;
    struct kept kept;
    struct seen seen = {0};
    struct wl_err err = {0};
    prepare(TASKS, &kept);
    write_two(&kept);
    discard(&kept);
    prepare("{\"id\": \"z\", \"prompt\": \"Z?\", \"reference\": \"z\"}\n"
            "{\"id\": \"b\", \"prompt\": \"B?\", \"reference\": \"thrice\"}\n",
            &kept);
    assert_int_equal(read_back(&kept, &seen, &err), WL_OK);
    assert_true(seen.n == 1 && seen.result[1].answer && !seen.result[1].is_right);
    release(&seen);
    discard(&kept);
    prepare("{\"id\": \"b\", \"prompt\": \"B!\", \"reference\": \"twice\"}", &kept);
    seen = (struct seen){0};
    assert_int_equal(read_back(&kept, &seen, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "line 3: item 'b' had another prompt"));
    discard(&kept);
}

static void test_another_run(void **state) {
    (void)state;
    struct kept kept;
    struct seen seen = {0};
    struct wl_err err = {0};
    prepare(TASKS, &kept);
    write_two(&kept);
    json_object_set_new(kept.head, "threads", json_integer(3));
    assert_int_equal(read_back(&kept, &seen, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "given with threads 0, and this run has 3"));
    assert_int_equal(seen.n, 0);
    json_decref(kept.head);
    kept.head = NULL; // any head
    assert_int_equal(read_back(&kept, &seen, &err), WL_OK);
    assert_int_equal(seen.n, 2);
    release(&seen);
    discard(&kept);
}

// A kill cut the last line, at any byte: what is whole is there, and what comes is whole again.
static void test_cut_line(void **state) {
    (void)state;
    struct kept kept;
    struct wl_err err = {0};
    struct buf whole;
    prepare(TASKS, &kept);
    write_two(&kept);
    buf_init(&whole, 1 << 20);
    assert_int_equal(os_slurp(answers_file, &whole, &err), WL_OK);
    for (size_t n = 0; n < whole.len; n += n < 300 ? 7 : 211) {
        struct seen seen = {0};
        assert_int_equal(os_write_atomic(answers_file, whole.data, n, &err), WL_OK);
        assert_int_equal(read_back(&kept, &seen, &err), WL_OK);
        assert_true(seen.n < 2);
        write_two(&kept);
        assert_int_equal(read_back(&kept, &seen, &err), WL_OK);
        assert_non_null(seen.result[1].answer);
        release(&seen);
    }
    buf_release(&whole);
    discard(&kept);
}

static void test_foreign_files(void **state) {
    (void)state;
    static const char *const TEXTS[] = {"abc", "{\"prompt\": \"a\"}\n",     "[]\n", "\n",
                                        "{}",  "{\"wattlaw_answers\": 2}\n"};
    struct kept kept;
    struct wl_err err = {0};
    prepare(TASKS, &kept);
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        struct seen seen = {0};
        assert_int_equal(os_write_atomic(answers_file, TEXTS[i], strlen(TEXTS[i]), &err), WL_OK);
        assert_int_equal(read_back(&kept, &seen, &err), WL_INPUT);
        assert_int_equal(seen.n, 0);
    }
    discard(&kept);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_scores, fresh),
        cmocka_unit_test_setup(test_done_items_are_skipped, fresh),
        cmocka_unit_test_setup(test_engine_that_dies, fresh),
        cmocka_unit_test_setup(test_failure_of_the_caller, fresh),
        cmocka_unit_test_setup(test_checks, fresh),
        cmocka_unit_test_setup(test_answers_come_back, fresh),
        cmocka_unit_test_setup(test_changed_tasks, fresh),
        cmocka_unit_test_setup(test_another_run, fresh),
        cmocka_unit_test_setup(test_cut_line, fresh),
        cmocka_unit_test_setup(test_foreign_files, fresh),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
