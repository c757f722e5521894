#include "store/store_sample.h"

#include <math.h>
#include <stdlib.h>

#include "store/sample_rows.h"
#include "store/statement.h"

void store_sample_init(struct store_sample *sample) {
    *sample = (struct store_sample){.cpu_ns = STORE_ABSENT,
                                    .pss_kib = STORE_ABSENT,
                                    .rss_kib = STORE_ABSENT,
                                    .machine_busy_ticks = STORE_ABSENT,
                                    .machine_total_ticks = STORE_ABSENT,
                                    .steal_ticks = STORE_ABSENT,
                                    .freq_mhz = NAN,
                                    .temp_c = NAN,
                                    .joules = NAN};
}

static void put_sample(struct statement *s, const struct store_sample *sample) {
    statement_put_i64(s, sample->t_ns);
    statement_put_optional(s, sample->cpu_ns);
    statement_put_optional(s, sample->pss_kib);
    statement_put_optional(s, sample->rss_kib);
    statement_put_optional(s, sample->machine_busy_ticks);
    statement_put_optional(s, sample->machine_total_ticks);
    statement_put_optional(s, sample->steal_ticks);
    statement_put_real(s, sample->freq_mhz);
    statement_put_real(s, sample->temp_c);
    statement_put_real(s, sample->joules);
}

enum wl_status sample_rows_add(struct store *store, const char *insert_sql, int64_t owner_id,
                               const struct store_sample *samples, size_t n, struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(&s, store, insert_sql, "storing samples", err);
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        statement_put_i64(&s, owner_id);
        statement_put_i64(&s, (int64_t)i);
        put_sample(&s, &samples[i]);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

static enum wl_status read_sample(struct statement *s, void *item, struct wl_err *err) {
    struct store_sample *out = item;
    (void)err;
    out->t_ns = statement_i64(s);
    out->cpu_ns = statement_optional(s);
    out->pss_kib = statement_optional(s);
    out->rss_kib = statement_optional(s);
    out->machine_busy_ticks = statement_optional(s);
    out->machine_total_ticks = statement_optional(s);
    out->steal_ticks = statement_optional(s);
    out->freq_mhz = statement_real(s);
    out->temp_c = statement_real(s);
    out->joules = statement_real(s);
    return WL_OK;
}

static enum wl_status list(struct store *store, const char *sql, int64_t owner_id,
                           struct store_sample **out, size_t *n, struct wl_err *err) {
    struct statement s;
    *out = NULL;
    *n = 0;
    enum wl_status status = statement_open(&s, store, sql, "reading samples", err);
    if (status == WL_OK) {
        statement_put_i64(&s, owner_id);
        status = statement_read_all(&s, read_sample, sizeof **out, (void **)out, n, err);
    }
    statement_close(&s);
    if (status != WL_OK) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return status;
}

enum wl_status store_sample_list_record(struct store *store, int64_t record_id,
                                        struct store_sample **out, size_t *n, struct wl_err *err) {
    return list(store,
                "SELECT " SAMPLE_COLUMNS " FROM record_sample WHERE record_id = ? ORDER BY seq",
                record_id, out, n, err);
}

enum wl_status store_sample_list_idle(struct store *store, int64_t idle_id,
                                      struct store_sample **out, size_t *n, struct wl_err *err) {
    return list(store, "SELECT " SAMPLE_COLUMNS " FROM idle_sample WHERE idle_id = ? ORDER BY seq",
                idle_id, out, n, err);
}
