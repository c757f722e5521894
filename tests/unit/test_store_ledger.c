// The gateway's ledger: rows that stay, sums by key, model and day, feedback, forgetting.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/ledger.h"
#include "store/ledger_export.h"

static const int64_t DAY_MS = 86400000;

struct fixture {
    char folder[64], path[96];
    struct store *ledger;
};

static void ok(enum wl_status status, const struct wl_err *err) {
    if (status != WL_OK) {
        fail_msg("%s", err->message);
    }
}

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct wl_err err;
    snprintf(f->folder, sizeof f->folder, "/tmp/wattlaw-ledger-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/ledger.db", f->folder);
    ok(ledger_open(f->path, STORE_READ_WRITE_CREATE, &f->ledger, &err), &err);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    char name[128];
    store_close(f->ledger);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", f->path, (const char *[]){"", "-wal", "-shm"}[i]);
        unlink(name);
    }
    rmdir(f->folder);
    free(f);
    return 0;
}

static struct ledger_row row(const char *id, const char *key, int64_t wall_ms) {
    struct ledger_row r = {.begin_wall_ms = wall_ms,
                           .http_status = 200,
                           .prompt_tokens = 100,
                           .cached_tokens = LEDGER_ABSENT,
                           .completion_tokens = 20,
                           .wait_s = 0,
                           .first_s = 0.5,
                           .total_s = (double)NAN,
                           .gross_j = 3600,
                           .gross_sd_j = 36,
                           .net_j = 1800,
                           .net_sd_j = (double)NAN,
                           .n_shared = 1};
    snprintf(r.id, sizeof r.id, "%s", id);
    snprintf(r.key, sizeof r.key, "%s", key);
    snprintf(r.model, sizeof r.model, "builtin");
    snprintf(r.endpoint, sizeof r.endpoint, "chat");
    return r;
}

static void add(struct fixture *f, const struct ledger_row *rows, size_t n) {
    struct wl_err err;
    ok(ledger_add(f->ledger, rows, n, &err), &err);
}

static struct ledger_use use_of(struct fixture *f, const char *key, int64_t since_ms) {
    struct ledger_use use;
    struct wl_err err;
    ok(ledger_use_since(f->ledger, key, since_ms, &use, &err), &err);
    return use;
}

static void test_what_a_key_has_used(void **state) {
    struct fixture *f = *state;
    struct ledger_row rows[] = {row("a", "kitchen", 1000), row("b", "kitchen", 2000),
                                row("c", "garage", 2000), row("d", "kitchen", 3000)};
    rows[3].end = LEDGER_REFUSED;
    add(f, rows, 4);
    struct ledger_use use = use_of(f, "kitchen", 0);
    assert_int_equal(use.n_requests, 2);
    assert_int_equal(use.tokens, 240);
    assert_true(fabs(use.gross_wh - 2) < 1e-9);
    assert_int_equal(use_of(f, "kitchen", 1001).n_requests, 1);
    assert_int_equal(use_of(f, "nobody", 0).n_requests, 0);
}

static void test_all_or_none(void **state) {
    struct fixture *f = *state;
    struct wl_err err;
    struct ledger_row rows[] = {row("a", "", 1), row("b", "", 2), row("a", "", 3)};
    assert_int_not_equal(ledger_add(f->ledger, rows, 3, &err), WL_OK);
    assert_int_equal(use_of(f, "", 0).n_requests, 0);
    add(f, rows, 2); // and the ledger goes on
    assert_int_equal(use_of(f, "", 0).n_requests, 2);
}

static void test_what_is_not_known_adds_nothing(void **state) {
    struct fixture *f = *state;
    struct ledger_row r = row("a", "", 1);
    r.prompt_tokens = r.completion_tokens = LEDGER_ABSENT;
    r.gross_j = (double)NAN;
    add(f, &r, 1);
    assert_int_equal(use_of(f, "", 0).tokens, 0);
    assert_true(use_of(f, "", 0).gross_wh == 0);
}

static void test_a_sum_with_an_unknown_part_is_unknown(void **state) {
    struct fixture *f = *state;
    struct ledger_summary *sums;
    struct wl_err err;
    size_t n;
    struct ledger_row rows[] = {row("a", "", 1), row("b", "", 2), row("c", "", 3)};
    rows[1].net_j = (double)NAN;
    rows[2].net_j = rows[2].gross_j = (double)NAN; // refused: it took nothing
    add(f, rows, 3);
    ok(ledger_summarise(f->ledger, LEDGER_BY_KEY, NULL, 0, INT64_MAX, &sums, &n, &err), &err);
    assert_true(isnan(sums[0].net_wh));
    assert_true(fabs(sums[0].gross_wh - 2) < 1e-9);
    free(sums);
    ok(ledger_summarise(f->ledger, LEDGER_BY_KEY, NULL, 3, INT64_MAX, &sums, &n, &err), &err);
    assert_true(sums[0].net_wh == 0);
    free(sums);
}

static void test_sums(void **state) {
    struct fixture *f = *state;
    struct ledger_summary *sums;
    struct wl_err err;
    size_t n;
    struct ledger_row rows[] = {row("a", "kitchen", 5), row("b", "garage", DAY_MS + 5),
                                row("c", "garage", DAY_MS + 6)};
    rows[2].end = LEDGER_CLIENT_LEFT;
    add(f, rows, 3);
    ok(ledger_summarise(f->ledger, LEDGER_BY_KEY, NULL, 0, INT64_MAX, &sums, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_string_equal(sums[0].name, "garage"); // most Wh first
    assert_int_equal(sums[0].n_requests, 2);
    assert_int_equal(sums[0].n_answered, 1);
    assert_int_equal(sums[0].prompt_tokens, 200);
    assert_true(fabs(sums[0].net_wh - 1) < 1e-9);
    free(sums);
    ok(ledger_summarise(f->ledger, LEDGER_BY_DAY, NULL, 0, INT64_MAX, &sums, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_string_equal(sums[0].name, "1970-01-01");
    assert_string_equal(sums[1].name, "1970-01-02");
    free(sums);
    ok(ledger_summarise(f->ledger, LEDGER_BY_MODEL, NULL, DAY_MS, DAY_MS + 6, &sums, &n, &err),
       &err);
    assert_int_equal(n, 1);
    assert_int_equal(sums[0].n_requests, 1);
    free(sums);
    ok(ledger_summarise(f->ledger, LEDGER_BY_MODEL, "kitchen", 0, INT64_MAX, &sums, &n, &err),
       &err);
    assert_int_equal(n, 1);
    assert_int_equal(sums[0].n_requests, 1);
    free(sums);
}

static void test_feedback(void **state) {
    struct fixture *f = *state;
    struct wl_err err;
    struct ledger_row r = row("a", "", 1);
    r.prompt = "why?";
    r.answer = "because";
    add(f, &r, 1);
    ok(ledger_add_feedback(f->ledger, "a", 1, "good", 2, &err), &err);
    ok(ledger_add_feedback(f->ledger, "a", 0, "no", 3, &err), &err); // another mind
    assert_int_equal(ledger_add_feedback(f->ledger, "z", 1, "", 2, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "'z'"));
}

static void test_energy_is_settled(void **state) {
    struct fixture *f = *state;
    struct wl_err err;
    struct ledger_row rows[] = {row("a", "", 1), row("nobody", "", 2)};
    add(f, rows, 1);
    rows[0].gross_j = 7200;
    ok(ledger_settle(f->ledger, rows, 2, &err), &err);
    assert_true(fabs(use_of(f, "", 0).gross_wh - 2) < 1e-9);
    assert_int_equal(use_of(f, "", 0).n_requests, 1);
}

struct visits {
    int n;
    char text[256];
    enum wl_status status; // of the visit
};

static enum wl_status visit(void *context, const struct ledger_opinion *opinion,
                            struct wl_err *err) {
    struct visits *visits = context;
    visits->n++;
    snprintf(visits->text, sizeof visits->text, "%s %s %s %s %s %s %g %d %d", opinion->id,
             opinion->key, opinion->model, opinion->prompt, opinion->answer, opinion->note,
             opinion->score, (int)opinion->n_images, (int)opinion->wall_ms);
    return visits->status == WL_OK ? WL_OK : wl_err_set(err, visits->status, "enough");
}

static void test_opinions_go_out(void **state) {
    struct fixture *f = *state;
    struct wl_err err;
    struct visits visits = {0};
    struct ledger_opinion_counts counts;
    struct ledger_row rows[] = {row("a", "kitchen", 1), row("b", "", 2), row("c", "", 3)};
    rows[0].prompt = "why?";
    rows[0].answer = "because";
    rows[0].n_images = 2;
    add(f, rows, 3);
    ok(ledger_add_feedback(f->ledger, "a", 0, "no", 7, &err), &err);
    ok(ledger_add_feedback(f->ledger, "b", 1, "", 8, &err), &err);
    ok(ledger_export_opinions(f->ledger, 0, INT64_MAX, visit, &visits, &counts, &err), &err);
    assert_int_equal(counts.n, 2);
    assert_int_equal(counts.n_good, 1);
    assert_int_equal(counts.n_with_text, 1);
    assert_int_equal(visits.n, 1); // without texts they are only counted
    assert_string_equal(visits.text, "a kitchen builtin why? because no 0 2 7");
    ok(ledger_export_opinions(f->ledger, 8, 9, visit, &visits, &counts, &err), &err);
    assert_int_equal(counts.n, 1);
    ok(ledger_export_opinions(f->ledger, 9, INT64_MAX, NULL, NULL, &counts, &err), &err);
    assert_int_equal(counts.n, 0);
    visits.status = WL_IO;
    assert_int_equal(ledger_export_opinions(f->ledger, 0, INT64_MAX, visit, &visits, &counts, &err),
                     WL_IO);
    assert_string_equal(err.message, "enough");
}

static void test_forgetting_takes_all_of_it(void **state) {
    struct fixture *f = *state;
    struct wl_err err;
    int64_t n_gone;
    struct ledger_row rows[] = {row("old", "", 1), row("new", "", 10)};
    rows[0].prompt = "secret";
    add(f, rows, 2);
    ok(ledger_add_feedback(f->ledger, "old", 1, "", 2, &err), &err);
    ok(ledger_forget(f->ledger, 10, -1, &n_gone, &err), &err);
    assert_int_equal(n_gone, 1);
    assert_int_equal(use_of(f, "", 0).n_requests, 1);
    assert_int_equal(ledger_add_feedback(f->ledger, "old", 1, "", 2, &err), WL_NOT_FOUND);
    add(f, rows, 1); // nothing of it is in the way
}

static bool has(struct fixture *f, const char *id) {
    struct wl_err err;
    bool has_it;
    ok(ledger_has(f->ledger, id, &has_it, &err), &err);
    return has_it;
}

static void test_forgetting_in_portions_takes_the_oldest(void **state) {
    struct fixture *f = *state;
    struct wl_err err;
    int64_t n_gone;
    struct ledger_row rows[] = {row("b", "", 2), row("c", "", 3), row("a", "", 1),
                                row("d", "", 10)};
    add(f, rows, 4);
    ok(ledger_forget(f->ledger, 10, 2, &n_gone, &err), &err);
    assert_int_equal(n_gone, 2);
    assert_true(!has(f, "a") && !has(f, "b") && has(f, "c") && has(f, "d"));
    ok(ledger_forget(f->ledger, 10, 2, &n_gone, &err), &err);
    assert_int_equal(n_gone, 1);
    assert_true(!has(f, "c") && has(f, "d"));
}

static void test_days_of_the_machine_add_up(void **state) {
    struct fixture *f = *state;
    struct wl_err err;
    struct ledger_machine more = {.measured_j = 10, .shared_j = 6, .idle_j = 4, .busy_s = 1};
    for (int i = 0; i < 3; i++) {
        ok(ledger_add_machine(f->ledger, 5, "powercap", &more, &err), &err);
    }
    ok(ledger_add_machine(f->ledger, DAY_MS, "powercap", &more, &err), &err);
    struct ledger_machine sum;
    ok(ledger_sum_machine(f->ledger, 0, DAY_MS, &sum, &err), &err);
    assert_true(sum.measured_j == 30 && sum.shared_j == 18 && sum.idle_j == 12 && sum.busy_s == 3);
    ok(ledger_sum_machine(f->ledger, DAY_MS - 1, DAY_MS + 1, &sum, &err), &err);
    assert_true(sum.measured_j == 40); // whole days
    ok(ledger_sum_machine(f->ledger, DAY_MS, INT64_MAX, &sum, &err), &err);
    assert_true(sum.measured_j == 10);
    ok(ledger_sum_machine(f->ledger, 0, 0, &sum, &err), &err);
    assert_true(sum.measured_j == 0);
}

static void test_kill_9_loses_no_row(void **state) {
    struct fixture *f = *state;
    struct wl_err err;
    store_close(f->ledger);
    f->ledger = NULL;
    pid_t pid = fork();
    if (pid == 0) {
        struct store *ledger;
        struct ledger_row r = row("kept", "", 1);
        if (ledger_open(f->path, STORE_READ_WRITE_CREATE, &ledger, &err) == WL_OK &&
            ledger_add(ledger, &r, 1, &err) == WL_OK) {
            kill(getpid(), 9);
        }
        _exit(1);
    }
    int wait_status;
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_true(WIFSIGNALED(wait_status));
    ok(ledger_open(f->path, STORE_READ_WRITE_CREATE, &f->ledger, &err), &err);
    assert_int_equal(use_of(f, "", 0).n_requests, 1);
}

static void test_a_store_is_no_ledger(void **state) {
    struct fixture *f = *state;
    struct store *other;
    struct wl_err err;
    assert_int_equal(store_open(f->path, STORE_READ_ONLY, &other, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "no wattlaw store"));
    assert_int_equal(ledger_open("/nonexistent/ledger", STORE_READ_ONLY, &other, &err),
                     WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "wattlaw serve"));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_what_a_key_has_used),
        CASE(test_all_or_none),
        CASE(test_what_is_not_known_adds_nothing),
        CASE(test_sums),
        CASE(test_a_sum_with_an_unknown_part_is_unknown),
        CASE(test_feedback),
        CASE(test_energy_is_settled),
        CASE(test_opinions_go_out),
        CASE(test_forgetting_takes_all_of_it),
        CASE(test_forgetting_in_portions_takes_the_oldest),
        CASE(test_days_of_the_machine_add_up),
        CASE(test_kill_9_loses_no_row),
        CASE(test_a_store_is_no_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
