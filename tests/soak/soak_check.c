// What must be true in the end.
#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "soak.h"

static const double ACCOUNT_TOLERANCE = 1e-6; // measured = shared + idle
static const double SHARE_TOLERANCE = 1e-3;   // rows = shared
enum { KEPT_CONNECTIONS = 8, MAX_TOLD = 40 };

void soak_problem(struct soak *soak, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (soak->n_problems++ < MAX_TOLD) {
        fprintf(stderr, "problem (round %llu): %s\n", (unsigned long long)soak->n_rounds, text);
        json_array_append_new(soak->problems, json_string(text));
    }
}

// ---- while it runs, with nobody there any more ----

static double metric(const char *text, const char *name) {
    char line[128];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text, line);
    return at ? strtod(at + strlen(line), NULL) : NAN;
}

static const struct {
    const char *name;
    double value;
} AT_REST[] = {{"wattlaw_queue_depth", 0},
               {"wattlaw_requests_running", 0},
               {"wattlaw_open_exchanges", 1}, // the one that asks
               {"wattlaw_ledger_failing", 0},
               {"wattlaw_ledger_waiting_rows", 0}};
enum { N_AT_REST = sizeof AT_REST / sizeof AT_REST[0] };

bool soak_is_at_rest(struct soak *soak) {
    struct buf body;
    buf_init(&body, 16 << 20);
    bool is_at_rest = soak_get(soak->gateway.port, "/metrics", &body);
    for (size_t i = 0; i < N_AT_REST; i++) {
        is_at_rest = is_at_rest && metric(buf_text(&body), AT_REST[i].name) == AT_REST[i].value;
    }
    buf_release(&body);
    return is_at_rest;
}

static void check_metrics(struct soak *soak, const char *text) {
    for (size_t i = 0; i < N_AT_REST; i++) {
        double value = metric(text, AT_REST[i].name);
        if (value != AT_REST[i].value) {
            soak_problem(soak, "%s is %g at rest", AT_REST[i].name, value);
        }
    }
}

static void check_server(struct soak *soak) {
    struct buf body;
    buf_init(&body, 1 << 20);
    json_t *counts =
        soak_get(soak->server.port, "/stub", &body) ? json_loads(buf_text(&body), 0, NULL) : NULL;
    if (json_integer_value(json_object_get(counts, "running")) != 0 || !counts) {
        soak_problem(soak, "requests are left at the model server: %.200s", buf_text(&body));
    }
    json_decref(counts);
    buf_release(&body);
}

void soak_check_running(struct soak *soak) {
    struct buf body;
    buf_init(&body, 16 << 20);
    if (!soak_get(soak->gateway.port, "/metrics", &body)) {
        soak_problem(soak, "the gateway does not answer at the end");
    } else {
        check_metrics(soak, buf_text(&body));
    }
    buf_release(&body);
    check_server(soak);
    long n_fds = soak_count_fds(soak->gateway.pid);
    if (n_fds > soak->n_fds_at_begin + KEPT_CONNECTIONS) {
        soak_problem(soak, "%ld descriptors at the end, %ld at the begin", n_fds,
                     soak->n_fds_at_begin);
    }
}

// ---- the ledger ----

static double number(sqlite3 *db, const char *sql) {
    sqlite3_stmt *statement = NULL;
    double value = NAN;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        value = sqlite3_column_double(statement, 0);
    }
    sqlite3_finalize(statement);
    return value;
}

static void check_answer(struct soak *soak, sqlite3_stmt *find, const struct soak_answer *answer) {
    sqlite3_reset(find);
    sqlite3_bind_text(find, 1, answer->id, -1, SQLITE_STATIC);
    bool is_there = sqlite3_step(find) == SQLITE_ROW;
    // Refusals do not wait for the ledger: a kill may take their rows.
    if (!is_there && (answer->status == 200 || soak->is_accounted)) {
        soak_problem(soak, "answer %s (status %d) is not in the ledger", answer->id,
                     answer->status);
    }
    if (!is_there) {
        return;
    }
    if (sqlite3_column_int(find, 0) != answer->status) {
        soak_problem(soak, "answer %s had status %d, the ledger says %d", answer->id,
                     answer->status, sqlite3_column_int(find, 0));
    }
    int64_t prompt = sqlite3_column_int64(find, 1), completion = sqlite3_column_int64(find, 2);
    if ((answer->prompt_tokens >= 0 && answer->prompt_tokens != prompt) ||
        (answer->completion_tokens >= 0 && answer->completion_tokens != completion)) {
        soak_problem(soak, "answer %s told %lld + %lld tokens, the ledger has %lld + %lld",
                     answer->id, (long long)answer->prompt_tokens,
                     (long long)answer->completion_tokens, (long long)prompt,
                     (long long)completion);
    }
}

static void check_answers(struct soak *soak, sqlite3 *db) {
    sqlite3_stmt *find = NULL;
    sqlite3_prepare_v2(
        db, "SELECT http_status, prompt_tokens, completion_tokens FROM request WHERE id = ?", -1,
        &find, NULL);
    for (size_t i = 0; i < soak->n_answers; i++) {
        check_answer(soak, find, &soak->answers[i]);
    }
    sqlite3_finalize(find);
}

static void check_account(struct soak *soak, sqlite3 *db) {
    double measured = number(db, "SELECT total(measured_j) FROM machine_day");
    double shared = number(db, "SELECT total(shared_j) FROM machine_day");
    double idle = number(db, "SELECT total(idle_j) FROM machine_day");
    double rows = number(db, "SELECT total(gross_j) FROM request");
    printf("  account: measured %.6g J = shared %.6g J + idle %.6g J; rows %.6g J\n", measured,
           shared, idle, rows);
    if (!(fabs(measured - shared - idle) <= ACCOUNT_TOLERANCE * fmax(1, measured))) {
        soak_problem(soak, "measured %.9g J is not shared %.9g J + idle %.9g J", measured, shared,
                     idle);
    }
    if (soak->is_accounted && !(fabs(rows - shared) <= SHARE_TOLERANCE * fmax(1, shared))) {
        soak_problem(soak, "the rows have %.9g J, %.9g J were shared", rows, shared);
    }
}

// Of a day (or minute) of a key, `used` and the most of one request; `limit` may be exceeded by
// one.
static void check_window(struct soak *soak, sqlite3 *db, const struct soak_key *key,
                         const char *what, const char *used_sql, const char *window_sql,
                         double limit, const char *one_sql) {
    char sql[1024];
    if (limit <= 0) {
        return;
    }
    snprintf(sql, sizeof sql,
             "SELECT max(used - one) FROM (SELECT %s used, max(%s) one FROM request WHERE key = "
             "'%s' AND wait_s >= 0 AND end <> 'refused' GROUP BY %s)",
             used_sql, one_sql, key->name, window_sql);
    double used = number(db, sql);
    if (used > limit * (1 + 1e-9)) {
        soak_problem(soak, "key '%s' has used %g %s but for its last request, its limit is %g",
                     key->name, used, what, limit);
    }
}

static void check_budgets(struct soak *soak, sqlite3 *db) {
    static const char TOKENS[] = "coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)";
    static const char DAY[] = "date(begin_wall_ms / 1000, 'unixepoch', 'localtime')";
    char tokens_sum[128];
    snprintf(tokens_sum, sizeof tokens_sum, "total(%s)", TOKENS);
    for (size_t i = 0; i < SOAK_N_KEYS && soak->has_keys; i++) {
        const struct soak_key *key = &SOAK_KEYS[i];
        check_window(soak, db, key, "tokens", tokens_sum, DAY, key->tokens_per_day, TOKENS);
        // All that run at its end may take more Wh than was thought.
        check_window(soak, db, key, "Wh", "total(gross_j) / 3600", DAY, key->wh_per_day,
                     "6 * coalesce(gross_j, 0) / 3600");
        check_window(soak, db, key, "requests", "count(*)",
                     "(begin_wall_ms + cast(wait_s * 1000 AS INTEGER)) / 60000",
                     key->requests_per_min, "1");
    }
}

void soak_check_ledger(struct soak *soak) {
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(soak->ledger, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        soak_problem(soak, "the ledger cannot be opened");
        sqlite3_close(db);
        return;
    }
    double n_rows = number(db, "SELECT count(*) FROM request");
    soak->n_rows += (uint64_t)n_rows;
    if (number(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'") !=
        1) {
        soak_problem(soak, "the ledger is damaged");
    }
    printf("  ledger: %.0f rows, %zu answers looked up\n", n_rows, soak->n_answers);
    check_answers(soak, db);
    check_account(soak, db);
    check_budgets(soak, db);
    sqlite3_close(db);
}
