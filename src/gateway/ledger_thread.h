// The ledger's own thread: rows come from the loop, many are written in one transaction, and the
// loop hears when its row is safe. Nothing of the loop waits for the disk.
#ifndef WATTLAW_GATEWAY_LEDGER_THREAD_H
#define WATTLAW_GATEWAY_LEDGER_THREAD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "store/ledger.h"

struct ledger_thread;

struct ledger_thread_options {
    uv_loop_t *loop;
    const char *path;       // made when it is not there
    int64_t retention_days; // older rows are removed, some at a time; 0: kept for ever
    int64_t retry_ms;       // after a write that failed; 0: 1000
    // One line for the log, on the loop (or from within the close); may be NULL.
    void (*on_log)(void *context, const char *line);
    void *context;
};

// Opens the file (and brings it up to date) before it returns; failures as ledger_open.
enum wl_status ledger_thread_open(const struct ledger_thread_options *options,
                                  struct ledger_thread **out, struct wl_err *err);
// Writes what waits, gives up after 3 s of failures (on_log says how many rows are lost), ends the
// thread. Blocks for so long. Orders of ledger_thread_ask that wait end with INTERRUPTED.
void ledger_thread_close(struct ledger_thread *ledger);

// A row that is to be written. `row` is copied (with its texts). on_safe comes on the loop, never
// from within: true when it is in the file; false when the file could not be written now: the row
// is kept and tried again until it is in the file, on_safe does not come again. NULL: not wanted.
// A row whose id is in the file already is dropped, with a line for the log.
// LIMIT: too many rows (or too long texts) wait: it is not taken.
enum { LEDGER_MAX_WAITING = 20000, LEDGER_MAX_WAITING_TEXT_BYTES = 256 << 20 };
enum wl_status ledger_thread_add(struct ledger_thread *ledger, const struct ledger_row *row,
                                 void (*on_safe)(void *context, bool is_written), void *context,
                                 struct wl_err *err);
// The energy of a row that was added with an estimate (ledger_settle), written behind the row:
// after LEDGER_SETTLE_MS, many at once, since nobody waits for it, or before an order. Kept while
// the file cannot be written.
enum { LEDGER_SETTLE_MS = 100 };
void ledger_thread_settle(struct ledger_thread *ledger, const struct ledger_row *row);
// The same for the machine's account (ledger_add_machine), without an answer: written after
// LEDGER_MACHINE_MS, or before an order. Sums are kept while the file cannot be written.
enum { LEDGER_MACHINE_MS = 10000 };
void ledger_thread_add_machine(struct ledger_thread *ledger, int64_t wall_ms, const char *source,
                               const struct ledger_machine *more);

struct ledger_health {
    bool is_failing;  // the last write failed
    size_t n_waiting; // rows
    uint64_t n_written, n_failures;
    char problem[256];
};
void ledger_thread_health(const struct ledger_thread *ledger, struct ledger_health *out);

// A question or a change, worked at on the thread after the rows that wait: `ask` gets the ledger
// and returns its status; `on_done` comes on the loop. An order stays where it is until then. While
// the file cannot be written orders are worked at all the same: what only reads succeeds.
struct ledger_order {
    enum wl_status (*ask)(struct ledger_order *order, struct store *ledger, struct wl_err *err);
    void (*on_done)(struct ledger_order *order, enum wl_status status, const struct wl_err *err);
    struct wl_err err;
    enum wl_status status;
    struct ledger_order *next;
};
void ledger_thread_ask(struct ledger_thread *ledger, struct ledger_order *order);

#endif
