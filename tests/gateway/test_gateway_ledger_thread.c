// The ledger's thread: rows that are safe, a disk that is full, a file that is locked, old rows,
// the end.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/ledger_thread.h"
#include "loop.h"
#include "os/clock.h"

static const int64_t DAY_MS = 86400000;

struct fixture {
    char folder[64], path[96];
    uv_loop_t loop;
    struct ledger_thread *ledger;
    int n_lines;
    char line[1024]; // the last one
};

static void on_log(void *context, const char *line) {
    struct fixture *f = context;
    f->n_lines++;
    snprintf(f->line, sizeof f->line, "%s", line);
}

static void open_ledger(struct fixture *f, int64_t retention_days) {
    struct wl_err err;
    struct ledger_thread_options options = {.loop = &f->loop,
                                            .path = f->path,
                                            .retention_days = retention_days,
                                            .retry_ms = 50,
                                            .on_log = on_log,
                                            .context = f};
    if (ledger_thread_open(&options, &f->ledger, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
}

static void close_ledger(struct fixture *f) {
    ledger_thread_close(f->ledger);
    f->ledger = NULL;
    loop_run_for(&f->loop, 1);
}

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/wattlaw-ledger-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/ledger.db", f->folder);
    uv_loop_init(&f->loop);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    char name[128];
    ledger_thread_close(f->ledger);
    assert_true(loop_is_empty(&f->loop));
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", f->path, (const char *[]){"", "-wal", "-shm"}[i]);
        unlink(name);
    }
    rmdir(f->folder);
    free(f);
    return 0;
}

// ---- rows ----

static struct ledger_row row_at(int number, int64_t wall_ms) {
    struct ledger_row row = {.begin_wall_ms = wall_ms,
                             .http_status = 200,
                             .prompt_tokens = 100,
                             .cached_tokens = LEDGER_ABSENT,
                             .completion_tokens = 20,
                             .gross_j = 3600,
                             .net_j = (double)NAN};
    snprintf(row.id, sizeof row.id, "request-%d", number);
    snprintf(row.endpoint, sizeof row.endpoint, "chat");
    return row;
}

struct told {
    int n_true, n_false;
    bool is_there; // at all
    bool is_true;
};

static void on_safe(void *context, bool is_written) {
    struct told *told = context;
    told->n_true += is_written;
    told->n_false += !is_written;
    told->is_there = true;
    told->is_true = is_written;
}

static void add(struct fixture *f, int number, struct told *told) {
    struct wl_err err;
    struct ledger_row row = row_at(number, os_wall_ns() / 1000000);
    if (ledger_thread_add(f->ledger, &row, told ? on_safe : NULL, told, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
}

static void wait_for(struct fixture *f, struct told *told, int n) {
    for (int i = 0; i < 10000 && told->n_true + told->n_false < n; i++) {
        loop_run_for(&f->loop, 1);
    }
    assert_int_equal(told->n_true + told->n_false, n);
}

static struct ledger_health health(const struct fixture *f) {
    struct ledger_health health;
    ledger_thread_health(f->ledger, &health);
    return health;
}

static void wait_until_written(struct fixture *f, uint64_t n) {
    for (int i = 0; i < 10000 && health(f).n_written < n; i++) {
        loop_run_for(&f->loop, 1);
    }
    assert_int_equal(health(f).n_written, n);
}

// ---- orders ----

struct count_order {
    struct ledger_order order; // first
    struct ledger_use use;
    sem_t *gate; // waited for before; NULL: none
    sem_t *is_begun;
    bool is_done;
    enum wl_status status;
};

static enum wl_status count_rows(struct ledger_order *order, struct store *ledger,
                                 struct wl_err *err) {
    struct count_order *c = (struct count_order *)order;
    if (c->gate) {
        sem_post(c->is_begun);
        sem_wait(c->gate);
    }
    return ledger_use_since(ledger, "", 0, &c->use, err);
}

static void on_counted(struct ledger_order *order, enum wl_status status,
                       const struct wl_err *err) {
    struct count_order *c = (struct count_order *)order;
    c->is_done = true;
    c->status = status;
    if (status != WL_OK) {
        assert_true(err->message[0]);
    }
}

static struct count_order counting(void) {
    return (struct count_order){.order = {.ask = count_rows, .on_done = on_counted}};
}

static int64_t n_rows(struct fixture *f) {
    struct count_order c = counting();
    ledger_thread_ask(f->ledger, &c.order);
    assert_true(loop_until(&f->loop, &c.is_done));
    assert_int_equal(c.status, WL_OK);
    return c.use.n_requests;
}

// ---- faults ----

static void fill_disk(bool is_full) {
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = is_full ? 4096 : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static sqlite3 *lock(const struct fixture *f) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

// ---- tests ----

static void a_row_is_told_to_be_safe(void **state) {
    struct fixture *f = *state;
    struct told told = {0};
    open_ledger(f, 0);
    add(f, 1, &told);
    assert_false(told.is_there); // never from within
    wait_for(f, &told, 1);
    assert_true(told.is_true);
    add(f, 2, NULL);
    assert_int_equal(n_rows(f), 2); // after the rows that wait
    assert_int_equal(health(f).n_written, 2);
    assert_false(health(f).is_failing);
    assert_int_equal(f->n_lines, 0);
}

static void texts_are_copied(void **state) {
    struct fixture *f = *state;
    char prompt[] = "why?", answer[] = "because";
    struct ledger_row row = row_at(1, 5);
    row.prompt = prompt;
    row.answer = answer;
    open_ledger(f, 0);
    assert_int_equal(ledger_thread_add(f->ledger, &row, NULL, NULL, NULL), WL_OK);
    memset(prompt, 'x', sizeof prompt - 1);
    memset(answer, 'x', sizeof answer - 1);
    close_ledger(f);
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    sqlite3_prepare_v2(db, "SELECT prompt || answer FROM request_text", -1, &s, NULL);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(s, 0), "why?because");
    sqlite3_finalize(s);
    sqlite3_close(db);
}

static void many_rows_at_once(void **state) {
    enum { N = 3000 };
    struct fixture *f = *state;
    struct told told = {0};
    sem_t gate, is_begun;
    sem_init(&gate, 0, 0);
    sem_init(&is_begun, 0, 0);
    struct count_order slow = counting();
    slow.gate = &gate;
    slow.is_begun = &is_begun;
    open_ledger(f, 0);
    ledger_thread_ask(f->ledger, &slow.order);
    sem_wait(&is_begun);
    for (int i = 0; i < N; i++) {
        add(f, i, &told);
    }
    assert_int_equal(health(f).n_waiting, N);
    sem_post(&gate);
    wait_for(f, &told, N);
    assert_int_equal(told.n_true, N);
    assert_true(slow.is_done && slow.use.n_requests == 0);
    assert_int_equal(n_rows(f), N);
    sem_destroy(&gate);
    sem_destroy(&is_begun);
}

static void a_full_disk_keeps_rows_until_there_is_room(void **state) {
    struct fixture *f = *state;
    struct told first = {0}, second = {0};
    open_ledger(f, 0);
    fill_disk(true);
    add(f, 1, &first);
    wait_for(f, &first, 1);
    assert_int_equal(first.n_false, 1);
    assert_true(health(f).is_failing && health(f).problem[0]);
    assert_non_null(strstr(f->line, "tried again"));
    add(f, 2, &second);
    wait_for(f, &second, 1);
    assert_int_equal(second.n_false, 1);
    assert_int_equal(health(f).n_waiting, 2);
    assert_int_equal(n_rows(f), 0); // it can be read all the same
    loop_run_for(&f->loop, 200);
    assert_true(health(f).n_failures > 1);
    assert_int_equal(f->n_lines, 1); // not for each try
    fill_disk(false);
    wait_until_written(f, 2);
    assert_int_equal(n_rows(f), 2);
    assert_false(health(f).is_failing || health(f).problem[0]);
    assert_int_equal(health(f).n_waiting, 0);
    assert_int_equal(first.n_true + second.n_true, 0); // it does not come again
    assert_int_equal(f->n_lines, 2);
    assert_non_null(strstr(f->line, "again"));
}

static void what_may_wait_is_limited(void **state) {
    struct fixture *f = *state;
    struct wl_err err;
    open_ledger(f, 0);
    fill_disk(true);
    for (int i = 0; i < LEDGER_MAX_WAITING; i++) {
        add(f, i, NULL);
    }
    struct ledger_row row = row_at(LEDGER_MAX_WAITING, 1);
    assert_int_equal(ledger_thread_add(f->ledger, &row, NULL, NULL, &err), WL_LIMIT);
    fill_disk(false);
    wait_until_written(f, LEDGER_MAX_WAITING);
    assert_int_equal(ledger_thread_add(f->ledger, &row, NULL, NULL, &err), WL_OK);
    assert_int_equal(n_rows(f), LEDGER_MAX_WAITING + 1);
}

static void a_locked_file_is_waited_for(void **state) {
    struct fixture *f = *state;
    struct told told = {0};
    open_ledger(f, 0);
    sqlite3 *db = lock(f);
    add(f, 1, &told);
    wait_for(f, &told, 1);
    assert_int_equal(told.n_false, 1);
    assert_non_null(strstr(health(f).problem, "another process"));
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
    wait_until_written(f, 1);
    assert_int_equal(n_rows(f), 1);
}

static void a_second_row_of_an_id_is_dropped(void **state) {
    struct fixture *f = *state;
    struct told told = {0};
    sem_t gate, is_begun;
    sem_init(&gate, 0, 0);
    sem_init(&is_begun, 0, 0);
    struct count_order slow = counting();
    slow.gate = &gate;
    slow.is_begun = &is_begun;
    open_ledger(f, 0);
    ledger_thread_ask(f->ledger, &slow.order);
    sem_wait(&is_begun);
    for (int i = 0; i < 100; i++) {
        add(f, i == 70 ? 20 : i, &told);
    }
    sem_post(&gate);
    wait_for(f, &told, 100);
    assert_int_equal(told.n_true, 100);
    assert_int_equal(n_rows(f), 99);
    assert_int_equal(health(f).n_written, 99);
    assert_non_null(strstr(f->line, "'request-20'"));
    sem_destroy(&gate);
    sem_destroy(&is_begun);
}

static double number_of(const struct fixture *f, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    double number = sqlite3_column_double(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return number;
}

static double measured_j(const struct fixture *f) {
    return number_of(f, "SELECT total(measured_j) FROM machine_day");
}

static void settle(struct fixture *f, int number, double gross_j) {
    struct ledger_row row = row_at(number, 0);
    row.gross_j = gross_j;
    snprintf(row.label, sizeof row.label, "measured");
    ledger_thread_settle(f->ledger, &row);
}

// A row and its energy that both come while the thread is at an earlier row.
static void energy_is_never_settled_before_its_row(void **state) {
    struct fixture *f = *state;
    open_ledger(f, 0);
    sqlite3 *db = lock(f);
    add(f, 1, NULL);
    loop_run_for(&f->loop, 100); // the thread waits for the file
    add(f, 2, NULL);
    settle(f, 2, 7200);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
    wait_until_written(f, 2);
    assert_int_equal(n_rows(f), 2);
    assert_true(number_of(f, "SELECT gross_j FROM request WHERE id = 'request-2'") == 7200);
}

static void energy_is_settled_later(void **state) {
    struct fixture *f = *state;
    open_ledger(f, 0);
    add(f, 1, NULL);
    settle(f, 1, 7200);
    n_rows(f); // an order comes after it
    assert_true(number_of(f, "SELECT gross_j FROM request WHERE label = 'measured'") == 7200);
    add(f, 2, NULL);
    assert_int_equal(n_rows(f), 2);
    fill_disk(true);
    settle(f, 1, 1);
    settle(f, 2, 2);
    settle(f, 99, 3); // nobody
    while (!health(f).is_failing) {
        loop_run_for(&f->loop, 10);
    }
    settle(f, 1, 4); // the last one counts
    fill_disk(false);
    close_ledger(f);
    assert_true(number_of(f, "SELECT gross_j FROM request WHERE id = 'request-1'") == 4);
    assert_true(number_of(f, "SELECT gross_j FROM request WHERE id = 'request-2'") == 2);
    assert_true(number_of(f, "SELECT count(*) FROM request") == 2);
}

static void the_machine_adds_up(void **state) {
    struct fixture *f = *state;
    const struct ledger_machine more = {.measured_j = 10, .idle_j = 4};
    open_ledger(f, 0);
    for (int i = 0; i < 30; i++) {
        ledger_thread_add_machine(f->ledger, i % 3 * DAY_MS, i % 2 ? "powercap" : "shelly", &more);
    }
    assert_int_equal(n_rows(f), 0); // an order comes after the sums
    assert_true(measured_j(f) == 300);
    fill_disk(true);
    ledger_thread_add_machine(f->ledger, 5, "powercap", &more);
    n_rows(f);
    assert_true(health(f).is_failing);
    ledger_thread_add_machine(f->ledger, 5, "powercap", &more);
    fill_disk(false);
    close_ledger(f);
    assert_true(measured_j(f) == 320);
}

static void old_rows_go_in_portions(void **state) {
    enum { N_OLD = 1700, N_NEW = 5 };
    struct fixture *f = *state;
    open_ledger(f, 0);
    for (int i = 0; i < N_OLD; i++) {
        struct ledger_row row = row_at(i, 5);
        assert_int_equal(ledger_thread_add(f->ledger, &row, NULL, NULL, NULL), WL_OK);
    }
    for (int i = 0; i < N_NEW; i++) {
        add(f, N_OLD + i, NULL);
    }
    close_ledger(f);
    open_ledger(f, 1);
    for (int i = 0; i < 1000 && n_rows(f) > N_NEW; i++) {
        loop_run_for(&f->loop, 1);
    }
    assert_int_equal(n_rows(f), N_NEW);
}

static void the_end_writes_what_waits(void **state) {
    struct fixture *f = *state;
    struct told told = {0};
    open_ledger(f, 0);
    for (int i = 0; i < 500; i++) {
        add(f, i, &told);
    }
    close_ledger(f);
    assert_int_equal(told.n_true, 500);
    open_ledger(f, 0);
    assert_int_equal(n_rows(f), 500);
}

static void the_end_tries_again(void **state) {
    struct fixture *f = *state;
    open_ledger(f, 0);
    fill_disk(true);
    add(f, 1, NULL);
    while (!health(f).is_failing) {
        loop_run_for(&f->loop, 1);
    }
    fill_disk(false);
    close_ledger(f);
    open_ledger(f, 0);
    assert_int_equal(n_rows(f), 1);
}

static void the_end_gives_up_and_says_what_is_lost(void **state) {
    struct fixture *f = *state;
    struct told told = {0};
    open_ledger(f, 0);
    fill_disk(true);
    add(f, 1, &told);
    add(f, 2, &told);
    int64_t begin_ns = os_now_ns();
    ledger_thread_close(f->ledger);
    f->ledger = NULL;
    double s = (double)(os_now_ns() - begin_ns) / 1e9;
    fill_disk(false);
    assert_true(s > 2.5 && s < 10);
    assert_int_equal(told.n_false, 2);
    assert_non_null(strstr(f->line, "2 rows are lost"));
}

static void open_gate_soon(void *gate) {
    usleep(100000);
    sem_post(gate);
}

static void orders_that_wait_at_the_end_are_interrupted(void **state) {
    struct fixture *f = *state;
    sem_t gate, is_begun;
    sem_init(&gate, 0, 0);
    sem_init(&is_begun, 0, 0);
    struct count_order first = counting(), second = counting();
    first.gate = &gate;
    first.is_begun = &is_begun;
    open_ledger(f, 0);
    ledger_thread_ask(f->ledger, &first.order);
    ledger_thread_ask(f->ledger, &second.order);
    sem_wait(&is_begun);
    uv_thread_t opener;
    uv_thread_create(&opener, open_gate_soon, &gate);
    ledger_thread_close(f->ledger);
    f->ledger = NULL;
    uv_thread_join(&opener);
    assert_true(first.is_done && second.is_done);
    assert_int_equal(first.status, WL_OK);
    assert_int_equal(second.status, WL_INTERRUPTED);
    sem_destroy(&gate);
    sem_destroy(&is_begun);
}

static void what_cannot_be_opened_is_said(void **state) {
    struct fixture *f = *state;
    struct wl_err err;
    struct ledger_thread_options options = {.loop = &f->loop, .path = f->folder};
    assert_int_equal(ledger_thread_open(&options, &f->ledger, &err), WL_INPUT);
    assert_null(f->ledger);
    assert_non_null(strstr(err.message, "folder"));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_row_is_told_to_be_safe),
        CASE(texts_are_copied),
        CASE(many_rows_at_once),
        CASE(a_full_disk_keeps_rows_until_there_is_room),
        CASE(what_may_wait_is_limited),
        CASE(a_locked_file_is_waited_for),
        CASE(a_second_row_of_an_id_is_dropped),
        CASE(the_machine_adds_up),
        CASE(energy_is_settled_later),
        CASE(energy_is_never_settled_before_its_row),
        CASE(old_rows_go_in_portions),
        CASE(the_end_writes_what_waits),
        CASE(the_end_tries_again),
        CASE(the_end_gives_up_and_says_what_is_lost),
        CASE(orders_that_wait_at_the_end_are_interrupted),
        CASE(what_cannot_be_opened_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
