// The gateway's ledger: one row for each request that it has answered or refused, in an SQLite file
// of its own. Every write is durable against the end of the process when the call returns (against
// a power cut up to the last few seconds: see ledger_open). One struct store belongs to one thread.
#ifndef WATTLAW_STORE_LEDGER_H
#define WATTLAW_STORE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

enum {
    LEDGER_SCHEMA_VERSION = 1,
    LEDGER_ID_BYTES = 40,
    LEDGER_NAME_BYTES = 64,
    LEDGER_MODEL_BYTES = 256,
    LEDGER_ERROR_BYTES = 256,
    LEDGER_ABSENT = -1
};

// What became of a request.
enum ledger_end {
    LEDGER_ANSWERED, // whole
    LEDGER_BUDGET,   // stopped at its time or joules
    LEDGER_CLIENT_LEFT,
    LEDGER_UPSTREAM_DIED,
    LEDGER_REFUSED,       // nothing was computed
    LEDGER_GATEWAY_ENDED, // it was stopped and did not wait longer
    LEDGER_N_ENDS
};
const char *ledger_end_name(enum ledger_end end); // "answered"

// Numbers are LEDGER_ABSENT, reals NaN where they are not known.
struct ledger_row {
    char id[LEDGER_ID_BYTES];    // unique
    int64_t begin_wall_ms;       // Unix time
    char key[LEDGER_NAME_BYTES]; // name of the API key; "" without keys
    char model[LEDGER_MODEL_BYTES];
    char endpoint[LEDGER_NAME_BYTES]; // "chat", "completion", "embedding", "canary"
    int http_status;
    enum ledger_end end;
    bool is_stream;
    int64_t prompt_tokens, cached_tokens, completion_tokens;
    int64_t n_images, pixels_in,
        pixels_out; // of the pictures as they came and as they were passed on
    int64_t n_turns_dropped;
    double wait_s, first_s, total_s; // in the queue; to the first piece; all of it
    double gross_j, gross_sd_j, net_j, net_sd_j;
    char source[LEDGER_NAME_BYTES], scope[LEDGER_NAME_BYTES], label[LEDGER_NAME_BYTES];
    int64_t n_shared;
    char error[LEDGER_ERROR_BYTES]; // "" without
    const char *prompt, *answer;    // NULL: not kept (the default)
};

// store_open for a ledger. For writing: WAL with synchronous = NORMAL, since a row for each request
// is not worth a write to the disk each; a kill -9 loses nothing, a power cut the last seconds.
enum wl_status ledger_open(const char *path, enum store_mode mode, struct store **out,
                           struct wl_err *err);

// All or none of them.
enum wl_status ledger_add(struct store *ledger, const struct ledger_row *rows, size_t n,
                          struct wl_err *err);

enum wl_status ledger_has(struct store *ledger, const char *id, bool *out, struct wl_err *err);

// Energy that was an estimate when its row was added: gross_j, gross_sd_j, net_j, net_sd_j, label
// and n_shared take the place of those; of the rest only the ids are read. All or none; rows that
// are not there are passed over.
enum wl_status ledger_settle(struct store *ledger, const struct ledger_row *rows, size_t n,
                             struct wl_err *err);

// A user's opinion of an answer; the last one counts. NOT_FOUND.
enum wl_status ledger_add_feedback(struct store *ledger, const char *id, double score,
                                   const char *note, int64_t wall_ms, struct wl_err *err);

// What a key has used since a time: for budgets after a restart.
struct ledger_use {
    int64_t n_requests, tokens;
    double gross_wh;
};
enum wl_status ledger_use_since(struct store *ledger, const char *key, int64_t wall_ms,
                                struct ledger_use *out, struct wl_err *err);

struct ledger_summary {
    char name[LEDGER_MODEL_BYTES]; // of the key or model
    int64_t n_requests, n_answered, prompt_tokens, completion_tokens;
    double gross_wh;
    double net_wh; // NaN where the net energy of one of them is not known
};
enum ledger_group { LEDGER_BY_KEY, LEDGER_BY_MODEL, LEDGER_BY_DAY };
// Rows of a key (NULL: of all) from from_ms to before to_ms, most gross Wh first (days by date,
// UTC). *out is malloc'd.
enum wl_status ledger_summarise(struct store *ledger, enum ledger_group group, const char *key,
                                int64_t from_ms, int64_t to_ms, struct ledger_summary **out,
                                size_t *n, struct wl_err *err);

// Removes at most max_rows (negative: all) of the rows that began before, the oldest first, with
// their texts and feedback; returns how many went.
enum wl_status ledger_forget(struct store *ledger, int64_t before_wall_ms, int64_t max_rows,
                             int64_t *n_gone, struct wl_err *err);

// What was idle and what was measured in all, added to its day (UTC).
struct ledger_machine {
    double measured_j, shared_j, idle_j, busy_s, idle_s, gap_s;
};
enum wl_status ledger_add_machine(struct store *ledger, int64_t wall_ms, const char *source,
                                  const struct ledger_machine *more, struct wl_err *err);

// Of all days that have a part in from_ms to before to_ms, and of all sources.
enum wl_status ledger_sum_machine(struct store *ledger, int64_t from_ms, int64_t to_ms,
                                  struct ledger_machine *out, struct wl_err *err);

#endif
