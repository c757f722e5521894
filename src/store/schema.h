// Inside the store only: what tables a kind of file has, and how older files get them.
#ifndef WATTLAW_STORE_SCHEMA_H
#define WATTLAW_STORE_SCHEMA_H

#include <stdint.h>

#include "store/store.h"

enum { SCHEMA_MAX_PARTS = 2 };

struct store_schema {
    const char *title;      // "store": for messages
    int32_t application_id; // in the file's header
    int64_t version;        // that the program reads and writes
    // migrations[v] brings version v to v + 1, in up to SCHEMA_MAX_PARTS texts (ISO C limits the
    // length of a literal). The last one sets user_version.
    const char *const (*migrations)[SCHEMA_MAX_PARTS];
    const char *made_by; // the command that makes and migrates such a file
};

extern const struct store_schema STORE_SCHEMA;  // schema_study.c
extern const struct store_schema LEDGER_SCHEMA; // schema_ledger.c

// store_open for another kind of file.
enum wl_status store_open_as(const struct store_schema *schema, const char *path,
                             enum store_mode mode, struct store **out, struct wl_err *err);
// Brings the tables to the schema's version.
enum wl_status store_migrate(struct store *store, struct wl_err *err);
// INPUT unless the file's tables are exactly those that the migrations make.
enum wl_status store_check_tables(struct store *store, struct wl_err *err);

#endif
