// The tables and how older files get them. A new version is one more string at the end of
// MIGRATIONS, never a change to an earlier one: files out there were made by those.
// JSON is checked in C (statement_put_json): SQLite 3.40 does not let an untrusted schema call
// json_valid().
#include <string.h>

#include "base/buf.h"
#include "store/statement.h"

// "WtLw" in the file's header tells our files from any other SQLite file.
#define APPLICATION_ID 1467239543
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

static const char VERSION_1_RECORDS[] =
    "CREATE TABLE study ("
    "  id INTEGER PRIMARY KEY,"
    "  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),"
    "  title TEXT NOT NULL,"
    "  created_wall_ns INTEGER NOT NULL,"
    "  seed INTEGER NOT NULL," // the 64 bits of an unsigned number
    "  options TEXT NOT NULL,"
    "  machine TEXT NOT NULL,"
    "  meters TEXT NOT NULL,"
    "  engine TEXT NOT NULL,"
    "  state TEXT NOT NULL CHECK (state IN ('running', 'done', 'interrupted'))"
    ") STRICT;"
    "CREATE TABLE model ("
    "  id INTEGER PRIMARY KEY,"
    "  study_id INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,"
    "  role TEXT NOT NULL CHECK (role IN ('base', 'vs')),"
    "  label TEXT NOT NULL,"
    "  path TEXT NOT NULL,"
    "  file_bytes INTEGER NOT NULL CHECK (file_bytes >= 0),"
    "  hash TEXT NOT NULL,"
    "  describe TEXT NOT NULL,"
    "  UNIQUE (study_id, role)"
    ") STRICT;"
    "CREATE TABLE record ("
    "  id INTEGER PRIMARY KEY,"
    "  model_id INTEGER NOT NULL REFERENCES model (id) ON DELETE CASCADE,"
    "  seq INTEGER NOT NULL CHECK (seq BETWEEN 0 AND 4294967295),"
    "  cell INTEGER NOT NULL CHECK (cell BETWEEN 0 AND 4294967295),"
    "  repeat INTEGER NOT NULL CHECK (repeat BETWEEN 0 AND 4294967295),"
    "  prompt_tokens INTEGER NOT NULL CHECK (prompt_tokens BETWEEN 0 AND 4294967295),"
    "  generated_tokens INTEGER NOT NULL CHECK (generated_tokens BETWEEN 0 AND 4294967295),"
    "  t0_ns INTEGER NOT NULL,"
    "  t1_ns INTEGER NOT NULL,"
    "  wall_ns INTEGER NOT NULL,"
    "  flags INTEGER NOT NULL CHECK (flags BETWEEN 0 AND 4294967295),"
    "  UNIQUE (model_id, seq)" // a study resumed twice at once shows here
    ") STRICT;"
    "CREATE TABLE record_value ("
    "  record_id INTEGER NOT NULL REFERENCES record (id) ON DELETE CASCADE,"
    "  metric TEXT NOT NULL,"
    "  value REAL NOT NULL,"
    "  PRIMARY KEY (record_id, metric)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE record_energy ("
    "  record_id INTEGER NOT NULL REFERENCES record (id) ON DELETE CASCADE,"
    "  seq INTEGER NOT NULL CHECK (seq >= 0)," // 0 is the primary source
    "  source TEXT NOT NULL,"
    "  scope TEXT NOT NULL,"
    "  label TEXT NOT NULL CHECK (label IN ('measured', 'calibrated', 'estimated', 'unresolved')),"
    "  gross_j REAL, gross_sd_j REAL, net_j REAL, net_sd_j REAL,"
    "  systematic_rel REAL, coverage REAL, idle_w REAL, idle_sd_w REAL,"
    "  PRIMARY KEY (record_id, seq)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE record_phase ("
    "  record_id INTEGER NOT NULL REFERENCES record (id) ON DELETE CASCADE,"
    "  seq INTEGER NOT NULL CHECK (seq >= 0),"
    "  name TEXT NOT NULL,"
    "  t0_ns INTEGER NOT NULL, t1_ns INTEGER NOT NULL, cpu_ns INTEGER NOT NULL,"
    "  n_tokens INTEGER NOT NULL CHECK (n_tokens BETWEEN 0 AND 4294967295),"
    "  gross_j REAL, net_j REAL,"
    "  PRIMARY KEY (record_id, seq)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE record_sample ("
    "  record_id INTEGER NOT NULL REFERENCES record (id) ON DELETE CASCADE,"
    "  seq INTEGER NOT NULL,"
    "  t_ns INTEGER NOT NULL, cpu_ns INTEGER, pss_kib INTEGER, rss_kib INTEGER,"
    "  machine_busy_ticks INTEGER, machine_total_ticks INTEGER, steal_ticks INTEGER,"
    "  freq_mhz REAL, temp_c REAL, joules REAL,"
    "  PRIMARY KEY (record_id, seq)"
    ") STRICT, WITHOUT ROWID;";

static const char VERSION_1_REST[] =
    "CREATE TABLE idle ("
    "  id INTEGER PRIMARY KEY,"
    "  study_id INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,"
    "  wall_ns INTEGER NOT NULL,"
    "  t0_ns INTEGER NOT NULL, t1_ns INTEGER NOT NULL,"
    "  cpu_pct_mean REAL, cpu_pct_sd REAL,"
    "  flags INTEGER NOT NULL CHECK (flags BETWEEN 0 AND 4294967295),"
    "  doc TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX idle_by_study ON idle (study_id);"
    "CREATE TABLE idle_power ("
    "  idle_id INTEGER NOT NULL REFERENCES idle (id) ON DELETE CASCADE,"
    "  seq INTEGER NOT NULL,"
    "  source TEXT NOT NULL,"
    "  mean_w REAL, sd_w REAL,"
    "  PRIMARY KEY (idle_id, seq)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE idle_sample ("
    "  idle_id INTEGER NOT NULL REFERENCES idle (id) ON DELETE CASCADE,"
    "  seq INTEGER NOT NULL,"
    "  t_ns INTEGER NOT NULL, cpu_ns INTEGER, pss_kib INTEGER, rss_kib INTEGER,"
    "  machine_busy_ticks INTEGER, machine_total_ticks INTEGER, steal_ticks INTEGER,"
    "  freq_mhz REAL, temp_c REAL, joules REAL,"
    "  PRIMARY KEY (idle_id, seq)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE fit ("
    "  study_id INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,"
    "  model_id INTEGER NOT NULL REFERENCES model (id) ON DELETE CASCADE,"
    "  metric TEXT NOT NULL,"
    "  json TEXT NOT NULL,"
    "  PRIMARY KEY (model_id, metric)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX fit_by_study ON fit (study_id);"
    "PRAGMA application_id = " TEXT(APPLICATION_ID) ";"
                                                    "PRAGMA user_version = 1;";

// Windows of several equal requests, for slow meters.
static const char VERSION_2[] =
    "ALTER TABLE record ADD COLUMN n_requests INTEGER NOT NULL DEFAULT 1"
    " CHECK (n_requests BETWEEN 1 AND 4294967295);"
    "PRAGMA user_version = 2;";

// What an image was and what the model saw of it; what was answered and whether that was right.
static const char VERSION_3[] =
    "ALTER TABLE record_phase ADD COLUMN duration_ns INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE record_phase ADD COLUMN peak_rss_bytes INTEGER NOT NULL DEFAULT 0;"
    "UPDATE record_phase SET duration_ns = t1_ns - t0_ns;"
    "CREATE TABLE record_vision ("
    "  record_id INTEGER PRIMARY KEY REFERENCES record (id) ON DELETE CASCADE,"
    "  n_images INTEGER NOT NULL CHECK (n_images BETWEEN 1 AND 4294967295),"
    "  width INTEGER NOT NULL CHECK (width BETWEEN 0 AND 4294967295),"
    "  height INTEGER NOT NULL CHECK (height BETWEEN 0 AND 4294967295),"
    "  effective_pixels INTEGER NOT NULL CHECK (effective_pixels >= 0),"
    "  image_tokens INTEGER NOT NULL CHECK (image_tokens BETWEEN 0 AND 4294967295),"
    "  n_views INTEGER NOT NULL CHECK (n_views BETWEEN 0 AND 4294967295),"
    "  image_min_tokens INTEGER NOT NULL CHECK (image_min_tokens BETWEEN 0 AND 4294967295),"
    "  image_max_tokens INTEGER NOT NULL CHECK (image_max_tokens BETWEEN 0 AND 4294967295)"
    ") STRICT;"
    "CREATE TABLE answer ("
    "  record_id INTEGER PRIMARY KEY REFERENCES record (id) ON DELETE CASCADE,"
    "  item TEXT NOT NULL,"   // the task's id
    "  kind TEXT NOT NULL,"   // the task's group
    "  text TEXT NOT NULL,"   // what the model said
    "  defect TEXT NOT NULL," // 'fine', 'empty', 'looping'
    "  is_right INTEGER NOT NULL CHECK (is_right IN (0, 1))"
    ") STRICT;"
    "PRAGMA user_version = 3;";

// MIGRATIONS[v] brings version v to v + 1, in up to MAX_PARTS texts (ISO C limits the length of a
// literal). The last one sets user_version.
enum { MAX_PARTS = 2 };
static const char *const MIGRATIONS[][MAX_PARTS] = {
    {VERSION_1_RECORDS, VERSION_1_REST}, {VERSION_2, NULL}, {VERSION_3, NULL}};
_Static_assert(sizeof MIGRATIONS / sizeof MIGRATIONS[0] == STORE_SCHEMA_VERSION,
               "one migration per version");

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
    if (n_tables > 0 && application != APPLICATION_ID) {
        return wl_err_set(
            err, WL_INPUT,
            "'%s' is an SQLite file but no wattlaw store (application id %lld, expected "
            "%d): name another file",
            store->path, (long long)application, APPLICATION_ID);
    }
    if (*version > STORE_SCHEMA_VERSION) {
        return wl_err_set(
            err, WL_UNSUPPORTED,
            "store '%s' has version %lld, this program reads up to %d: update wattlaw", store->path,
            (long long)*version, STORE_SCHEMA_VERSION);
    }
    if (n_tables == 0) {
        *version = 0;
    }
    return WL_OK;
}

static enum wl_status apply(struct store *store, int64_t version, struct wl_err *err) {
    for (; version < STORE_SCHEMA_VERSION; version++) {
        for (size_t i = 0; i < MAX_PARTS && MIGRATIONS[version][i]; i++) {
            int rc = sqlite3_exec(store->db, MIGRATIONS[version][i], NULL, NULL, NULL);
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
    if (status != WL_OK || version == STORE_SCHEMA_VERSION) {
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

static enum wl_status expected_tables(struct buf *out, struct wl_err *err) {
    struct store made = {.path = (char[]){":memory:"}};
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
    if (status == WL_OK && version < STORE_SCHEMA_VERSION) {
        status =
            wl_err_set(err, WL_UNSUPPORTED,
                       "store '%s' has version %lld, this program needs %d: run `wattlaw study` "
                       "on it once, or open a copy for writing",
                       store->path, (long long)version, STORE_SCHEMA_VERSION);
    }
    if (status == WL_OK) {
        status = read_tables(store, &found, err);
    }
    if (status == WL_OK) {
        status = expected_tables(&expected, err);
    }
    if (status == WL_OK &&
        (found.is_failed || strcmp(buf_text(&found), buf_text(&expected)) != 0)) {
        status = wl_err_set(err, WL_INPUT,
                            "store '%s': its tables are not those of version %d, so its figures "
                            "cannot be trusted: name another file",
                            store->path, STORE_SCHEMA_VERSION);
    }
    buf_release(&found);
    buf_release(&expected);
    return status;
}
