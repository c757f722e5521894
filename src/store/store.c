// Opening and closing. Nothing here knows what the tables hold.
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "os/file.h"
#include "store/schema.h"
#include "store/statement.h"

// Above this size opening for writing skips the check of the whole file: it would delay a study.
enum { MAX_CHECKED_BYTES = 64 << 20 };

static const int READ_ONLY_LIMITS[][2] = {
    {SQLITE_LIMIT_LENGTH, STORE_MAX_TEXT_BYTES},
    {SQLITE_LIMIT_SQL_LENGTH, 100000},
    {SQLITE_LIMIT_COLUMN, 64},
    {SQLITE_LIMIT_EXPR_DEPTH, 64},
    {SQLITE_LIMIT_COMPOUND_SELECT, 8},
    {SQLITE_LIMIT_VDBE_OP, 25000},
    {SQLITE_LIMIT_FUNCTION_ARG, 8},
    {SQLITE_LIMIT_ATTACHED, 0},
    {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 64},
    {SQLITE_LIMIT_VARIABLE_NUMBER, 32},
    {SQLITE_LIMIT_TRIGGER_DEPTH, 4},
    {SQLITE_LIMIT_WORKER_THREADS, 0},
};

// What a hostile file could do through SQLite is switched off for every file.
static int set_defences(sqlite3 *db, enum store_mode mode) {
    static const int SWITCHES[][2] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
        {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
        {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},
        {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_ENABLE_FKEY, 1},
    };
    for (size_t i = 0; i < sizeof SWITCHES / sizeof SWITCHES[0]; i++) {
        int rc = sqlite3_db_config(db, SWITCHES[i][0], SWITCHES[i][1], NULL);
        if (rc != SQLITE_OK) {
            return rc;
        }
    }
    for (size_t i = 0;
         mode == STORE_READ_ONLY && i < sizeof READ_ONLY_LIMITS / sizeof *READ_ONLY_LIMITS; i++) {
        sqlite3_limit(db, READ_ONLY_LIMITS[i][0], READ_ONLY_LIMITS[i][1]);
    }
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, STORE_BUSY_MS);
    return sqlite3_exec(db, "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;", NULL, NULL, NULL);
}

static enum wl_status open_db(struct store *store, const char *name, int flags,
                              enum store_mode mode, struct wl_err *err) {
    int rc = sqlite3_open_v2(name, &store->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        rc = set_defences(store->db, mode);
    }
    return rc == SQLITE_OK ? WL_OK : store_fail(store, rc, "opening", err);
}

// Two processes that create the same file at once meet in the switch to WAL, where SQLite does not
// always wait by itself.
static enum wl_status switch_to_wal(struct store *store, struct wl_err *err) {
    enum { PAUSE_MS = 20 };
    int rc;
    int waited_ms = 0;
    do {
        rc = sqlite3_exec(store->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;", NULL,
                          NULL, NULL);
        if ((rc & 0xff) != SQLITE_BUSY) {
            break;
        }
        waited_ms += sqlite3_sleep(PAUSE_MS);
    } while (waited_ms < STORE_BUSY_MS);
    return rc == SQLITE_OK ? WL_OK : store_fail(store, rc, "opening", err);
}

// The first finding of an integrity pragma, which says "ok" when there is none. A foreign key check
// gives no row then.
static enum wl_status run_check(struct store *store, const char *pragma, struct wl_err *err) {
    struct statement s;
    bool has_row = false;
    enum wl_status status = statement_open(&s, store, pragma, "checking it", err);
    if (status == WL_OK) {
        status = statement_next(&s, &has_row, err);
    }
    if (status == WL_OK && has_row) {
        const char *finding = (const char *)sqlite3_column_text(s.stmt, 0);
        if (finding && strcmp(finding, "ok") != 0) {
            status = wl_err_set(err, WL_INPUT,
                                "store '%s' is damaged (%.200s): keep a copy, then save what is "
                                "readable with: sqlite3 '%s' .recover | sqlite3 recovered.db",
                                store->path, finding, store->path);
        }
    }
    statement_close(&s);
    return status;
}

enum wl_status store_check(struct store *store, struct wl_err *err) {
    enum wl_status status = run_check(store, "PRAGMA integrity_check(1)", err);
    return status == WL_OK ? run_check(store, "PRAGMA foreign_key_check", err) : status;
}

static enum wl_status prepare_for_writing(struct store *store, struct wl_err *err) {
    uint64_t file_bytes = 0;
    enum wl_status status = switch_to_wal(store, err);
    if (status == WL_OK) {
        status = store_migrate(store, err);
    }
    if (status == WL_OK) {
        status = store_check_tables(store, err);
    }
    if (status == WL_OK && os_file_size(store->path, &file_bytes, NULL) == WL_OK &&
        file_bytes <= MAX_CHECKED_BYTES) {
        status = run_check(store, "PRAGMA quick_check(1)", err);
    }
    return status;
}

// "file:<path>?immutable=1" with the characters that mean something in a URI escaped.
static void put_immutable_uri(struct buf *out, const char *path) {
    buf_puts(out, "file:");
    for (const char *p = path; *p; p++) {
        bool is_special = *p == '%' || *p == '?' || *p == '#';
        buf_printf(out, is_special ? "%%%02x" : "%c", (unsigned char)*p);
    }
    buf_puts(out, "?immutable=1");
}

static bool has_unmerged_wal(const char *path) {
    char wal[OS_PATH_BYTES + 8];
    uint64_t bytes = 0;
    snprintf(wal, sizeof wal, "%s-wal", path);
    return os_file_size(wal, &bytes, NULL) == WL_OK && bytes > 0;
}

// On a folder that may not be written SQLite cannot make the shared-memory file that WAL needs.
// With no WAL left to merge the file is complete by itself and can be read as it is.
static enum wl_status open_immutable(struct store *store, struct wl_err *err) {
    if (has_unmerged_wal(store->path)) {
        return wl_err_set(
            err, WL_PERMISSION,
            "store '%s' has unmerged writes ('-wal' beside it) and its folder may not "
            "be written: copy both files to a folder of yours and open that",
            store->path);
    }
    struct buf uri;
    buf_init(&uri, 3 * OS_PATH_BYTES + 64);
    put_immutable_uri(&uri, store->path);
    sqlite3_close(store->db);
    store->db = NULL;
    enum wl_status status =
        uri.is_failed ? wl_err_set(err, WL_LIMIT, "the store's path is too long")
                      : open_db(store, buf_text(&uri), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
                                STORE_READ_ONLY, err);
    buf_release(&uri);
    return status;
}

static enum wl_status prepare_for_reading(struct store *store, struct wl_err *err) {
    enum wl_status status = store_check_tables(store, err);
    if (status == WL_PERMISSION) {
        status = open_immutable(store, err);
        if (status == WL_OK) {
            status = store_check_tables(store, err);
        }
    }
    return status == WL_OK ? store_check(store, err) : status;
}

enum wl_status store_open(const char *path, enum store_mode mode, struct store **out,
                          struct wl_err *err) {
    return store_open_as(&STORE_SCHEMA, path, mode, out, err);
}

enum wl_status store_open_as(const struct store_schema *schema, const char *path,
                             enum store_mode mode, struct store **out, struct wl_err *err) {
    *out = NULL;
    bool is_read_only = mode == STORE_READ_ONLY;
    if (is_read_only && !os_exists(path)) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "there is no %s '%s' yet: run `%s` first, or name another file",
                          schema->title, path, schema->made_by);
    }
    if (os_is_dir(path)) {
        return wl_err_set(err, WL_INPUT, "%s '%s' is a folder: name a file in it", schema->title,
                          path);
    }
    struct store *store = calloc(1, sizeof *store);
    if (!store || !(store->path = strdup(path))) {
        free(store);
        return wl_err_set(err, WL_MEMORY, "no memory to open store '%s'", path);
    }
    store->schema = schema;
    int flags = is_read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    enum wl_status status = open_db(store, path, flags, mode, err);
    if (status == WL_OK) {
        status = is_read_only ? prepare_for_reading(store, err) : prepare_for_writing(store, err);
    }
    if (status != WL_OK) {
        store_close(store);
        return status;
    }
    *out = store;
    return WL_OK;
}

void store_close(struct store *store) {
    if (!store) {
        return;
    }
    sqlite3_close_v2(store->db);
    free(store->path);
    free(store);
}

const char *store_path(const struct store *store) {
    return store->path;
}
