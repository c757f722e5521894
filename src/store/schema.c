// Versions of tables: migrating older files, and refusing what is not ours.
#include "store/schema.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "store/statement.h"

static enum wl_status read_number(struct store *store, const char *sql, int64_t *out,
                                  struct wl_err *err) {
    struct statement s;
    bool has_row = false;
    enum wl_status status = statement_open(&s, store, sql, "reading its version", err);
    if (status == WL_OK) {
        status = statement_next(&s, &has_row, err);
    }
    if (status == WL_OK) {
        *out = has_row ? statement_i64(&s) : 0;
    }
    statement_close(&s);
    return status;
}

// *version is 0 for a file without tables.
static enum wl_status read_version(struct store *store, int64_t *version, struct wl_err *err) {
    const struct store_schema *schema = store->schema;
    int64_t application, n_tables;
    enum wl_status status = read_number(store, "PRAGMA user_version", version, err);
    if (status == WL_OK) {
        status = read_number(store, "PRAGMA application_id", &application, err);
    }
    if (status == WL_OK) {
        status = read_number(store, "SELECT count(*) FROM sqlite_schema", &n_tables, err);
    }
    if (status != WL_OK) {
        return status;
    }
    if (n_tables > 0 && application != schema->application_id) {
        return wl_err_set(err, WL_INPUT,
                          "'%s' is an SQLite file but no wattlaw %s (application id %" PRId64
                          ", expected %" PRId32 "): name another file",
                          store->path, schema->title, application, schema->application_id);
    }
    if (*version > schema->version) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "%s '%s' has version %" PRId64 ", this program reads up to %" PRId64
                          ": update wattlaw",
                          schema->title, store->path, *version, schema->version);
    }
    if (n_tables == 0) {
        *version = 0;
    }
    return WL_OK;
}

static enum wl_status apply(struct store *store, int64_t version, struct wl_err *err) {
    for (; version < store->schema->version; version++) {
        const char *const *parts = store->schema->migrations[version];
        for (size_t i = 0; i < SCHEMA_MAX_PARTS && parts[i]; i++) {
            int rc = sqlite3_exec(store->db, parts[i], NULL, NULL, NULL);
            if (rc != SQLITE_OK) {
                return store_fail(store, rc, "making its tables", err);
            }
        }
    }
    return WL_OK;
}

enum wl_status store_migrate(struct store *store, struct wl_err *err) {
    int64_t version;
    enum wl_status status = read_version(store, &version, err);
    if (status != WL_OK || version == store->schema->version) {
        return status;
    }
    status = store_begin(store, err);
    if (status != WL_OK) {
        return status;
    }
    status = read_version(store, &version, err); // another process may have done it meanwhile
    if (status == WL_OK) {
        status = apply(store, version, err);
    }
    return store_end(store, status, err);
}

// The definitions of all tables and indexes as one text.
static enum wl_status read_tables(struct store *store, struct buf *out, struct wl_err *err) {
    struct statement s;
    bool has_row = true;
    enum wl_status status =
        statement_open(&s, store,
                       "SELECT type || ' ' || name || ' ' || sql FROM sqlite_schema "
                       "WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
                       "ORDER BY type, name",
                       "reading its tables", err);
    while (status == WL_OK && has_row) {
        status = statement_next(&s, &has_row, err);
        if (status == WL_OK && has_row) {
            buf_puts(out, (const char *)sqlite3_column_text(s.stmt, 0));
            buf_puts(out, "\n");
        }
    }
    statement_close(&s);
    return status;
}

static enum wl_status expected_tables(const struct store_schema *schema, struct buf *out,
                                      struct wl_err *err) {
    struct store made = {.schema = schema, .path = (char[]){":memory:"}};
    int rc = sqlite3_open(made.path, &made.db);
    enum wl_status status =
        rc == SQLITE_OK ? apply(&made, 0, err) : store_fail(&made, rc, "making its tables", err);
    if (status == WL_OK) {
        status = read_tables(&made, out, err);
    }
    sqlite3_close(made.db);
    return status;
}

// A file that somebody sent may define views or triggers under our names, or drop a CHECK that the
// readers rely on; comparing the definitions rules all of that out at once.
enum wl_status store_check_tables(struct store *store, struct wl_err *err) {
    enum { MAX_DEFINITIONS = 1 << 16 };
    struct buf found, expected;
    buf_init(&found, MAX_DEFINITIONS);
    buf_init(&expected, MAX_DEFINITIONS);
    int64_t version;
    enum wl_status status = read_version(store, &version, err);
    if (status == WL_OK && version < store->schema->version) {
        status = wl_err_set(err, WL_UNSUPPORTED,
                            "%s '%s' has version %" PRId64 ", this program needs %" PRId64
                            ": run `%s` on it once, or open a copy for writing",
                            store->schema->title, store->path, version, store->schema->version,
                            store->schema->made_by);
    }
    if (status == WL_OK) {
        status = read_tables(store, &found, err);
    }
    if (status == WL_OK) {
        status = expected_tables(store->schema, &expected, err);
    }
    if (status == WL_OK &&
        (found.is_failed || strcmp(buf_text(&found), buf_text(&expected)) != 0)) {
        status = wl_err_set(err, WL_INPUT,
                            "%s '%s': its tables are not those of version %" PRId64
                            ", so its figures cannot be trusted: name another file",
                            store->schema->title, store->path, store->schema->version);
    }
    buf_release(&found);
    buf_release(&expected);
    return status;
}
