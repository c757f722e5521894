#include "store/store_idle.h"

#include <stdlib.h>
#include <string.h>

#include "store/sample_rows.h"
#include "store/statement.h"

void store_idle_free_list(struct store_idle *idles, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free(idles[i].doc_json);
    }
    free(idles);
}

static enum wl_status add_row(struct store *store, struct store_idle *idle, struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(
        &s, store,
        "INSERT INTO idle (study_id, wall_ns, t0_ns, t1_ns, cpu_pct_mean, cpu_pct_sd, "
        "flags, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        "storing an idle baseline", err);
    if (status == WL_OK) {
        statement_put_i64(&s, idle->study_id);
        statement_put_i64(&s, idle->wall_ns);
        statement_put_i64(&s, idle->t0_ns);
        statement_put_i64(&s, idle->t1_ns);
        statement_put_real(&s, idle->cpu_pct_mean);
        statement_put_real(&s, idle->cpu_pct_sd);
        statement_put_i64(&s, idle->flags);
        status = statement_put_json(&s, "doc", idle->doc_json, "{}", err);
    }
    if (status == WL_OK) {
        status = statement_run(&s, err);
    }
    statement_close(&s);
    idle->id = status == WL_OK ? sqlite3_last_insert_rowid(store->db) : 0;
    return status;
}

static enum wl_status add_powers(struct store *store, const struct store_idle *idle,
                                 struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(
        &s, store,
        "INSERT INTO idle_power (idle_id, seq, source, mean_w, sd_w) VALUES (?, ?, ?, ?, ?)",
        "storing idle power", err);
    for (uint32_t i = 0; i < idle->n_powers && i < RECORD_MAX_ENERGIES && status == WL_OK; i++) {
        statement_put_i64(&s, idle->id);
        statement_put_i64(&s, i);
        statement_put_text(&s, idle->power[i].source);
        statement_put_real(&s, idle->power[i].mean_w);
        statement_put_real(&s, idle->power[i].sd_w);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

enum wl_status store_idle_add(struct store *store, struct store_idle *idle,
                              const struct store_sample *samples, size_t n_samples,
                              struct wl_err *err) {
    enum wl_status status = store_begin(store, err);
    if (status != WL_OK) {
        return status;
    }
    status = add_row(store, idle, err);
    if (status == WL_OK) {
        status = add_powers(store, idle, err);
    }
    if (status == WL_OK && n_samples > 0) {
        status = sample_rows_add(store, SAMPLE_INSERT_IDLE, idle->id, samples, n_samples, err);
    }
    status = store_end(store, status, err);
    if (status != WL_OK) {
        idle->id = 0;
    }
    return status;
}

static enum wl_status read_row(struct statement *s, void *item, struct wl_err *err) {
    struct store_idle *out = item;
    memset(out, 0, sizeof *out);
    out->id = statement_i64(s);
    out->study_id = statement_i64(s);
    out->wall_ns = statement_i64(s);
    out->t0_ns = statement_i64(s);
    out->t1_ns = statement_i64(s);
    out->cpu_pct_mean = statement_real(s);
    out->cpu_pct_sd = statement_real(s);
    out->flags = statement_u32(s);
    out->doc_json = statement_text(s);
    return out->doc_json ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory to read an idle baseline");
}

static enum wl_status read_powers(struct store *store, struct store_idle *idle,
                                  struct wl_err *err) {
    struct statement s;
    bool has_row = true;
    enum wl_status status = statement_open(
        &s, store, "SELECT source, mean_w, sd_w FROM idle_power WHERE idle_id = ? ORDER BY seq",
        "reading idle power", err);
    if (status == WL_OK) {
        statement_put_i64(&s, idle->id);
    }
    while (status == WL_OK && idle->n_powers < RECORD_MAX_ENERGIES) {
        status = statement_next(&s, &has_row, err);
        if (status != WL_OK || !has_row) {
            break;
        }
        struct store_idle_power *power = &idle->power[idle->n_powers++];
        statement_name(&s, power->source, sizeof power->source);
        power->mean_w = statement_real(&s);
        power->sd_w = statement_real(&s);
    }
    statement_close(&s);
    return status;
}

static enum wl_status read_rows(struct store *store, int64_t study_id, struct store_idle **out,
                                size_t *n, struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(
        &s, store,
        "SELECT id, study_id, wall_ns, t0_ns, t1_ns, cpu_pct_mean, cpu_pct_sd, flags, "
        "doc FROM idle WHERE study_id = ? ORDER BY wall_ns, id",
        "reading idle baselines", err);
    if (status == WL_OK) {
        statement_put_i64(&s, study_id);
        status = statement_read_all(&s, read_row, sizeof **out, (void **)out, n, err);
    }
    statement_close(&s);
    return status;
}

enum wl_status store_idle_list(struct store *store, int64_t study_id, struct store_idle **out,
                               size_t *n, struct wl_err *err) {
    *out = NULL;
    *n = 0;
    enum wl_status status = read_rows(store, study_id, out, n, err);
    for (size_t i = 0; i < *n && status == WL_OK; i++) {
        status = read_powers(store, *out + i, err);
    }
    if (status != WL_OK) {
        store_idle_free_list(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return status;
}
