// The tables of studies and how older files get them. A new version is one more string at the end
// of MIGRATIONS, never a change to an earlier one: files out there were made by those. JSON is
// checked in C (statement_put_json): SQLite 3.40 does not let an untrusted schema call
// json_valid().
#include <stddef.h>

#include "store/schema.h"

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

static const char *const MIGRATIONS[][SCHEMA_MAX_PARTS] = {
    {VERSION_1_RECORDS, VERSION_1_REST}, {VERSION_2, NULL}, {VERSION_3, NULL}};
_Static_assert(sizeof MIGRATIONS / sizeof MIGRATIONS[0] == STORE_SCHEMA_VERSION,
               "one migration per version");

const struct store_schema STORE_SCHEMA = {
    .title = "store",
    .application_id = APPLICATION_ID,
    .version = STORE_SCHEMA_VERSION,
    .migrations = MIGRATIONS,
    .made_by = "wattlaw study",
};
