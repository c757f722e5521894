// Inside the store only: how records and idle baselines write their raw samples.
#ifndef WATTLAW_STORE_SAMPLE_ROWS_H
#define WATTLAW_STORE_SAMPLE_ROWS_H

#include "store/store_sample.h"

// `insert_sql` is one of the two below; to be called in the owner's transaction.
enum wl_status sample_rows_add(struct store *store, const char *insert_sql, int64_t owner_id,
                               const struct store_sample *samples, size_t n, struct wl_err *err);

#define SAMPLE_COLUMNS                                                                             \
    "t_ns, cpu_ns, pss_kib, rss_kib, machine_busy_ticks, machine_total_ticks, steal_ticks, "       \
    "freq_mhz, temp_c, joules"
#define SAMPLE_INSERT_RECORD                                                                       \
    "INSERT INTO record_sample (record_id, seq, " SAMPLE_COLUMNS ") "                              \
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
#define SAMPLE_INSERT_IDLE                                                                         \
    "INSERT INTO idle_sample (idle_id, seq, " SAMPLE_COLUMNS ") "                                  \
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

#endif
