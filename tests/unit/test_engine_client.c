// The client against tests/fake_engine.c, which misbehaves in every way thought of: the status, the
// words, the time it takes, and that no descriptor or zombie is left.
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/units.h"
#include "engine/client.h"
#include "os/clock.h"

// What takes a fraction of a second here may take this long on a busy machine; the deadlines of the
// client itself (30 min and more) are what must not be waited for.
enum { BUSY_S = 60 };

static const char *fake_path;
static int64_t grace_ns; // how long a cancelled request may take to end
static const struct engine_load_options LOAD = {.path = "fake.gguf"};

static int64_t ms(int64_t n) {
    return n * 1000000;
}

static int count_fds(void) {
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

// What every test must leave as it was.
struct traces {
    int n_fds;
    int64_t t0_ns;
};

static int note_traces(void **state) {
    static struct traces traces;
    static const char *const NAMES[] = {
        "FAULT",   "FAULT_AFTER", "PREFILL_MS_PER_TOKEN", "DECODE_MS_PER_TOKEN", "RUN_MS",
        "LOAD_MS", "RAM_MIB",     "PREFILL_MS_PER_TOKEN2"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "FAKE_ENGINE_%s", NAMES[i]);
        unsetenv(name);
    }
    grace_ns = ms(20000);
    traces = (struct traces){.n_fds = count_fds(), .t0_ns = os_now_ns()};
    *state = &traces;
    return 0;
}

static int check_traces(void **state) {
    const struct traces *traces = *state;
    if (count_fds() != traces->n_fds) {
        print_error("descriptors: %d before, %d after\n", traces->n_fds, count_fds());
        return -1;
    }
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD) {
        print_error("a child is left\n");
        return -1;
    }
    return 0;
}

static double seconds_since(const struct traces *traces) {
    return (double)(os_now_ns() - traces->t0_ns) / 1e9;
}

static enum wl_status start_fault(const char *fault, struct engine **engine, struct wl_err *err) {
    setenv("FAKE_ENGINE_FAULT", fault, 1);
    struct engine_options options = {
        .path = fake_path, .hello_timeout_ns = ms(20000), .cancel_grace_ns = grace_ns};
    return engine_start(&options, engine, err);
}

static struct engine *start_loaded(const char *fault) {
    struct engine *engine;
    struct wl_err err = {0};
    if (start_fault(fault, &engine, &err) != WL_OK) {
        fail_msg("start: %s", err.message);
    }
    if (engine_load(engine, &LOAD, NULL, NULL, &err) != WL_OK) {
        fail_msg("load: %s", err.message);
    }
    return engine;
}

static void expect_words(const struct wl_err *err, const char *words) {
    if (!strstr(err->message, words)) {
        fail_msg("expected '%s' in: %s", words, err->message);
    }
}

// ---- what works

static void answers_hello(void **state) {
    (void)state;
    struct engine *engine;
    struct wl_err err;
    struct engine_options options = {.path = fake_path, .omp_wait_policy = "passive"};
    assert_int_equal(engine_start(&options, &engine, &err), WL_OK);
    assert_true(engine_is_running(engine));
    assert_true(engine_pid(engine) > 0);
    assert_true(engine_has_cap(engine, "run"));
    assert_false(engine_has_cap(engine, "fly"));
    assert_string_equal(json_string_value(json_object_get(engine_hello(engine), "omp_wait_policy")),
                        "passive");
    assert_int_equal(engine_ping(engine, &err), WL_OK);
    engine_stop(engine);
}

static void stops_in_time(void **state) {
    struct engine *engine = start_loaded("none");
    engine_stop(engine);
    assert_true(seconds_since(*state) < BUSY_S);
}

static void describes_the_model(void **state) {
    (void)state;
    struct engine *engine;
    struct engine_model *model = calloc(2, sizeof *model);
    struct engine_phase load;
    struct wl_err err;
    setenv("FAKE_ENGINE_LOAD_MS", "5", 1);
    assert_int_equal(start_fault("none", &engine, &err), WL_OK);
    struct engine_load_options options = {
        .path = "fake.gguf", .threads = 3, .n_ctx = 1234, .type_k = "q8_0", .no_repack = true};
    assert_int_equal(engine_load(engine, &options, &model[0], &load, &err), WL_OK);
    assert_string_equal(model->arch, "llama");
    assert_int_equal(model->n_ctx, 1234);
    assert_int_equal(model->threads, 3);
    assert_string_equal(model->type_k, "q8_0");
    assert_false(model->repack);
    assert_true(model->is_synthetic);
    assert_int_equal(model->n_types, 2);
    assert_string_equal(load.name, "load");
    assert_true(load.cpu1_ns - load.cpu0_ns >= ms(5));
    assert_int_equal(engine_describe(engine, &model[1], &err), WL_OK);
    assert_memory_equal(&model[0], &model[1], sizeof *model);
    assert_int_equal(engine_unload(engine, &err), WL_OK);
    assert_int_equal(engine_describe(engine, &model[1], &err), WL_INPUT);
    expect_words(&err, "no model is loaded");
    assert_true(engine_is_running(engine));
    engine_stop(engine);
    free(model);
}

static void passes_refusals_on(void **state) {
    (void)state;
    struct engine *engine;
    struct wl_err err;
    setenv("FAKE_ENGINE_RAM_MIB", "8", 1);
    assert_int_equal(start_fault("none", &engine, &err), WL_OK);
    struct engine_load_options missing = {.path = "missing.gguf"};
    assert_int_equal(engine_load(engine, &missing, NULL, NULL, &err), WL_NOT_FOUND);
    struct engine_load_options big = {.path = "big.gguf", .max_ram_bytes = 4 << 20};
    assert_int_equal(engine_load(engine, &big, NULL, NULL, &err), WL_MEMORY);
    expect_words(&err, "would not fit");
    struct engine_load_options latin1 = {.path = "caf\xe9.gguf"};
    assert_int_equal(engine_load(engine, &latin1, NULL, NULL, &err), WL_INPUT);
    expect_words(&err, "UTF-8");
    assert_int_equal(engine_load(engine, &LOAD, NULL, NULL, &err), WL_OK);
    engine_stop(engine);
}

static void counts_tokens(void **state) {
    (void)state;
    struct engine *engine = start_loaded("none");
    struct wl_err err;
    size_t n;
    int32_t *ids;
    struct engine_tokenize_options options = {.text = "once upon a time", .add_special = true};
    assert_int_equal(engine_tokenize(engine, &options, &n, &ids, &err), WL_OK);
    assert_int_equal(n, 5);
    assert_int_equal(ids[4], 4);
    free(ids);
    options = (struct engine_tokenize_options){.text = ""};
    assert_int_equal(engine_tokenize(engine, &options, &n, &ids, &err), WL_OK);
    assert_int_equal(n, 0);
    assert_null(ids);
    options.text = "no list wanted";
    assert_int_equal(engine_tokenize(engine, &options, &n, NULL, &err), WL_OK);
    assert_int_equal(n, 4);
    engine_stop(engine);
}

struct seen {
    int n_tokens, n_begins, n_ends;
    char text[256];
    int64_t last_ns;
};

static void see_phase(void *context, const char *phase, bool is_begin, int64_t t_ns,
                      int64_t cpu_ns) {
    struct seen *seen = context;
    assert_true(strcmp(phase, "prefill") == 0 || strcmp(phase, "decode") == 0);
    assert_true(t_ns >= seen->last_ns && cpu_ns >= 0);
    seen->last_ns = t_ns;
    *(is_begin ? &seen->n_begins : &seen->n_ends) += 1;
}

static void see_token(void *context, int32_t id, const char *text, int64_t t_ns) {
    struct seen *seen = context;
    assert_int_equal(id, ++seen->n_tokens);
    assert_true(t_ns > 0 && strlen(seen->text) + strlen(text) < sizeof seen->text);
    memcpy(seen->text + strlen(seen->text), text, strlen(text) + 1);
}

static void runs_with_events(void **state) {
    (void)state;
    struct engine *engine = start_loaded("none");
    struct wl_err err;
    struct seen seen = {0};
    struct engine_run_events events = {see_phase, see_token, &seen};
    struct engine_message messages[] = {{"system", "be short"}, {"user", "tell me a story"}};
    struct engine_run_options options = {
        .messages = messages, .n_messages = 2, .n_predict = 8, .wants_token_times = true};
    struct engine_run_result result;
    assert_int_equal(engine_run(engine, &options, &events, &result, &err), WL_OK);
    assert_int_equal(result.n_prompt, 7);
    assert_int_equal(result.n_generated, 8);
    assert_int_equal(result.stop, ENGINE_STOP_LENGTH);
    assert_string_equal(engine_stop_name(result.stop), "length");
    assert_string_equal(result.text, seen.text);
    assert_int_equal(result.text_bytes, strlen(seen.text));
    assert_int_equal(seen.n_begins, 2);
    assert_int_equal(seen.n_ends, 2);
    const struct engine_phase *decode = engine_result_phase(&result, "decode");
    assert_int_equal(decode->n_tokens, 7);
    assert_true(result.token_t_ns[7] <= decode->t1_ns && result.token_t_ns[1] >= decode->t0_ns);
    assert_null(engine_result_phase(&result, "vision"));
    engine_run_result_release(&result);
    engine_run_result_release(&result); // twice is fine
    engine_stop(engine);
}

static void costs_what_was_asked(void **state) {
    (void)state;
    setenv("FAKE_ENGINE_PREFILL_MS_PER_TOKEN", "0.5", 1);
    setenv("FAKE_ENGINE_DECODE_MS_PER_TOKEN", "2", 1);
    setenv("FAKE_ENGINE_RUN_MS", "10", 1);
    struct engine *engine = start_loaded("none");
    struct engine_run_options options = {.prompt = "x", .n_prompt = 100, .n_predict = 31};
    struct engine_run_result result;
    int64_t before_ns, after_ns;
    struct wl_err err;
    assert_int_equal(os_process_cpu_ns(engine_pid(engine), &before_ns, &err), WL_OK);
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_OK);
    assert_int_equal(os_process_cpu_ns(engine_pid(engine), &after_ns, &err), WL_OK);
    const struct engine_phase *prefill = &result.phases[0], *decode = &result.phases[1];
    assert_true(prefill->cpu1_ns - prefill->cpu0_ns >= ms(60));
    assert_true(prefill->cpu1_ns - prefill->cpu0_ns < ms(63));
    assert_true(decode->cpu1_ns - decode->cpu0_ns >= ms(60));
    assert_true(decode->cpu1_ns - decode->cpu0_ns < ms(66));
    assert_true(after_ns - before_ns >= decode->cpu1_ns - prefill->cpu0_ns);
    engine_run_result_release(&result);
    engine_stop(engine);
}

static void takes_frames_in_crumbs(void **state) {
    (void)state;
    struct engine *engine = start_loaded("byte_by_byte");
    struct engine_run_options options = {.prompt = "x", .n_predict = 20};
    struct engine_run_result result;
    struct wl_err err;
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_OK);
    assert_int_equal(result.n_generated, 20);
    engine_run_result_release(&result);
    engine_stop(engine);
}

static void sends_long_prompts(void **state) {
    (void)state;
    struct engine *engine = start_loaded("none");
    size_t len = 8 << 20;
    char *text = malloc(len + 1);
    struct wl_err err;
    size_t n;
    memset(text, 'a', len);
    text[len] = '\0';
    struct engine_tokenize_options options = {.text = text};
    assert_int_equal(engine_tokenize(engine, &options, &n, NULL, &err), WL_OK);
    assert_int_equal(n, len / 4);
    free(text);
    engine_stop(engine);
}

static void refuses_longer_prompts(void **state) {
    (void)state;
    struct engine *engine = start_loaded("none");
    size_t len = 17 << 20;
    char *text = malloc(len + 1);
    struct wl_err err;
    size_t n;
    memset(text, 'a', len);
    text[len] = '\0';
    struct engine_tokenize_options options = {.text = text};
    assert_int_equal(engine_tokenize(engine, &options, &n, NULL, &err), WL_LIMIT);
    expect_words(&err, "16777216");
    assert_int_equal(engine_ping(engine, &err), WL_OK); // nothing was sent
    free(text);
    engine_stop(engine);
}

static void survives_a_flood_of_log(void **state) {
    struct engine *engine = start_loaded("flood_log");
    struct engine_run_options options = {.prompt = "x", .n_predict = 2};
    struct engine_run_result result;
    struct wl_err err;
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_OK);
    engine_run_result_release(&result);
    const char *log = engine_log_text(engine);
    assert_true(strlen(log) <= 65536 && strlen(log) > 60000);
    assert_non_null(strstr(log, "line  65535"));
    engine_stop(engine);
    assert_true(seconds_since(*state) < BUSY_S);
}

static void keeps_the_stated_ram(void **state) {
    (void)state;
    char path[64], line[256];
    long pages[2] = {0};
    struct engine *engine;
    struct wl_err err;
    setenv("FAKE_ENGINE_RAM_MIB", "64", 1);
    assert_int_equal(start_fault("none", &engine, &err), WL_OK);
    snprintf(path, sizeof path, "/proc/%d/statm", (int)engine_pid(engine));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(os_slurp_line(path, line, sizeof line, &err), WL_OK);
        assert_int_equal(sscanf(line, "%*d %ld", &pages[i]), 1);
        assert_int_equal(engine_load(engine, &LOAD, NULL, NULL, &err), WL_OK);
    }
    double mib = (double)(pages[1] - pages[0]) * (double)sysconf(_SC_PAGESIZE) / 1048576;
    assert_true(mib > 63 && mib < 80);
    engine_stop(engine);
}

static void count_progress(void *context, const char *what, double done) {
    assert_string_equal(what, "writing");
    assert_true(done >= 0 && done <= 1);
    ++*(int *)context;
}

static void writes_models(void **state) {
    (void)state;
    struct engine *engine;
    struct wl_err err;
    struct engine_synth_result result;
    char path[] = "/tmp/wattlaw-synth-XXXXXX";
    int n = 0;
    close(mkstemp(path));
    assert_int_equal(start_fault("none", &engine, &err), WL_OK);
    struct engine_synth_options options = {.path = path, .arch = "llama", .seed = UINT64_MAX};
    assert_int_equal(engine_synth(engine, &options, count_progress, &n, &result, &err), WL_OK);
    assert_int_equal(n, 5);
    assert_int_equal(result.n_params, 1000);
    options.path = "/nonexistent/x.gguf";
    assert_int_equal(engine_synth(engine, &options, NULL, NULL, &result, &err), WL_IO);
    engine_stop(engine);
    unlink(path);
}

// ---- what goes wrong at start

static void says_when_there_is_no_program(void **state) {
    (void)state;
    struct engine *engine;
    struct wl_err err;
    struct engine_options options = {.path = "/nonexistent/wattlaw-engine"};
    assert_int_equal(engine_start(&options, &engine, &err), WL_NOT_FOUND);
    assert_null(engine);
    expect_words(&err, "/nonexistent/wattlaw-engine");
    options.omp_wait_policy = "sleepy";
    assert_int_equal(engine_start(&options, &engine, &err), WL_USAGE);
}

static void finds_the_program(void **state) {
    (void)state;
    char path[OS_PATH_BYTES];
    struct wl_err err;
    const char *stated = getenv("WATTLAW_ENGINE");
    char *kept = stated ? strdup(stated) : NULL;
    setenv("WATTLAW_ENGINE", fake_path, 1);
    assert_int_equal(engine_find(path, &err), WL_OK);
    assert_string_equal(path, fake_path);
    setenv("WATTLAW_ENGINE", "/etc/passwd", 1);
    assert_int_equal(engine_find(path, &err), WL_NOT_FOUND);
    expect_words(&err, "/etc/passwd");
    unsetenv("WATTLAW_ENGINE");
    enum wl_status status = engine_find(path, &err); // depends on where this test lies
    if (status == WL_OK) {
        assert_int_equal(access(path, X_OK), 0);
    } else {
        expect_words(&err, "libexec/wattlaw");
    }
    if (kept) {
        setenv("WATTLAW_ENGINE", kept, 1);
    }
    free(kept);
}

static void check_start(const char *fault, enum wl_status status, const char *words) {
    struct engine *engine;
    struct wl_err err = {0};
    assert_int_equal(start_fault(fault, &engine, &err), status);
    assert_null(engine);
    expect_words(&err, words);
}

static void reports_bad_starts(void **state) {
    (void)state;
    check_start("crash_at_start", WL_CRASHED, "killed by signal 6 (Aborted) while starting");
    check_start("crash_at_start", WL_CRASHED, "its last words: fake_engine: error: no backend");
    check_start("crash_at_start", WL_CRASHED, "by hand");
    check_start("wrong_version", WL_PROTOCOL, "expected protocol version 1, found 9");
    check_start("wrong_hello", WL_PROTOCOL, "llama-server");
}

static void gives_up_on_a_mute_start(void **state) {
    struct engine *engine;
    struct wl_err err;
    setenv("FAKE_ENGINE_FAULT", "hang_hello", 1);
    struct engine_options options = {.path = fake_path, .hello_timeout_ns = ms(300)};
    assert_int_equal(engine_start(&options, &engine, &err), WL_TIMEOUT);
    expect_words(&err, "not done after 300 ms while starting");
    assert_true(seconds_since(*state) < BUSY_S);
}

static void reports_another_program(void **state) {
    (void)state;
    struct engine *engine;
    struct wl_err err;
    struct engine_options options = {.path = "/bin/true", .hello_timeout_ns = ms(20000)};
    assert_int_equal(engine_start(&options, &engine, &err), WL_CRASHED);
    expect_words(&err, "exited with code 0 while starting '/bin/true'");
}

// ---- what goes wrong later

static void reports_a_crash_in_load(void **state) {
    struct engine *engine;
    struct wl_err err;
    assert_int_equal(start_fault("crash_in_load", &engine, &err), WL_OK);
    assert_int_equal(engine_load(engine, &LOAD, NULL, NULL, &err), WL_CRASHED);
    expect_words(&err, "the engine was killed by signal 6 (Aborted) while loading 'fake.gguf'");
    expect_words(&err, "its last words: fake.c:12: GGML_ASSERT(n_dims >= 1) failed");
    expect_words(&err, "may be damaged");
    assert_false(engine_is_running(engine));
    assert_int_equal(engine_pid(engine), -1);
    assert_null(engine_hello(engine));
    assert_int_equal(engine_ping(engine, &err), WL_CRASHED);
    expect_words(&err, "not running");
    assert_non_null(strstr(engine_log_text(engine), "GGML_ASSERT"));
    setenv("FAKE_ENGINE_FAULT", "none", 1);
    assert_int_equal(engine_restart(engine, &err), WL_OK);
    assert_int_equal(engine_load(engine, &LOAD, NULL, NULL, &err), WL_OK);
    engine_stop(engine);
    assert_true(seconds_since(*state) < BUSY_S);
}

static void gives_up_on_a_long_load(void **state) {
    struct engine *engine;
    struct wl_err err;
    struct engine_load_options options = {.path = "fake.gguf", .wait = {.total_ns = ms(200)}};
    assert_int_equal(start_fault("hang_load", &engine, &err), WL_OK);
    assert_int_equal(engine_load(engine, &options, NULL, NULL, &err), WL_TIMEOUT);
    expect_words(&err, "not done after 200 ms while loading 'fake.gguf'");
    assert_false(engine_is_running(engine));
    engine_stop(engine);
    assert_true(seconds_since(*state) < BUSY_S);
}

struct run_fault {
    const char *fault;
    enum wl_status status;
    const char *words;
};

static const struct run_fault RUN_FAULTS[] = {
    {"crash_in_run", WL_CRASHED, "was killed by signal 11 (Segmentation fault) while running"},
    {"crash_in_run", WL_CRASHED, "about to touch what it must not"},
    {"killed_in_run", WL_CRASHED, "run out of memory"},
    {"exit_silently", WL_CRASHED, "the engine exited with code 0 while running the model"},
    {"hang_run", WL_TIMEOUT, "said nothing for 400 ms while running the model"},
    {"truncate_frame", WL_CRASHED, "in the middle of an answer"},
    {"lie_length", WL_PROTOCOL, "4294967295 bytes announced, at most 16777216 allowed"},
    {"lie_short", WL_TIMEOUT, "said nothing for 400 ms"},
    {"garbage", WL_PROTOCOL, "expected magic 0x31454c57"},
    {"garbage_json", WL_PROTOCOL, "frame 'result': bad JSON"},
    {"wrong_frame", WL_PROTOCOL, "frame 'tokens'"},
    {"wrong_count", WL_PROTOCOL, "'n_generated': expected 0 to 4, found 5"},
    {"flood_tokens", WL_PROTOCOL, "more than the 4 tokens asked for"},
    {"huge_text", WL_PROTOCOL, "'text': 2097169 bytes"},
    {"nan_times", WL_PROTOCOL, "bad JSON"},
    {"negative_times", WL_PROTOCOL, "'t0_ns': expected"},
    {"reversed_times", WL_PROTOCOL, "'t1_ns': expected"},
    {"future_times", WL_PROTOCOL, "'t1_ns': expected"},
    {"close_socket", WL_CRASHED, "kept running and had to be killed while running the model"},
};

static void ignore_token(void *context, int32_t id, const char *text, int64_t t_ns) {
    (void)context, (void)id, (void)text, (void)t_ns;
}

// Faults of times already spoil the load phase, and are found there.
static void check_run_fault(const struct run_fault *row) {
    struct engine *engine;
    struct wl_err err = {0};
    struct engine_run_result result;
    struct engine_run_events events = {.on_token = ignore_token};
    // Short only where it is what ends the run: a busy machine may be silent for a while.
    int64_t silence_ns = row->status == WL_TIMEOUT ? ms(400) : ms(20000);
    struct engine_run_options options = {
        .prompt = "x", .n_predict = 4, .wait = {.silence_ns = silence_ns}};
    int64_t t0_ns = os_now_ns();
    assert_int_equal(start_fault(row->fault, &engine, &err), WL_OK);
    enum wl_status status = engine_load(engine, &LOAD, NULL, NULL, &err);
    if (status == WL_OK) {
        status = engine_run(engine, &options, &events, &result, &err);
        assert_null(result.text);
        engine_run_result_release(&result);
    }
    if (status != row->status || !strstr(err.message, row->words)) {
        fail_msg("%s: expected %s with '%s', found %s: %s", row->fault, wl_status_name(row->status),
                 row->words, wl_status_name(status), err.message);
    }
    assert_false(engine_is_running(engine));
    assert_int_equal(engine_pid(engine), -1);
    engine_stop(engine);
    assert_true(os_now_ns() - t0_ns < ms(1000 * BUSY_S));
}

static void reports_bad_runs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof RUN_FAULTS / sizeof RUN_FAULTS[0]; i++) {
        check_run_fault(&RUN_FAULTS[i]);
    }
}

static void reports_a_wrong_id(void **state) {
    (void)state;
    struct engine *engine;
    struct wl_err err;
    assert_int_equal(start_fault("wrong_id", &engine, &err), WL_OK);
    assert_int_equal(engine_ping(engine, &err), WL_PROTOCOL);
    expect_words(&err, "expected request id 1, found 8");
    engine_stop(engine);
}

static void distrusts_an_early_answer(void **state) {
    (void)state;
    struct engine *engine = start_loaded("early_error");
    size_t len = 8 << 20, n;
    char *text = malloc(len + 1);
    struct wl_err err;
    memset(text, 'a', len);
    text[len] = '\0';
    struct engine_tokenize_options options = {.text = text};
    assert_int_equal(engine_tokenize(engine, &options, &n, NULL, &err), WL_PROTOCOL);
    expect_words(&err, "before the whole request was read");
    free(text);
    engine_stop(engine);
}

static void crashes_only_when_told(void **state) {
    (void)state;
    setenv("FAKE_ENGINE_FAULT_AFTER", "3", 1);
    struct engine *engine = start_loaded("exit_silently");
    struct engine_run_options options = {.prompt = "x", .n_predict = 2};
    struct engine_run_result result;
    struct wl_err err;
    for (int i = 0; i < 3; i++) {
        enum wl_status status = engine_run(engine, &options, NULL, &result, &err);
        assert_int_equal(status, i < 2 ? WL_OK : WL_CRASHED);
        engine_run_result_release(&result);
    }
    engine_stop(engine);
}

static void notices_a_death_between_requests(void **state) {
    (void)state;
    struct engine *engine = start_loaded("none");
    struct wl_err err;
    kill(engine_pid(engine), SIGTERM);
    assert_int_equal(engine_ping(engine, &err), WL_CRASHED);
    expect_words(&err, "signal 15 (Terminated)");
    assert_int_equal(engine_restart(engine, &err), WL_OK);
    assert_int_equal(engine_ping(engine, &err), WL_OK);
    engine_stop(engine);
}

static void kills_what_does_not_leave(void **state) {
    struct engine *engine;
    struct wl_err err;
    assert_int_equal(start_fault("ignore_eof", &engine, &err), WL_OK);
    pid_t pid = engine_pid(engine);
    engine_stop(engine);
    assert_int_equal(kill(pid, 0), -1);
    assert_true(seconds_since(*state) > 1.9 && seconds_since(*state) < BUSY_S);
}

// ---- interruption

// Burns from when it is first asked; INT64_MIN: already burnt.
struct fuse {
    int64_t delay_ns, end_ns;
};

static bool is_burnt(void *context) {
    struct fuse *fuse = context;
    if (fuse->end_ns == 0) {
        fuse->end_ns = os_now_ns() + fuse->delay_ns;
    }
    return os_now_ns() > fuse->end_ns;
}

static void cancels_a_run(void **state) {
    setenv("FAKE_ENGINE_DECODE_MS_PER_TOKEN", "1", 1);
    struct engine *engine = start_loaded("none");
    struct fuse fuse = {.delay_ns = ms(200)};
    struct engine_run_options options = {
        .prompt = "x",
        .n_predict = 1000000,
        .wants_token_times = true,
        .wait = {.is_cancelled = is_burnt, .cancel_context = &fuse},
    };
    struct engine_run_result result;
    struct wl_err err;
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_INTERRUPTED);
    assert_int_equal(result.stop, ENGINE_STOP_CANCEL);
    assert_in_range(result.n_generated, 1, 100000);
    assert_non_null(result.text);
    engine_run_result_release(&result);
    assert_true(engine_is_running(engine));
    assert_int_equal(engine_ping(engine, &err), WL_OK);
    // Already cancelled: nothing is sent, the engine lives on.
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_INTERRUPTED);
    assert_null(result.text);
    assert_int_equal(engine_ping(engine, &err), WL_OK);
    engine_stop(engine);
    assert_true(seconds_since(*state) < BUSY_S);
}

static void kills_a_run_that_ignores_cancel(void **state) {
    grace_ns = ms(300);
    struct engine *engine = start_loaded("hang_run");
    struct fuse fuse = {.delay_ns = ms(150)};
    struct engine_run_options options = {
        .prompt = "x",
        .n_predict = 10,
        .wait = {.is_cancelled = is_burnt, .cancel_context = &fuse},
    };
    struct engine_run_result result;
    struct wl_err err;
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_INTERRUPTED);
    expect_words(&err, "did not stop and was killed");
    assert_false(engine_is_running(engine));
    engine_stop(engine);
    assert_true(seconds_since(*state) < BUSY_S);
}

static void kills_an_interrupted_load(void **state) {
    struct engine *engine;
    struct wl_err err;
    struct fuse fuse = {.delay_ns = ms(200)};
    struct engine_load_options options = {
        .path = "x.gguf", .wait = {.is_cancelled = is_burnt, .cancel_context = &fuse}};
    assert_int_equal(start_fault("hang_load", &engine, &err), WL_OK);
    assert_int_equal(engine_load(engine, &options, NULL, NULL, &err), WL_INTERRUPTED);
    expect_words(&err, "interrupted while loading 'x.gguf'");
    assert_false(engine_is_running(engine));
    engine_stop(engine);
    assert_true(seconds_since(*state) < BUSY_S);
}

static void cancels_a_synth(void **state) {
    (void)state;
    struct engine *engine;
    struct wl_err err;
    struct fuse fuse = {.end_ns = INT64_MIN};
    struct engine_synth_options options = {
        .path = "/nonexistent/x",
        .arch = "llama",
        .wait = {.is_cancelled = is_burnt, .cancel_context = &fuse}};
    struct engine_synth_result result;
    assert_int_equal(start_fault("none", &engine, &err), WL_OK);
    assert_int_equal(engine_synth(engine, &options, NULL, NULL, &result, &err), WL_INTERRUPTED);
    assert_int_equal(engine_ping(engine, &err), WL_OK);
    engine_stop(engine);
}

static void refuses_senseless_runs(void **state) {
    (void)state;
    struct engine *engine = start_loaded("none");
    struct engine_run_options options = {.prompt = "x"};
    struct engine_run_result result;
    struct wl_err err;
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_USAGE);
    options = (struct engine_run_options){.prompt = "\xff", .n_predict = 1};
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_INPUT);
    assert_int_equal(engine_ping(engine, NULL), WL_OK);
    engine_stop(engine);
    engine_stop(NULL);
}

static void needs_no_err(void **state) {
    (void)state;
    struct engine *engine;
    assert_int_equal(start_fault("crash_at_start", &engine, NULL), WL_CRASHED);
    assert_int_equal(start_fault("crash_in_load", &engine, NULL), WL_OK);
    assert_int_equal(engine_load(engine, &LOAD, NULL, NULL, NULL), WL_CRASHED);
    assert_int_equal(engine_restart(engine, NULL), WL_OK);
    engine_stop(engine);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, note_traces, check_traces)

int main(void) {
    fake_path = getenv("WATTLAW_FAKE_ENGINE");
    if (!fake_path || access(fake_path, X_OK) != 0) {
        fprintf(stderr, "skipped: WATTLAW_FAKE_ENGINE is not the fake engine\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        CASE(answers_hello),
        CASE(stops_in_time),
        CASE(describes_the_model),
        CASE(passes_refusals_on),
        CASE(counts_tokens),
        CASE(runs_with_events),
        CASE(costs_what_was_asked),
        CASE(takes_frames_in_crumbs),
        CASE(sends_long_prompts),
        CASE(refuses_longer_prompts),
        CASE(survives_a_flood_of_log),
        CASE(keeps_the_stated_ram),
        CASE(writes_models),
        CASE(says_when_there_is_no_program),
        CASE(finds_the_program),
        CASE(reports_bad_starts),
        CASE(gives_up_on_a_mute_start),
        CASE(reports_another_program),
        CASE(reports_a_crash_in_load),
        CASE(gives_up_on_a_long_load),
        CASE(reports_bad_runs),
        CASE(reports_a_wrong_id),
        CASE(distrusts_an_early_answer),
        CASE(crashes_only_when_told),
        CASE(notices_a_death_between_requests),
        CASE(kills_what_does_not_leave),
        CASE(cancels_a_run),
        CASE(kills_a_run_that_ignores_cancel),
        CASE(kills_an_interrupted_load),
        CASE(cancels_a_synth),
        CASE(refuses_senseless_runs),
        CASE(needs_no_err),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
