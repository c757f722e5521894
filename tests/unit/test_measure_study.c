// The whole experiment against an engine whose cost is known: figures, resuming, crashes.
#include "near.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "measure/study.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/process.h"
#include "stats/law.h"
#include "store/store.h"
#include "store/store_record.h"
#include "store/store_study.h"

static char dir[] = "/tmp/wattlaw-study-XXXXXX";
static char store_file[256], model_file[256];
static const uint32_t PROMPTS[] = {16, 64, 256, 1024};

static struct study_options small_study(void) {
    struct study_options options = {
        .title = "test",
        .subject = {.engine_path = getenv("WATTLAW_FAKE_ENGINE"),
                    .wait_policy = "passive",
                    .meters = "estimate"},
        .model_path = {model_file},
        .label = {"fake"},
        .n_models = 1,
        .prompt_tokens = PROMPTS,
        .n_prompts = 4,
        .generate = 8,
        .seed = 1,
        .rule = {.min_repeats = 3, .max_repeats = 3, .target_rel_ci = 0.01},
        .budget_s = 60,
        .idle_s = 1,
    };
    return options;
}

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
    snprintf(store_file, sizeof store_file, "%s/store.db", dir);
    snprintf(model_file, sizeof model_file, "%s/model.gguf", dir);
    return os_write_atomic(model_file, "GGUF", 4, NULL) == WL_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    char command[512];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static int fresh_store(void **state) {
    (void)state;
    static const char *const SUFFIXES[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s%s", store_file, SUFFIXES[i]);
        unlink(path);
    }
    unsetenv("FAKE_ENGINE_FAULT");
    unsetenv("FAKE_ENGINE_FAULT_AFTER");
    setenv("FAKE_ENGINE_RUN_MS", "20", 1);
    setenv("FAKE_ENGINE_PREFILL_MS_PER_TOKEN", "0.1", 1);
    setenv("FAKE_ENGINE_DECODE_MS_PER_TOKEN", "2", 1);
    return 0;
}

static int n_warnings;

static void count_warning(void *context, const char *message) {
    (void)context;
    (void)message;
    n_warnings++;
}

static enum wl_status run_study(const struct study_options *options,
                                const struct study_events *events, struct wl_err *err) {
    struct store *store;
    int64_t id;
    enum wl_status status = store_open(store_file, STORE_READ_WRITE_CREATE, &store, err);
    if (status == WL_OK) {
        status = study_run(store, options, events, &id, err);
        store_close(store);
    }
    return status;
}

static struct record *stored_records(size_t *n, struct store_study *study) {
    struct store *store;
    struct record *records;
    struct wl_err err;
    assert_int_equal(store_open(store_file, STORE_READ_WRITE_CREATE, &store, &err), WL_OK);
    assert_int_equal(store_check(store, &err), WL_OK);
    assert_int_equal(store_study_find_latest(store, study, &err), WL_OK);
    assert_int_equal(store_record_list_study(store, study->id, &records, n, &err), WL_OK);
    store_close(store);
    return records;
}

// Core-seconds that the fake engine burns by its settings (the first token is prefill's).
static double burnt_s(const struct record *record) {
    return (20 + 0.1 * record->prompt_tokens + 2 * (record->generated_tokens - 1.0)) * 1e-3;
}

static void exact_cpu_time_is_the_load_that_was_burnt(void **state) {
    (void)state;
    struct study_options options = small_study();
    struct study_events events = {.on_warning = count_warning};
    struct wl_err err = {0};
    struct store_study study;
    size_t n;
    assert_int_equal(run_study(&options, &events, &err), WL_OK);
    struct record *records = stored_records(&n, &study);
    assert_int_equal(study.state, STORE_STUDY_DONE);
    assert_int_equal(n, 1 + 8 * 3); // a warm-up, and eight cells three times
    double known = 0, found = 0;
    size_t n_warm_ups = 0;
    for (size_t i = 0; i < n; i++) {
        n_warm_ups += (records[i].flags & RECORD_WARMUP) != 0;
        known += burnt_s(&records[i]);
        found += records[i].value[METRIC_cpu_core_s];
        assert_true(records[i].value[METRIC_time_s] > 0.9 * records[i].value[METRIC_cpu_core_s]);
        assert_int_equal(records[i].n_energies, 1);
        assert_true(records[i].energy[0].gross_j > records[i].energy[0].net_j);
        assert_true(records[i].value[METRIC_ram_peak_mib] > 0);
    }
    assert_int_equal(n_warm_ups, 1);
    // The fake engine's own JSON and socket work comes on top: a fraction of a millisecond a run.
    assert_true(found >= known);
    assert_true(found < known * 1.005 + 0.0015 * (double)n);
    free(records);
    store_study_release(&study);
}

static void law_of_the_known_engine_is_found(void **state) {
    (void)state;
    struct study_options options = small_study();
    struct study_events events = {.on_warning = count_warning};
    struct wl_err err = {0};
    struct store_study study;
    size_t n, n_points = 0;
    assert_int_equal(run_study(&options, &events, &err), WL_OK);
    struct record *records = stored_records(&n, &study);
    struct law_point points[64];
    for (size_t i = 0; i < n; i++) {
        if (!(records[i].flags & RECORD_WARMUP)) {
            points[n_points++] =
                (struct law_point){records[i].prompt_tokens, records[i].generated_tokens,
                                   records[i].value[METRIC_cpu_core_s]};
        }
    }
    struct law_fit fit;
    assert_int_equal(law_fit(points, n_points, &fit, &err), WL_OK);
    assert_true(fit.r2 > 0.99);
    assert_true(fit.coef[LAW_PROMPT] > 0.97e-4 && fit.coef[LAW_PROMPT] < 1.05e-4);
    assert_true(fit.coef[LAW_GENERATED] > 1.95e-3 && fit.coef[LAW_GENERATED] < 2.1e-3);
    free(records);
    store_study_release(&study);
}

// A counter that shows a constant 12 W: written anew every millisecond by a thread.
static const double COUNTER_W = 12;
static char counter_root[300];
static atomic_bool counter_stops;

static void *count(void *context) {
    (void)context;
    char path[400], text[32];
    snprintf(path, sizeof path, "%s/sys/class/powercap/intel-rapl:0/energy_uj", counter_root);
    int fd = open(path, O_WRONLY);
    int64_t t0_ns = os_now_ns();
    while (!atomic_load(&counter_stops)) {
        double uj = COUNTER_W * (double)(os_now_ns() - t0_ns) * 1e-3;
        int n = snprintf(text, sizeof text, "%020.0f\n", uj);
        if (pwrite(fd, text, (size_t)n, 0) != n) {
            abort();
        }
        os_sleep_until_ns(os_now_ns() + 1000000);
    }
    close(fd);
    return NULL;
}

static void write_file(const char *inner, const char *text) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", counter_root, inner);
    assert_int_equal(os_write_atomic(path, text, strlen(text), NULL), WL_OK);
}

static void make_counter_root(void) {
    char zone[400];
    snprintf(counter_root, sizeof counter_root, "%s/root", dir);
    snprintf(zone, sizeof zone, "%s/sys/class/powercap/intel-rapl:0", counter_root);
    assert_int_equal(os_make_dirs(zone, NULL), WL_OK);
    snprintf(zone, sizeof zone, "%s/proc", counter_root);
    assert_int_equal(os_make_dirs(zone, NULL), WL_OK);
    write_file("sys/class/powercap/intel-rapl:0/name", "package-0\n");
    write_file("sys/class/powercap/intel-rapl:0/energy_uj", "00000000000000000000\n");
    write_file("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n");
    write_file("proc/cpuinfo", "processor : 0\nvendor_id : GenuineIntel\n");
    write_file("proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n");
}

// Windows too short for the counter are made of several requests; the net energy is taken anew
// with the idle power after the runs.
static void a_counter_is_read_and_short_requests_are_put_together(void **state) {
    (void)state;
    struct study_options options = small_study();
    struct study_events events = {.on_warning = count_warning};
    struct wl_err err = {0};
    struct store_study study;
    pthread_t thread;
    size_t n;
    size_t n_windows = 0, n_together = 0;
    double gross_j = 0, truth_j = 0;
    make_counter_root();
    options.subject.root = counter_root;
    options.subject.meters = "powercap,estimate";
    atomic_store(&counter_stops, false);
    assert_int_equal(pthread_create(&thread, NULL, count, NULL), 0);
    enum wl_status status = run_study(&options, &events, &err);
    atomic_store(&counter_stops, true);
    pthread_join(thread, NULL);
    if (status != WL_OK) {
        fail_msg("%s", err.message);
    }
    struct record *records = stored_records(&n, &study);
    for (size_t i = 0; i < n; i++) {
        const struct record *r = &records[i];
        const struct record_energy *e = &r->energy[0];
        double window_s = (double)(r->t1_ns - r->t0_ns) * 1e-9;
        assert_int_equal(r->n_energies, 2);
        assert_string_equal(e->source, "powercap");
        if (!(r->flags & RECORD_WARMUP)) {
            n_together += r->n_requests > 1;
            n_windows++;
            // In sum: the thread that plays the counter shares two cores with the engine.
            gross_j += e->gross_j;
            truth_j += COUNTER_W * r->value[METRIC_time_s];
        }
        assert_near(window_s / r->n_requests, r->value[METRIC_time_s], 1e-9);
        assert_near(e->idle_w, COUNTER_W, 1.2);
        assert_near(e->net_j, e->gross_j - e->idle_w * r->value[METRIC_time_s], 1e-6);
        assert_near(r->value[METRIC_energy_net_j], e->net_j, 1e-9);
        assert_near(burnt_s(r), r->value[METRIC_cpu_core_s], 0.05 * burnt_s(r) + 2e-3);
    }
    // Nearly all of these requests are shorter than the 250 ms that the counter wants; on a busy
    // machine the guess of their length is now and then too long.
    assert_true(n_together > n_windows / 2);
    assert_near(gross_j, truth_j, 0.05 * truth_j);
    free(records);
    store_study_release(&study);
}

// Options are kept and shown: what a meter's command is called with may be secret.
static void a_meters_command_is_not_kept(void **state) {
    (void)state;
    struct study_options options = small_study();
    struct wl_err err = {0};
    options.subject.meters = "powercap,exec:scope=wall:/bin/meter --password hunter2,estimate";
    json_t *json = study_options_json(&options, &err);
    const json_t *engine = json_object_get(json, "engine");
    const char *meters = json_string_value(json_object_get(engine, "meters"));
    assert_non_null(meters);
    assert_null(strstr(meters, "hunter2"));
    assert_non_null(strstr(meters, "powercap,exec:scope=wall:/bin/meter ... (checksum "));
    options.subject.meters = "powercap,exec:scope=wall:/bin/meter --password other,estimate";
    json_t *other = study_options_json(&options, &err);
    assert_false(json_equal(json, other)); // still another study
    json_decref(json);
    json_decref(other);
}

static void an_engine_that_dies_is_started_again(void **state) {
    (void)state;
    struct study_options options = small_study();
    struct study_events events = {.on_warning = count_warning};
    struct wl_err err = {0};
    struct store_study study;
    size_t n, n_windows = 0;
    setenv("FAKE_ENGINE_FAULT", "killed_in_run", 1);
    setenv("FAKE_ENGINE_FAULT_AFTER", "9", 1);
    n_warnings = 0;
    assert_int_equal(run_study(&options, &events, &err), WL_OK);
    assert_true(n_warnings >= 2);
    struct record *records = stored_records(&n, &study);
    for (size_t i = 0; i < n; i++) {
        n_windows += !(records[i].flags & RECORD_WARMUP);
    }
    assert_int_equal(n_windows, 8 * 3);
    free(records);
    store_study_release(&study);
}

static void an_engine_that_always_dies_is_an_error(void **state) {
    (void)state;
    struct study_options options = small_study();
    struct study_events events = {.on_warning = count_warning};
    struct wl_err err = {0};
    setenv("FAKE_ENGINE_FAULT", "crash_in_run", 1);
    assert_int_equal(run_study(&options, &events, &err), WL_CRASHED);
    assert_non_null(strstr(err.message, "signal"));
}

static void write_seq(void *context, const struct record *record) {
    ssize_t written = write(*(int *)context, &record->seq, sizeof record->seq);
    assert_int_equal(written, sizeof record->seq);
}

// Runs the study in a process of its own and kills that after `ms`; returns whether it had ended.
static bool run_and_kill(unsigned ms, int acknowledged_fd) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct study_options options = small_study();
        struct study_events events = {.on_record = write_seq, .context = &acknowledged_fd};
        struct wl_err err = {0};
        _exit(run_study(&options, &events, &err) == WL_OK ? 0 : 1);
    }
    int wait_status = 0;
    enum wl_status status = os_wait(child, (int64_t)ms * 1000000, &wait_status, NULL);
    if (status == WL_TIMEOUT) {
        os_kill(child);
        return false;
    }
    assert_true(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0);
    return true;
}

static void nothing_is_lost_when_the_program_is_killed(void **state) {
    (void)state;
    int fds[2];
    struct rng rng;
    rng_seed(&rng, 5);
    assert_int_equal(pipe(fds), 0);
    // Two idle baselines of a second each: none of these ends by itself (and starts a new study).
    enum { N_KILLS = 12 };
    int n_kills = 0;
    for (int i = 0; i < N_KILLS; i++) {
        n_kills += !run_and_kill(100 + rng_below(&rng, 1800), fds[1]);
    }
    assert_int_equal(n_kills, N_KILLS);
    assert_true(run_and_kill(60000, fds[1]));
    close(fds[1]);
    struct store_study study;
    size_t n, n_acknowledged = 0, n_windows = 0;
    struct record *records = stored_records(&n, &study);
    uint32_t seq;
    while (read(fds[0], &seq, sizeof seq) == (ssize_t)sizeof seq) {
        bool is_there = false;
        for (size_t i = 0; i < n && !is_there; i++) {
            is_there = records[i].seq == seq;
        }
        assert_true(is_there);
        n_acknowledged++;
    }
    for (size_t i = 0; i < n; i++) {
        n_windows += !(records[i].flags & RECORD_WARMUP);
    }
    close(fds[0]);
    // A record may have been stored by a process that died before it could say so.
    assert_in_range(n, n_acknowledged, n_acknowledged + (size_t)n_kills);
    assert_int_equal(n_windows, 8 * 3);
    assert_int_equal(study.state, STORE_STUDY_DONE);
    free(records);
    store_study_release(&study);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(exact_cpu_time_is_the_load_that_was_burnt, fresh_store),
        cmocka_unit_test_setup(law_of_the_known_engine_is_found, fresh_store),
        cmocka_unit_test_setup(a_meters_command_is_not_kept, fresh_store),
        cmocka_unit_test_setup(a_counter_is_read_and_short_requests_are_put_together, fresh_store),
        cmocka_unit_test_setup(an_engine_that_dies_is_started_again, fresh_store),
        cmocka_unit_test_setup(an_engine_that_always_dies_is_an_error, fresh_store),
        cmocka_unit_test_setup(nothing_is_lost_when_the_program_is_killed, fresh_store),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
