// Inside the store only: a prepared statement whose parameters and columns are used in order, and
// the one place where SQLite's result codes become our statuses and messages.
#ifndef WATTLAW_STORE_STATEMENT_H
#define WATTLAW_STORE_STATEMENT_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

struct store {
    const struct store_schema *schema;
    sqlite3 *db;
    char *path;
};

struct statement {
    struct store *store;
    sqlite3_stmt *stmt;
    const char *what; // "storing a record": for messages
    int n_put;
    int n_got;
    int rc; // first failure of a put
};

// The message names the store, what was being done, and the next step.
enum wl_status store_fail(const struct store *store, int rc, const char *what, struct wl_err *err);

// `what` must outlive the statement. Close it also after a failure.
enum wl_status statement_open(struct statement *s, struct store *store, const char *sql,
                              const char *what, struct wl_err *err);
void statement_close(struct statement *s);

// Bind the next parameter. Failures are kept and reported by the run or next that follows.
void statement_put_i64(struct statement *s, int64_t value);
void statement_put_real(struct statement *s, double value);      // not finite: NULL
void statement_put_text(struct statement *s, const char *text);  // NULL: NULL
void statement_put_optional(struct statement *s, int64_t value); // STORE_ABSENT: NULL
// INPUT, at once and naming `which`, unless the text is JSON. NULL puts `fallback`.
enum wl_status statement_put_json(struct statement *s, const char *which, const char *json,
                                  const char *fallback, struct wl_err *err);

// Runs to the end (no rows expected) and makes it ready for the next puts.
enum wl_status statement_run(struct statement *s, struct wl_err *err);
// Steps to the next row; *has_row is false at the end.
enum wl_status statement_next(struct statement *s, bool *has_row, struct wl_err *err);

// The next column of the row. Values of a wrong type or range are converted or clamped, never
// trusted: the file may come from anybody.
int64_t statement_i64(struct statement *s);
int64_t statement_optional(struct statement *s); // STORE_ABSENT for NULL
uint32_t statement_u32(struct statement *s);     // clamped
double statement_real(struct statement *s);      // NaN for NULL
void statement_name(struct statement *s, char *out, size_t size);
// A copy for the caller to free, "" for NULL. NULL only without memory.
char *statement_text(struct statement *s);

// A write transaction that holds the store from its beginning; end commits when `status` is OK and
// rolls back otherwise, and returns the status that results.
enum wl_status store_begin(struct store *store, struct wl_err *err);
enum wl_status store_end(struct store *store, enum wl_status status, struct wl_err *err);

// Adds every row that is left to an array of *n items that was only grown here; `read` fills one
// item and leaves nothing in it when it fails. After a failure the items so far are the caller's.
typedef enum wl_status statement_read(struct statement *s, void *item, struct wl_err *err);
enum wl_status statement_read_all(struct statement *s, statement_read *read, size_t item_bytes,
                                  void **items, size_t *n, struct wl_err *err);

// Makes room for item number n in an array that holds n items and was only grown here.
enum wl_status store_grow(void **items, size_t n, size_t item_bytes, struct wl_err *err);

#endif
