#include "store/store_fit.h"

#include <stdlib.h>
#include <string.h>

#include "store/statement.h"

void store_fit_free_list(struct store_fit *fits, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free(fits[i].metric);
        free(fits[i].json);
    }
    free(fits);
}

enum wl_status store_fit_put(struct store *store, int64_t study_id, int64_t model_id,
                             const char *metric, const char *json, struct wl_err *err) {
    struct statement s;
    enum wl_status status =
        statement_open(&s, store,
                       "INSERT INTO fit (study_id, model_id, metric, json) VALUES (?, ?, ?, ?) "
                       "ON CONFLICT (model_id, metric) DO UPDATE SET json = excluded.json",
                       "storing a fit", err);
    if (status == WL_OK) {
        statement_put_i64(&s, study_id);
        statement_put_i64(&s, model_id);
        statement_put_text(&s, metric);
        status = statement_put_json(&s, metric, json, "{}", err);
    }
    if (status == WL_OK) {
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

static enum wl_status read_fit(struct statement *s, void *item, struct wl_err *err) {
    struct store_fit *out = item;
    out->study_id = statement_i64(s);
    out->model_id = statement_i64(s);
    char *metric = statement_text(s);
    char *json = statement_text(s);
    if (!metric || !json) {
        free(metric);
        free(json);
        return wl_err_set(err, WL_MEMORY, "no memory to read a fit");
    }
    out->metric = metric; // only now: what a failure frees must not stay in the list
    out->json = json;
    return WL_OK;
}

enum wl_status store_fit_list(struct store *store, int64_t study_id, struct store_fit **out,
                              size_t *n, struct wl_err *err) {
    struct statement s;
    *out = NULL;
    *n = 0;
    enum wl_status status =
        statement_open(&s, store,
                       "SELECT study_id, model_id, metric, json FROM fit WHERE study_id = ? "
                       "ORDER BY model_id, metric",
                       "reading fits", err);
    if (status == WL_OK) {
        statement_put_i64(&s, study_id);
        status = statement_read_all(&s, read_fit, sizeof **out, (void **)out, n, err);
    }
    statement_close(&s);
    if (status != WL_OK) {
        store_fit_free_list(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return status;
}
