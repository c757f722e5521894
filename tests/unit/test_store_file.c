// The store's file: kill -9, damage, other people's files, versions, two processes, no permission.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/rng.h"
#include "store/store_record.h"
#include "store/store_study.h"

struct fixture {
    char dir[64];
    char path[96];
};

static void ok(enum wl_status status, const struct wl_err *err) {
    if (status != WL_OK) {
        fail_msg("%s: %s", wl_status_name(status), err->message);
    }
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/wattlaw-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/s ?#%%.db", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    static const char *const SUFFIXES[] = {"", "-wal", "-shm", "-journal"};
    chmod(f->dir, 0700);
    for (int i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", f->path, SUFFIXES[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

// A study with one model; returns the model's id.
static int64_t add_study(struct store *store) {
    struct wl_err err = {0};
    struct store_study study = {.created_wall_ns = 1};
    ok(store_study_create(store, &study, &err), &err);
    struct store_model model = {.study_id = study.id, .role = "base"};
    ok(store_model_add(store, &model, &err), &err);
    return model.id;
}

static int64_t make_store(const struct fixture *f, uint32_t n_records) {
    struct wl_err err = {0};
    struct store *store;
    ok(store_open(f->path, STORE_READ_WRITE_CREATE, &store, &err), &err);
    int64_t model_id = add_study(store);
    for (uint32_t i = 0; i < n_records; i++) {
        struct record record;
        record_init(&record);
        record.model_id = model_id;
        record.seq = i;
        record.value[METRIC_time_s] = i;
        ok(store_record_add(store, &record, NULL, 0, &err), &err);
    }
    store_close(store);
    return model_id;
}

static void run_sql(const char *path, const char *sql) {
    sqlite3 *db;
    char *message = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) {
        fail_msg("%s: %s", sql, message);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

// ---- kill -9 ----

enum { N_SAMPLES = 50 };

// Writes records for ever; after each one that the store acknowledged, its seq goes into the pipe.
static void write_until_killed(const char *path, int64_t model_id, uint32_t first_seq, int fd) {
    struct wl_err err = {0};
    struct store *store;
    struct store_sample samples[N_SAMPLES];
    for (int i = 0; i < N_SAMPLES; i++) {
        store_sample_init(&samples[i]);
        samples[i].t_ns = i;
    }
    if (store_open(path, STORE_READ_WRITE_CREATE, &store, &err) != WL_OK) {
        fprintf(stderr, "%s\n", err.message);
        _exit(1);
    }
    for (uint32_t seq = first_seq;; seq++) {
        struct record record;
        record_init(&record);
        record.model_id = model_id;
        record.seq = seq;
        for (int i = 0; i < METRIC_COUNT; i++) {
            record.value[i] = seq;
        }
        if (store_record_add(store, &record, samples, N_SAMPLES, &err) != WL_OK ||
            write(fd, &seq, sizeof seq) != (ssize_t)sizeof seq) {
            fprintf(stderr, "%s\n", err.message);
            _exit(1);
        }
    }
}

// Starts a writer, kills it after `delay_us`, returns one more than the last acknowledged seq.
static uint32_t kill_a_writer(const struct fixture *f, int64_t model_id, uint32_t first_seq,
                              unsigned delay_us) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        write_until_killed(f->path, model_id, first_seq, fds[1]);
    }
    close(fds[1]);
    struct timespec delay = {0, (long)delay_us * 1000};
    nanosleep(&delay, NULL);
    kill(pid, SIGKILL);
    int wait_status;
    assert_true(waitpid(pid, &wait_status, 0) == pid);
    assert_true(WIFSIGNALED(wait_status)); // it did not fail before
    uint32_t seq, next = first_seq;
    while (read(fds[0], &seq, sizeof seq) == (ssize_t)sizeof seq) {
        next = seq + 1;
    }
    close(fds[0]);
    return next;
}

// Every acknowledged record is there and whole; at most one more (killed before it could say so).
// Samples of records before `first_new` were looked at in earlier rounds.
static uint32_t check_after_kill(const struct fixture *f, int64_t model_id, uint32_t first_new,
                                 uint32_t acknowledged) {
    struct wl_err err = {0};
    struct store *store;
    struct record *records;
    struct store_sample *samples;
    size_t n, n_samples;
    ok(store_open(f->path, STORE_READ_WRITE_CREATE, &store, &err), &err);
    ok(store_check(store, &err), &err);
    ok(store_record_list_model(store, model_id, &records, &n, &err), &err);
    assert_true(n == acknowledged || n == acknowledged + 1);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(records[i].seq, i);
        assert_int_equal((int)records[i].value[METRIC_COUNT - 1], i);
        if (i < first_new) {
            continue;
        }
        ok(store_sample_list_record(store, records[i].id, &samples, &n_samples, &err), &err);
        assert_int_equal(n_samples, N_SAMPLES);
        free(samples);
    }
    free(records);
    store_close(store);
    return (uint32_t)n;
}

static void kill_9_loses_nothing_acknowledged(void **state) {
    struct fixture *f = *state;
    int64_t model_id = make_store(f, 0);
    struct rng rng;
    rng_seed(&rng, 17);
    uint32_t n = 0, n_with_progress = 0, longest_us = 40000;
    for (int round = 0; round < 50; round++) {
        uint32_t before = n;
        uint32_t acknowledged = kill_a_writer(f, model_id, n, 1000 + rng_below(&rng, longest_us));
        n = check_after_kill(f, model_id, before, acknowledged);
        n_with_progress += n > before;
        if (n == before && longest_us < 1000000) {
            longest_us += longest_us / 4; // a slow machine
        }
    }
    assert_true(n_with_progress > 10); // else the test killed only writers that were still opening
}

// Killed while the file is being made: it must open afterwards, too.
static void kill_9_while_creating(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    for (unsigned i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct store *store;
            _exit(store_open(f->path, STORE_READ_WRITE_CREATE, &store, &err) != WL_OK);
        }
        struct timespec delay = {0, (long)i * 400000};
        nanosleep(&delay, NULL);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        struct store *store;
        ok(store_open(f->path, STORE_READ_WRITE_CREATE, &store, &err), &err);
        add_study(store);
        store_close(store);
        if (i < 19) {
            assert_int_equal(unlink(f->path), 0);
        }
    }
}

// ---- damage and other people's files ----

static void patch(const char *path, long offset, const char *bytes, size_t len) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    fclose(file);
}

static void expect_refusal(const struct fixture *f, enum store_mode mode, enum wl_status expected,
                           const char *words) {
    struct wl_err err = {0};
    struct store *store;
    enum wl_status status = store_open(f->path, mode, &store, &err);
    if (status != expected || !strstr(err.message, words) || !strstr(err.message, f->path)) {
        store_close(store);
        fail_msg("status %s, message: %s", wl_status_name(status), err.message);
    }
    assert_null(store);
}

static void damaged_page_is_reported(void **state) {
    struct fixture *f = *state;
    char garbage[4096];
    memset(garbage, 0x5a, sizeof garbage);
    make_store(f, 200);
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_true(st.st_size > 3 * 4096);
    patch(f->path, st.st_size - 4096, garbage, sizeof garbage);
    expect_refusal(f, STORE_READ_ONLY, WL_INPUT, "damaged");
    expect_refusal(f, STORE_READ_ONLY, WL_INPUT, ".recover");
    expect_refusal(f, STORE_READ_WRITE_CREATE, WL_INPUT, "damaged");
}

static void cut_file_is_reported(void **state) {
    struct fixture *f = *state;
    make_store(f, 200);
    assert_int_equal(truncate(f->path, 9000), 0);
    expect_refusal(f, STORE_READ_ONLY, WL_INPUT, "damaged");
    expect_refusal(f, STORE_READ_WRITE_CREATE, WL_INPUT, "damaged");
}

static void other_files_are_refused(void **state) {
    struct fixture *f = *state;
    FILE *file = fopen(f->path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 2000; i++) {
        fputs("this is not a database\n", file);
    }
    fclose(file);
    expect_refusal(f, STORE_READ_ONLY, WL_INPUT, "not a database");
    unlink(f->path);
    run_sql(f->path, "CREATE TABLE study (id); INSERT INTO study VALUES (1)");
    expect_refusal(f, STORE_READ_ONLY, WL_INPUT, "no wattlaw store");
    expect_refusal(f, STORE_READ_WRITE_CREATE, WL_INPUT, "no wattlaw store");
    unlink(f->path);
    expect_refusal(f, STORE_READ_ONLY, WL_NOT_FOUND, "wattlaw study");
}

static void altered_tables_are_refused(void **state) {
    struct fixture *f = *state;
    static const char *const CHANGES[] = {
        "CREATE VIEW extra AS SELECT * FROM study",
        "CREATE TRIGGER t AFTER INSERT ON study BEGIN DELETE FROM study; END",
        "DROP TABLE fit",
        "ALTER TABLE model ADD COLUMN more TEXT",
        "DROP TABLE fit; CREATE VIEW fit AS SELECT 1 study_id, 2 model_id, 'm' metric, '{}' json",
    };
    for (size_t i = 0; i < sizeof CHANGES / sizeof CHANGES[0]; i++) {
        make_store(f, 1);
        run_sql(f->path, CHANGES[i]);
        expect_refusal(f, STORE_READ_ONLY, WL_INPUT, "tables");
        expect_refusal(f, STORE_READ_WRITE_CREATE, WL_INPUT, "tables");
        unlink(f->path);
    }
}

static void rows_that_break_the_rules_do_no_harm(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store *store;
    struct record *records;
    size_t n;
    make_store(f, 1);
    run_sql(f->path, "PRAGMA ignore_check_constraints = ON; UPDATE record SET prompt_tokens = -5,"
                     "repeat = 9000000000");
    expect_refusal(f, STORE_READ_WRITE_CREATE, WL_INPUT, "CHECK constraint failed in record");
    // SQLite 3.40 does not look at CHECKs through a read-only connection: the readers clamp.
    ok(store_open(f->path, STORE_READ_ONLY, &store, &err), &err);
    ok(store_record_list_study(store, 1, &records, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_int_equal(records[0].prompt_tokens, 0);
    assert_true(records[0].repeat == UINT32_MAX);
    free(records);
    store_close(store);
}

static void rows_without_their_parent_are_found(void **state) {
    struct fixture *f = *state;
    make_store(f, 1);
    run_sql(f->path, "PRAGMA foreign_keys = OFF; DELETE FROM model");
    expect_refusal(f, STORE_READ_ONLY, WL_INPUT, "damaged");
}

static void newer_version_is_refused(void **state) {
    struct fixture *f = *state;
    make_store(f, 1);
    run_sql(f->path, "PRAGMA user_version = 99");
    expect_refusal(f, STORE_READ_ONLY, WL_UNSUPPORTED, "update wattlaw");
    expect_refusal(f, STORE_READ_WRITE_CREATE, WL_UNSUPPORTED, "update wattlaw");
}

// A store of version 1 is brought up to date when it is opened for writing, and loses nothing.
static void older_version_is_brought_up_to_date(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store *store;
    struct record *records;
    size_t n;
    make_store(f, 1);
    run_sql(f->path, "ALTER TABLE record DROP COLUMN n_requests;"
                     "ALTER TABLE record_phase DROP COLUMN duration_ns;"
                     "ALTER TABLE record_phase DROP COLUMN peak_rss_bytes;"
                     "DROP TABLE record_vision; DROP TABLE answer; PRAGMA user_version = 1");
    expect_refusal(f, STORE_READ_ONLY, WL_UNSUPPORTED, "version 1");
    ok(store_open(f->path, STORE_READ_WRITE_CREATE, &store, &err), &err);
    ok(store_record_list_study(store, 1, &records, &n, &err), &err);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(records[i].n_requests, 1);
        const struct record_phase *phase = &records[i].phase[0];
        assert_true(records[i].n_phases == 0 || phase->duration_ns == phase->t1_ns - phase->t0_ns);
    }
    free(records);
    store_close(store);
    ok(store_open(f->path, STORE_READ_ONLY, &store, &err), &err);
    store_close(store);
}

static void empty_file_becomes_a_store(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store *store;
    FILE *file = fopen(f->path, "wb");
    assert_non_null(file);
    fclose(file);
    expect_refusal(f, STORE_READ_ONLY, WL_UNSUPPORTED, "version 0");
    ok(store_open(f->path, STORE_READ_WRITE_CREATE, &store, &err), &err);
    assert_string_equal(store_path(store), f->path);
    store_close(store);
    ok(store_open(f->path, STORE_READ_ONLY, &store, &err), &err);
    store_close(store);
    store_close(NULL);
}

static void folder_and_missing_folder(void **state) {
    (void)state;
    struct wl_err err = {0};
    struct store *store;
    assert_int_equal(store_open("/tmp", STORE_READ_WRITE_CREATE, &store, &err), WL_INPUT);
    assert_int_equal(store_open("/nonexistent/x.db", STORE_READ_WRITE_CREATE, &store, &err),
                     WL_PERMISSION);
    assert_non_null(strstr(err.message, "/nonexistent/x.db"));
}

// ---- reading ----

static void reader_cannot_write(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store *store;
    make_store(f, 2);
    ok(store_open(f->path, STORE_READ_ONLY, &store, &err), &err);
    assert_int_equal(store_study_set_state(store, 1, STORE_STUDY_DONE, &err), WL_PERMISSION);
    store_close(store);
}

static void read_in_a_child_without_rights(const struct fixture *f) {
    struct wl_err err = {0};
    struct store *store;
    struct record *records;
    size_t n = 0;
    if (getuid() == 0 && setuid(65534) != 0) {
        _exit(2);
    }
    if (store_open(f->path, STORE_READ_ONLY, &store, &err) != WL_OK ||
        store_record_list_study(store, 1, &records, &n, &err) != WL_OK) {
        fprintf(stderr, "%s\n", err.message);
        _exit(1);
    }
    free(records);
    store_close(store);
    _exit(n == 5 ? 0 : 3);
}

static void read_only_folder_can_be_read(void **state) {
    struct fixture *f = *state;
    make_store(f, 5);
    chmod(f->path, 0444);
    chmod(f->dir, 0555);
    pid_t pid = fork();
    if (pid == 0) {
        read_in_a_child_without_rights(f);
    }
    int wait_status;
    assert_true(waitpid(pid, &wait_status, 0) == pid);
    assert_true(WIFEXITED(wait_status));
    assert_int_equal(WEXITSTATUS(wait_status), 0);
}

static void reader_sees_a_running_study(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store *writer, *reader;
    struct record record, *records;
    size_t n;
    int64_t model_id = make_store(f, 1);
    ok(store_open(f->path, STORE_READ_WRITE_CREATE, &writer, &err), &err);
    ok(store_open(f->path, STORE_READ_ONLY, &reader, &err), &err);
    record_init(&record);
    record.model_id = model_id;
    record.seq = 1;
    ok(store_record_add(writer, &record, NULL, 0, &err), &err);
    ok(store_record_list_study(reader, 1, &records, &n, &err), &err);
    assert_int_equal(n, 2);
    free(records);
    store_close(reader);
    store_close(writer);
}

// ---- two processes ----

static void second_writer_is_told_who_is_busy(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store *store;
    sqlite3 *other;
    make_store(f, 1);
    ok(store_open(f->path, STORE_READ_WRITE_CREATE, &store, &err), &err);
    assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(store_study_set_state(store, 1, STORE_STUDY_DONE, &err), WL_BUSY);
    assert_non_null(strstr(err.message, f->path));
    assert_non_null(strstr(err.message, "another process"));
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    ok(store_study_set_state(store, 1, STORE_STUDY_DONE, &err), &err);
    sqlite3_close(other);
    store_close(store);
}

static void many_processes_may_create_it_at_once(void **state) {
    struct fixture *f = *state;
    enum { N_PROCESSES = 6 };
    pid_t pids[N_PROCESSES];
    for (int i = 0; i < N_PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct wl_err err = {0};
            struct store *store;
            struct store_study study = {.created_wall_ns = i};
            bool is_ok = store_open(f->path, STORE_READ_WRITE_CREATE, &store, &err) == WL_OK &&
                         store_study_create(store, &study, &err) == WL_OK;
            if (!is_ok) {
                fprintf(stderr, "%s\n", err.message);
            }
            _exit(is_ok ? 0 : 1);
        }
    }
    for (int i = 0; i < N_PROCESSES; i++) {
        int wait_status;
        waitpid(pids[i], &wait_status, 0);
        assert_int_equal(wait_status, 0);
    }
    struct wl_err err = {0};
    struct store *store;
    struct store_study *studies;
    size_t n;
    ok(store_open(f->path, STORE_READ_ONLY, &store, &err), &err);
    ok(store_study_list(store, &studies, &n, &err), &err);
    assert_int_equal(n, N_PROCESSES);
    store_study_free_list(studies, n);
    store_close(store);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(kill_9_loses_nothing_acknowledged),
        CASE(kill_9_while_creating),
        CASE(damaged_page_is_reported),
        CASE(cut_file_is_reported),
        CASE(other_files_are_refused),
        CASE(altered_tables_are_refused),
        CASE(rows_that_break_the_rules_do_no_harm),
        CASE(rows_without_their_parent_are_found),
        CASE(newer_version_is_refused),
        CASE(older_version_is_brought_up_to_date),
        CASE(empty_file_becomes_a_store),
        CASE(folder_and_missing_folder),
        CASE(reader_cannot_write),
        CASE(read_only_folder_can_be_read),
        CASE(reader_sees_a_running_study),
        CASE(second_writer_is_told_who_is_busy),
        CASE(many_processes_may_create_it_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
