#include "store/statement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "store/store_sample.h"

static enum wl_status fail_damaged(const struct store *store, int rc, const char *what,
                                   struct wl_err *err) {
    return wl_err_set(
        err, WL_INPUT,
        "store '%s' is damaged (%s, while %s): keep a copy, then save what is readable "
        "with: sqlite3 '%s' .recover | sqlite3 recovered.db",
        store->path, sqlite3_errstr(rc), what, store->path);
}

enum wl_status store_fail(const struct store *store, int rc, const char *what, struct wl_err *err) {
    const char *path = store->path;
    const char *text = store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return wl_err_set(
            err, WL_BUSY,
            "store '%s' is in use by another process (%s waited %d ms): let it finish "
            "or name another store",
            path, what, STORE_BUSY_MS);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return fail_damaged(store, rc, what, err);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        return wl_err_set(err, WL_PERMISSION,
                          "cannot use store '%s' (%s): %s; check that the file and its folder are "
                          "yours to write",
                          path, what, text);
    case SQLITE_FULL:
        return wl_err_set(err, WL_IO, "store '%s' cannot grow (%s): the disk is full", path, what);
    case SQLITE_CONSTRAINT:
        return wl_err_set(err, WL_INPUT, "store '%s' refuses the row (%s): %s", path, what, text);
    case SQLITE_TOOBIG:
        return wl_err_set(err, WL_LIMIT, "a value is too large for store '%s' (%s)", path, what);
    case SQLITE_NOMEM: return wl_err_set(err, WL_MEMORY, "no memory (%s)", what);
    case SQLITE_IOERR:
        return wl_err_set(err, WL_IO, "store '%s' (%s): %s; check the disk", path, what, text);
    default: return wl_err_set(err, WL_FAILED, "store '%s' (%s): %s", path, what, text);
    }
}

enum wl_status statement_open(struct statement *s, struct store *store, const char *sql,
                              const char *what, struct wl_err *err) {
    *s = (struct statement){.store = store, .what = what};
    int rc = sqlite3_prepare_v2(store->db, sql, -1, &s->stmt, NULL);
    return rc == SQLITE_OK ? WL_OK : store_fail(store, rc, what, err);
}

void statement_close(struct statement *s) {
    sqlite3_finalize(s->stmt);
    s->stmt = NULL;
}

static void keep_failure(struct statement *s, int rc) {
    if (rc != SQLITE_OK && s->rc == SQLITE_OK) {
        s->rc = rc;
    }
}

void statement_put_i64(struct statement *s, int64_t value) {
    keep_failure(s, sqlite3_bind_int64(s->stmt, ++s->n_put, value));
}

void statement_put_real(struct statement *s, double value) {
    s->n_put++;
    keep_failure(s, isfinite(value) ? sqlite3_bind_double(s->stmt, s->n_put, value)
                                    : sqlite3_bind_null(s->stmt, s->n_put));
}

void statement_put_text(struct statement *s, const char *text) {
    s->n_put++;
    keep_failure(s, text ? sqlite3_bind_text(s->stmt, s->n_put, text, -1, SQLITE_TRANSIENT)
                         : sqlite3_bind_null(s->stmt, s->n_put));
}

void statement_put_optional(struct statement *s, int64_t value) {
    s->n_put++;
    keep_failure(s, value != STORE_ABSENT ? sqlite3_bind_int64(s->stmt, s->n_put, value)
                                          : sqlite3_bind_null(s->stmt, s->n_put));
}

enum wl_status statement_put_json(struct statement *s, const char *which, const char *json,
                                  const char *fallback, struct wl_err *err) {
    json_t *value;
    const char *text = json ? json : fallback;
    enum wl_status status = wl_json_parse(text, strlen(text), &value, err);
    json_decref(value);
    statement_put_text(s, text);
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "%s (%s)", s->what, which);
}

enum wl_status statement_next(struct statement *s, bool *has_row, struct wl_err *err) {
    *has_row = false;
    int rc = s->rc == SQLITE_OK ? sqlite3_step(s->stmt) : s->rc;
    s->n_got = 0;
    if (rc == SQLITE_ROW) {
        *has_row = true;
        return WL_OK;
    }
    return rc == SQLITE_DONE ? WL_OK : store_fail(s->store, rc, s->what, err);
}

enum wl_status statement_run(struct statement *s, struct wl_err *err) {
    bool has_row;
    enum wl_status status;
    do {
        status = statement_next(s, &has_row, err);
    } while (status == WL_OK && has_row);
    sqlite3_reset(s->stmt);
    s->n_put = 0;
    s->rc = SQLITE_OK;
    return status;
}

int64_t statement_i64(struct statement *s) {
    return sqlite3_column_int64(s->stmt, s->n_got++);
}

int64_t statement_optional(struct statement *s) {
    bool is_null = sqlite3_column_type(s->stmt, s->n_got) == SQLITE_NULL;
    int64_t value = statement_i64(s);
    return is_null ? STORE_ABSENT : value;
}

uint32_t statement_u32(struct statement *s) {
    int64_t value = statement_i64(s);
    return value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

double statement_real(struct statement *s) {
    int column = s->n_got++;
    bool is_null = sqlite3_column_type(s->stmt, column) == SQLITE_NULL;
    return is_null ? (double)NAN : sqlite3_column_double(s->stmt, column);
}

void statement_name(struct statement *s, char *out, size_t size) {
    const char *text = (const char *)sqlite3_column_text(s->stmt, s->n_got++);
    str_copy(out, size, text ? text : "");
}

char *statement_text(struct statement *s) {
    const char *text = (const char *)sqlite3_column_text(s->stmt, s->n_got++);
    return strdup(text ? text : "");
}

static enum wl_status run_sql(struct store *store, const char *sql, const char *what,
                              struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(&s, store, sql, what, err);
    if (status == WL_OK) {
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

enum wl_status store_begin(struct store *store, struct wl_err *err) {
    return run_sql(store, "BEGIN IMMEDIATE", "starting to write", err);
}

enum wl_status store_end(struct store *store, enum wl_status status, struct wl_err *err) {
    if (status == WL_OK) {
        status = run_sql(store, "COMMIT", "committing", err);
    }
    // The first message is the one that explains; a rollback after a full disk may have happened.
    if (status != WL_OK && !sqlite3_get_autocommit(store->db)) {
        run_sql(store, "ROLLBACK", "rolling back", NULL);
    }
    return status;
}

enum wl_status store_grow(void **items, size_t n, size_t item_bytes, struct wl_err *err) {
    enum { FIRST = 16 };
    bool is_full = n == 0 || (n >= FIRST && (n & (n - 1)) == 0);
    if (!is_full) {
        return WL_OK;
    }
    if (n >= STORE_MAX_ROWS) {
        return wl_err_set(err, WL_LIMIT,
                          "the store has more than %d rows of a kind that is read at "
                          "once",
                          STORE_MAX_ROWS);
    }
    void *grown = realloc(*items, (n == 0 ? FIRST : n * 2) * item_bytes);
    if (!grown) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu rows of the store", n);
    }
    *items = grown;
    return WL_OK;
}

enum wl_status statement_read_all(struct statement *s, statement_read *read, size_t item_bytes,
                                  void **items, size_t *n, struct wl_err *err) {
    for (;;) {
        bool has_row;
        enum wl_status status = statement_next(s, &has_row, err);
        if (status != WL_OK || !has_row) {
            return status;
        }
        status = store_grow(items, *n, item_bytes, err);
        if (status == WL_OK) {
            status = read(s, (char *)*items + *n * item_bytes, err);
        }
        if (status != WL_OK) {
            return status;
        }
        ++*n;
    }
}
