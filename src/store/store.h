// The store: one SQLite file that keeps studies, models, records, raw samples, idle baselines and
// fits. This header opens and closes it; what it keeps is in the store_*.h beside it, one question
// each. Every write is durable when the call returns: after a kill -9 or a power cut the file opens
// and holds all that was acknowledged. One struct store belongs to one thread.
#ifndef WATTLAW_STORE_STORE_H
#define WATTLAW_STORE_STORE_H

#include <stdint.h>

#include "base/err.h"

struct store;

enum store_mode {
    STORE_READ_ONLY,        // own file or one that somebody sent: checked whole, limits lowered
    STORE_READ_WRITE_CREATE // made if absent, migrated to this version's tables
};

enum {
    STORE_SCHEMA_VERSION = 3,
    STORE_BUSY_MS = 2000,            // how long a write waits for another process
    STORE_MAX_TEXT_BYTES = 16 << 20, // one text or JSON value
    STORE_MAX_ROWS = 4 << 20,        // rows one call returns
};

// *out is NULL on failure. The folder must exist.
// NOT_FOUND: read-only and no such file. INPUT: not a SQLite file, not a wattlaw store, tables
// altered, damaged (the message says where and what to do). UNSUPPORTED: written by a newer
// version, or read-only and needs a migration. PERMISSION, BUSY, IO.
enum wl_status store_open(const char *path, enum store_mode mode, struct store **out,
                          struct wl_err *err);
void store_close(struct store *store); // NULL is legal
const char *store_path(const struct store *store);

// The whole file against its own checks (integrity_check, foreign_key_check); INPUT when damaged.
enum wl_status store_check(struct store *store, struct wl_err *err);

#endif
