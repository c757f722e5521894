// The tables of a ledger. A new version is one more string at the end of MIGRATIONS, never a change
// to an earlier one.
#include <stddef.h>

#include "store/ledger.h"
#include "store/schema.h"

// "WtLe" in the file's header.
#define APPLICATION_ID 1467239525
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

static const char VERSION_1[] =
    "CREATE TABLE request ("
    "  id TEXT PRIMARY KEY,"
    "  begin_wall_ms INTEGER NOT NULL,"
    "  key TEXT NOT NULL,"
    "  model TEXT NOT NULL,"
    "  endpoint TEXT NOT NULL,"
    "  http_status INTEGER NOT NULL,"
    "  end TEXT NOT NULL,"
    "  is_stream INTEGER NOT NULL CHECK (is_stream IN (0, 1)),"
    "  prompt_tokens INTEGER,"
    "  cached_tokens INTEGER,"
    "  completion_tokens INTEGER,"
    "  n_images INTEGER NOT NULL,"
    "  pixels_in INTEGER NOT NULL,"
    "  pixels_out INTEGER NOT NULL,"
    "  n_turns_dropped INTEGER NOT NULL,"
    "  wait_s REAL,"
    "  first_s REAL,"
    "  total_s REAL,"
    "  gross_j REAL,"
    "  gross_sd_j REAL,"
    "  net_j REAL,"
    "  net_sd_j REAL,"
    "  source TEXT NOT NULL,"
    "  scope TEXT NOT NULL,"
    "  label TEXT NOT NULL,"
    "  n_shared INTEGER NOT NULL,"
    "  error TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX request_by_time ON request (begin_wall_ms);"
    "CREATE INDEX request_by_key ON request (key, begin_wall_ms);"
    "CREATE TABLE request_text (" // only where the user asked for it
    "  id TEXT PRIMARY KEY REFERENCES request (id) ON DELETE CASCADE,"
    "  prompt TEXT NOT NULL,"
    "  answer TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE feedback ("
    "  id TEXT PRIMARY KEY REFERENCES request (id) ON DELETE CASCADE,"
    "  wall_ms INTEGER NOT NULL,"
    "  score REAL NOT NULL,"
    "  note TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE machine_day ("
    "  day INTEGER NOT NULL," // days since 1970-01-01, UTC
    "  source TEXT NOT NULL,"
    "  measured_j REAL NOT NULL,"
    "  shared_j REAL NOT NULL,"
    "  idle_j REAL NOT NULL,"
    "  busy_s REAL NOT NULL,"
    "  idle_s REAL NOT NULL,"
    "  gap_s REAL NOT NULL,"
    "  PRIMARY KEY (day, source)"
    ") STRICT, WITHOUT ROWID;"
    "PRAGMA application_id = " TEXT(APPLICATION_ID) ";"
                                                    "PRAGMA user_version = 1;";

static const char *const MIGRATIONS[][SCHEMA_MAX_PARTS] = {{VERSION_1, NULL}};
_Static_assert(sizeof MIGRATIONS / sizeof MIGRATIONS[0] == LEDGER_SCHEMA_VERSION,
               "one migration per version");

const struct store_schema LEDGER_SCHEMA = {
    .title = "ledger",
    .application_id = APPLICATION_ID,
    .version = LEDGER_SCHEMA_VERSION,
    .migrations = MIGRATIONS,
    .made_by = "wattlaw serve",
};
