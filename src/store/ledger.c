#include "store/ledger.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "store/schema.h"
#include "store/statement.h"
#include "store/store_sample.h"

static const int64_t MS_OF_A_DAY = 86400000;

const char *ledger_end_name(enum ledger_end end) {
    static const char *const NAMES[LEDGER_N_ENDS] = {"answered",      "budget",  "client left",
                                                     "upstream died", "refused", "gateway ended"};
    return end < LEDGER_N_ENDS ? NAMES[end] : "unknown";
}

enum wl_status ledger_open(const char *path, enum store_mode mode, struct store **out,
                           struct wl_err *err) {
    enum wl_status status = store_open_as(&LEDGER_SCHEMA, path, mode, out, err);
    if (status == WL_OK && mode != STORE_READ_ONLY) {
        int rc = sqlite3_exec((*out)->db, "PRAGMA synchronous = NORMAL;", NULL, NULL, NULL);
        if (rc != SQLITE_OK) {
            status = store_fail(*out, rc, "opening", err);
            store_close(*out);
            *out = NULL;
        }
    }
    return status;
}

// ---- rows ----

static void put_count(struct statement *s, int64_t n) {
    statement_put_optional(s, n < 0 ? STORE_ABSENT : n);
}

static void put_row(struct statement *s, const struct ledger_row *row) {
    statement_put_text(s, row->id);
    statement_put_i64(s, row->begin_wall_ms);
    statement_put_text(s, row->key);
    statement_put_text(s, row->model);
    statement_put_text(s, row->endpoint);
    statement_put_i64(s, row->http_status);
    statement_put_text(s, ledger_end_name(row->end));
    statement_put_i64(s, row->is_stream);
    put_count(s, row->prompt_tokens);
    put_count(s, row->cached_tokens);
    put_count(s, row->completion_tokens);
    statement_put_i64(s, row->n_images);
    statement_put_i64(s, row->pixels_in);
    statement_put_i64(s, row->pixels_out);
    statement_put_i64(s, row->n_turns_dropped);
    statement_put_real(s, row->wait_s);
    statement_put_real(s, row->first_s);
    statement_put_real(s, row->total_s);
    statement_put_real(s, row->gross_j);
    statement_put_real(s, row->gross_sd_j);
    statement_put_real(s, row->net_j);
    statement_put_real(s, row->net_sd_j);
    statement_put_text(s, row->source);
    statement_put_text(s, row->scope);
    statement_put_text(s, row->label);
    statement_put_i64(s, row->n_shared);
    statement_put_text(s, row->error);
}

static enum wl_status add_rows(struct store *ledger, const struct ledger_row *rows, size_t n,
                               struct wl_err *err) {
    struct statement row, text = {0};
    enum wl_status status = statement_open(
        &row, ledger,
        "INSERT INTO request VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        "writing a request", err);
    if (status == WL_OK) {
        status = statement_open(&text, ledger, "INSERT INTO request_text VALUES (?,?,?)",
                                "writing a request's text", err);
    }
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        put_row(&row, &rows[i]);
        status = statement_run(&row, err);
        if (status == WL_OK && (rows[i].prompt || rows[i].answer)) {
            statement_put_text(&text, rows[i].id);
            statement_put_text(&text, rows[i].prompt ? rows[i].prompt : "");
            statement_put_text(&text, rows[i].answer ? rows[i].answer : "");
            status = statement_run(&text, err);
        }
    }
    statement_close(&text);
    statement_close(&row);
    return status;
}

enum wl_status ledger_add(struct store *ledger, const struct ledger_row *rows, size_t n,
                          struct wl_err *err) {
    enum wl_status status = store_begin(ledger, err);
    return status == WL_OK ? store_end(ledger, add_rows(ledger, rows, n, err), err) : status;
}

static enum wl_status settle_rows(struct store *ledger, const struct ledger_row *rows, size_t n,
                                  struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(
        &s, ledger,
        "UPDATE request SET gross_j = ?, gross_sd_j = ?, net_j = ?, net_sd_j = ?, label = ?,"
        " n_shared = ? WHERE id = ?",
        "writing a request's energy", err);
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        statement_put_real(&s, rows[i].gross_j);
        statement_put_real(&s, rows[i].gross_sd_j);
        statement_put_real(&s, rows[i].net_j);
        statement_put_real(&s, rows[i].net_sd_j);
        statement_put_text(&s, rows[i].label);
        statement_put_i64(&s, rows[i].n_shared);
        statement_put_text(&s, rows[i].id);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

enum wl_status ledger_settle(struct store *ledger, const struct ledger_row *rows, size_t n,
                             struct wl_err *err) {
    enum wl_status status = store_begin(ledger, err);
    return status == WL_OK ? store_end(ledger, settle_rows(ledger, rows, n, err), err) : status;
}

enum wl_status ledger_has(struct store *ledger, const char *id, bool *out, struct wl_err *err) {
    struct statement s;
    *out = false;
    enum wl_status status = statement_open(&s, ledger, "SELECT 1 FROM request WHERE id = ?",
                                           "looking for a request", err);
    if (status == WL_OK) {
        statement_put_text(&s, id);
        status = statement_next(&s, out, err);
    }
    statement_close(&s);
    return status;
}

enum wl_status ledger_add_feedback(struct store *ledger, const char *id, double score,
                                   const char *note, int64_t wall_ms, struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(
        &s, ledger,
        "INSERT INTO feedback SELECT id, ?, ?, ? FROM request WHERE id = ?"
        " ON CONFLICT (id) DO UPDATE SET wall_ms = excluded.wall_ms, score = excluded.score,"
        " note = excluded.note",
        "writing feedback", err);
    if (status == WL_OK) {
        statement_put_i64(&s, wall_ms);
        statement_put_real(&s, score);
        statement_put_text(&s, note);
        statement_put_text(&s, id);
        status = statement_run(&s, err);
    }
    if (status == WL_OK && sqlite3_changes(ledger->db) == 0) {
        status = wl_err_set(err, WL_NOT_FOUND, "the ledger has no request '%s'", id);
    }
    statement_close(&s);
    return status;
}

// ---- sums ----

enum wl_status ledger_use_since(struct store *ledger, const char *key, int64_t wall_ms,
                                struct ledger_use *out, struct wl_err *err) {
    struct statement s;
    bool has_row = false;
    *out = (struct ledger_use){0};
    enum wl_status status = statement_open(
        &s, ledger,
        "SELECT count(*), ifnull(sum(ifnull(prompt_tokens, 0) + ifnull(completion_tokens, 0)), 0),"
        " ifnull(sum(gross_j), 0) / 3600.0 FROM request"
        " WHERE key = ? AND begin_wall_ms >= ? AND end <> 'refused'",
        "adding up what a key has used", err);
    if (status == WL_OK) {
        statement_put_text(&s, key);
        statement_put_i64(&s, wall_ms);
        status = statement_next(&s, &has_row, err);
    }
    if (status == WL_OK && has_row) {
        out->n_requests = statement_i64(&s);
        out->tokens = statement_i64(&s);
        out->gross_wh = statement_real(&s);
    }
    statement_close(&s);
    return status;
}

static enum wl_status read_summary(struct statement *s, void *item, struct wl_err *err) {
    struct ledger_summary *out = item;
    (void)err;
    *out = (struct ledger_summary){0};
    statement_name(s, out->name, sizeof out->name);
    out->n_requests = statement_i64(s);
    out->n_answered = statement_i64(s);
    out->prompt_tokens = statement_i64(s);
    out->completion_tokens = statement_i64(s);
    out->gross_wh = statement_real(s);
    out->net_wh = statement_real(s);
    return WL_OK;
}

#define SUMMARY_OF(name, order)                                                                    \
    "SELECT " name ", count(*), sum(end = 'answered'), ifnull(sum(prompt_tokens), 0),"             \
    " ifnull(sum(completion_tokens), 0), ifnull(sum(gross_j), 0) / 3600.0,"                        \
    " iif(total(gross_j IS NOT NULL AND net_j IS NULL) > 0, NULL, total(net_j) / 3600.0)"          \
    " FROM request"                                                                                \
    " WHERE begin_wall_ms >= ? AND begin_wall_ms < ? AND (key = ?3 OR ?3 IS NULL)"                 \
    " GROUP BY 1 ORDER BY " order

enum wl_status ledger_summarise(struct store *ledger, enum ledger_group group, const char *key,
                                int64_t from_ms, int64_t to_ms, struct ledger_summary **out,
                                size_t *n, struct wl_err *err) {
    static const char *const SQL[] = {
        [LEDGER_BY_KEY] = SUMMARY_OF("key", "6 DESC"),
        [LEDGER_BY_MODEL] = SUMMARY_OF("model", "6 DESC"),
        [LEDGER_BY_DAY] = SUMMARY_OF("date(begin_wall_ms / 1000, 'unixepoch')", "1"),
    };
    struct statement s;
    void *items = NULL;
    *n = 0;
    enum wl_status status = statement_open(&s, ledger, SQL[group], "adding up requests", err);
    if (status == WL_OK) {
        statement_put_i64(&s, from_ms);
        statement_put_i64(&s, to_ms);
        statement_put_text(&s, key);
        status =
            statement_read_all(&s, read_summary, sizeof(struct ledger_summary), &items, n, err);
    }
    statement_close(&s);
    if (status != WL_OK) {
        free(items);
        items = NULL;
        *n = 0;
    }
    *out = items;
    return status;
}

// ---- upkeep ----

enum wl_status ledger_forget(struct store *ledger, int64_t before_wall_ms, int64_t max_rows,
                             int64_t *n_gone, struct wl_err *err) {
    struct statement s;
    *n_gone = 0;
    enum wl_status status =
        statement_open(&s, ledger,
                       "DELETE FROM request WHERE id IN (SELECT id FROM request"
                       " WHERE begin_wall_ms < ? ORDER BY begin_wall_ms LIMIT ?)",
                       "removing old requests", err);
    if (status == WL_OK) {
        statement_put_i64(&s, before_wall_ms);
        statement_put_i64(&s, max_rows);
        status = statement_run(&s, err);
    }
    if (status == WL_OK) {
        *n_gone = sqlite3_changes64(ledger->db);
    }
    statement_close(&s);
    return status;
}

enum wl_status ledger_add_machine(struct store *ledger, int64_t wall_ms, const char *source,
                                  const struct ledger_machine *more, struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(
        &s, ledger,
        "INSERT INTO machine_day VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (day, source) DO UPDATE SET"
        " measured_j = measured_j + excluded.measured_j, shared_j = shared_j + excluded.shared_j,"
        " idle_j = idle_j + excluded.idle_j, busy_s = busy_s + excluded.busy_s,"
        " idle_s = idle_s + excluded.idle_s, gap_s = gap_s + excluded.gap_s",
        "writing what the machine took", err);
    if (status == WL_OK) {
        statement_put_i64(&s, wall_ms / MS_OF_A_DAY);
        statement_put_text(&s, source);
        statement_put_real(&s, more->measured_j);
        statement_put_real(&s, more->shared_j);
        statement_put_real(&s, more->idle_j);
        statement_put_real(&s, more->busy_s);
        statement_put_real(&s, more->idle_s);
        statement_put_real(&s, more->gap_s);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

static int64_t day_of(int64_t wall_ms) {
    return wall_ms / MS_OF_A_DAY - (wall_ms % MS_OF_A_DAY < 0);
}

enum wl_status ledger_sum_machine(struct store *ledger, int64_t from_ms, int64_t to_ms,
                                  struct ledger_machine *out, struct wl_err *err) {
    struct statement s;
    bool has_row = false;
    *out = (struct ledger_machine){0};
    enum wl_status status = statement_open(
        &s, ledger,
        "SELECT total(measured_j), total(shared_j), total(idle_j), total(busy_s), total(idle_s),"
        " total(gap_s) FROM machine_day WHERE day >= ? AND day <= ?",
        "adding up what the machine took", err);
    if (status == WL_OK) {
        statement_put_i64(&s, day_of(from_ms));
        statement_put_i64(&s, to_ms > from_ms ? day_of(to_ms - 1) : day_of(from_ms) - 1);
        status = statement_next(&s, &has_row, err);
    }
    if (status == WL_OK && has_row) {
        out->measured_j = statement_real(&s);
        out->shared_j = statement_real(&s);
        out->idle_j = statement_real(&s);
        out->busy_s = statement_real(&s);
        out->idle_s = statement_real(&s);
        out->gap_s = statement_real(&s);
    }
    statement_close(&s);
    return status;
}
