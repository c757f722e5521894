#include <stdlib.h>
#include <string.h>

#include "store/statement.h"
#include "store/store_study.h"

void store_model_release(struct store_model *model) {
    free(model->label);
    free(model->path);
    free(model->hash);
    free(model->describe_json);
    memset(model, 0, sizeof *model);
}

void store_model_free_list(struct store_model *models, size_t n) {
    for (size_t i = 0; i < n; i++) {
        store_model_release(&models[i]);
    }
    free(models);
}

enum wl_status store_model_add(struct store *store, struct store_model *model, struct wl_err *err) {
    struct statement s;
    if (model->file_bytes > INT64_MAX) {
        return wl_err_set(err, WL_INPUT, "model '%s': impossible file size", model->label);
    }
    enum wl_status status = statement_open(
        &s, store,
        "INSERT INTO model (study_id, role, label, path, file_bytes, hash, describe) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        "storing the model", err);
    if (status == WL_OK) {
        statement_put_i64(&s, model->study_id);
        statement_put_text(&s, model->role);
        statement_put_text(&s, model->label ? model->label : "");
        statement_put_text(&s, model->path ? model->path : "");
        statement_put_i64(&s, (int64_t)model->file_bytes);
        statement_put_text(&s, model->hash ? model->hash : "");
        status = statement_put_json(&s, "describe", model->describe_json, "{}", err);
    }
    if (status == WL_OK) {
        status = statement_run(&s, err);
    }
    statement_close(&s);
    if (status == WL_OK) {
        model->id = sqlite3_last_insert_rowid(store->db);
    }
    return status;
}

static enum wl_status read_model(struct statement *s, void *item, struct wl_err *err) {
    struct store_model *out = item;
    memset(out, 0, sizeof *out);
    out->id = statement_i64(s);
    out->study_id = statement_i64(s);
    statement_name(s, out->role, sizeof out->role);
    out->label = statement_text(s);
    out->path = statement_text(s);
    int64_t file_bytes = statement_i64(s);
    out->file_bytes = file_bytes > 0 ? (uint64_t)file_bytes : 0;
    out->hash = statement_text(s);
    out->describe_json = statement_text(s);
    if (!out->label || !out->path || !out->hash || !out->describe_json) {
        store_model_release(out);
        return wl_err_set(err, WL_MEMORY, "no memory to read a model");
    }
    return WL_OK;
}

enum wl_status store_model_list(struct store *store, int64_t study_id, struct store_model **out,
                                size_t *n, struct wl_err *err) {
    struct statement s;
    *out = NULL;
    *n = 0;
    enum wl_status status =
        statement_open(&s, store,
                       "SELECT id, study_id, role, label, path, file_bytes, hash, describe "
                       "FROM model WHERE study_id = ? ORDER BY role", // 'base' < 'vs'
                       "reading the models", err);
    if (status == WL_OK) {
        statement_put_i64(&s, study_id);
        status = statement_read_all(&s, read_model, sizeof **out, (void **)out, n, err);
    }
    statement_close(&s);
    if (status != WL_OK) {
        store_model_free_list(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return status;
}
