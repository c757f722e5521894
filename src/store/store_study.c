#include "store/store_study.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "store/statement.h"

static const char *const STATES[] = {"running", "done", "interrupted"};

const char *store_study_state_name(enum store_study_state state) {
    return state <= STORE_STUDY_INTERRUPTED ? STATES[state] : "unknown";
}

static enum store_study_state state_by_name(const char *name) {
    for (unsigned i = 0; i < sizeof STATES / sizeof STATES[0]; i++) {
        if (strcmp(STATES[i], name) == 0) {
            return (enum store_study_state)i;
        }
    }
    return STORE_STUDY_INTERRUPTED;
}

void store_study_release(struct store_study *study) {
    free(study->title);
    free(study->options_json);
    free(study->machine_json);
    free(study->meters_json);
    free(study->engine_json);
    memset(study, 0, sizeof *study);
}

void store_study_free_list(struct store_study *studies, size_t n) {
    for (size_t i = 0; i < n; i++) {
        store_study_release(&studies[i]);
    }
    free(studies);
}

// Version 4: 122 random bits.
static void make_uuid(char out[STORE_UUID_BYTES]) {
    unsigned char b[16];
    sqlite3_randomness(sizeof b, b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out, STORE_UUID_BYTES,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

static enum wl_status put_texts(struct statement *s, const struct store_study *study,
                                struct wl_err *err) {
    enum wl_status status = statement_put_json(s, "options", study->options_json, "{}", err);
    if (status == WL_OK) {
        status = statement_put_json(s, "machine", study->machine_json, "{}", err);
    }
    if (status == WL_OK) {
        status = statement_put_json(s, "meters", study->meters_json, "[]", err);
    }
    if (status == WL_OK) {
        status = statement_put_json(s, "engine", study->engine_json, "{}", err);
    }
    return status;
}

enum wl_status store_study_create(struct store *store, struct store_study *study,
                                  struct wl_err *err) {
    struct statement s;
    if (study->uuid[0] == '\0') {
        make_uuid(study->uuid);
    }
    enum wl_status status = statement_open(&s, store,
                                           "INSERT INTO study (uuid, title, created_wall_ns, seed, "
                                           "options, machine, meters, engine, state) "
                                           "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                                           "storing the study", err);
    if (status == WL_OK) {
        statement_put_text(&s, study->uuid);
        statement_put_text(&s, study->title ? study->title : "");
        statement_put_i64(&s, study->created_wall_ns);
        statement_put_i64(&s, (int64_t)study->seed);
        status = put_texts(&s, study, err);
    }
    if (status == WL_OK) {
        statement_put_text(&s, store_study_state_name(study->state));
        status = statement_run(&s, err);
    }
    statement_close(&s);
    if (status == WL_OK) {
        study->id = sqlite3_last_insert_rowid(store->db);
    }
    return status;
}

static enum wl_status not_found(const struct store *store, const char *what, struct wl_err *err) {
    return wl_err_set(err, WL_NOT_FOUND,
                      "store '%s' has no study %s: `wattlaw report --list` shows those it has",
                      store->path, what);
}

static enum wl_status no_such_id(const struct store *store, int64_t study_id, struct wl_err *err) {
    char name[32];
    snprintf(name, sizeof name, "%lld", (long long)study_id);
    return not_found(store, name, err);
}

// Binds the id as the last parameter and runs; the statement must touch a row.
static enum wl_status run_on_id(struct statement *s, int64_t study_id, struct wl_err *err) {
    statement_put_i64(s, study_id);
    enum wl_status status = statement_run(s, err);
    if (status == WL_OK && sqlite3_changes(s->store->db) == 0) {
        status = no_such_id(s->store, study_id, err);
    }
    return status;
}

enum wl_status store_study_set_state(struct store *store, int64_t study_id,
                                     enum store_study_state state, struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(&s, store, "UPDATE study SET state = ? WHERE id = ?",
                                           "updating the study", err);
    if (status == WL_OK) {
        statement_put_text(&s, store_study_state_name(state));
        status = run_on_id(&s, study_id, err);
    }
    statement_close(&s);
    return status;
}

static const char *update_of(const char *which) {
    static const char *const ROWS[][2] = {
        {"options", "UPDATE study SET options = ? WHERE id = ?"},
        {"machine", "UPDATE study SET machine = ? WHERE id = ?"},
        {"meters", "UPDATE study SET meters = ? WHERE id = ?"},
        {"engine", "UPDATE study SET engine = ? WHERE id = ?"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        if (strcmp(ROWS[i][0], which) == 0) {
            return ROWS[i][1];
        }
    }
    return NULL;
}

enum wl_status store_study_set_json(struct store *store, int64_t study_id, const char *which,
                                    const char *json, struct wl_err *err) {
    struct statement s;
    const char *sql = update_of(which);
    if (!sql) {
        return wl_err_set(err, WL_USAGE, "a study has no JSON text '%s'", which);
    }
    enum wl_status status = statement_open(&s, store, sql, "updating the study", err);
    if (status == WL_OK) {
        status = statement_put_json(&s, which, json, "{}", err);
    }
    if (status == WL_OK) {
        status = run_on_id(&s, study_id, err);
    }
    statement_close(&s);
    return status;
}

enum wl_status store_study_delete(struct store *store, int64_t study_id, struct wl_err *err) {
    struct statement s;
    enum wl_status status =
        statement_open(&s, store, "DELETE FROM study WHERE id = ?", "deleting the study", err);
    if (status == WL_OK) {
        status = run_on_id(&s, study_id, err);
    }
    statement_close(&s);
    return status;
}

#define SELECT_STUDY                                                                               \
    "SELECT id, uuid, title, created_wall_ns, seed, options, machine, meters, engine, state, "     \
    "(SELECT count(*) FROM model WHERE study_id = study.id), "                                     \
    "(SELECT count(*) FROM record JOIN model ON model.id = record.model_id "                       \
    " WHERE model.study_id = study.id) FROM study "

static enum wl_status read_study(struct statement *s, void *item, struct wl_err *err) {
    struct store_study *out = item;
    char state[16];
    memset(out, 0, sizeof *out);
    out->id = statement_i64(s);
    statement_name(s, out->uuid, sizeof out->uuid);
    out->title = statement_text(s);
    out->created_wall_ns = statement_i64(s);
    out->seed = (uint64_t)statement_i64(s);
    out->options_json = statement_text(s);
    out->machine_json = statement_text(s);
    out->meters_json = statement_text(s);
    out->engine_json = statement_text(s);
    statement_name(s, state, sizeof state);
    out->state = state_by_name(state);
    out->n_models = statement_u32(s);
    out->n_records = statement_u32(s);
    if (!out->title || !out->options_json || !out->machine_json || !out->meters_json ||
        !out->engine_json) {
        store_study_release(out);
        return wl_err_set(err, WL_MEMORY, "no memory to read a study");
    }
    return WL_OK;
}

// The statement's only row; `name` is for the message when there is none.
static enum wl_status read_one(struct statement *s, const char *name, struct store_study *out,
                               struct wl_err *err) {
    bool has_row;
    enum wl_status status = statement_next(s, &has_row, err);
    if (status != WL_OK) {
        return status;
    }
    return has_row ? read_study(s, out, err) : not_found(s->store, name, err);
}

enum wl_status store_study_find_id(struct store *store, int64_t study_id, struct store_study *out,
                                   struct wl_err *err) {
    struct statement s;
    char name[32];
    memset(out, 0, sizeof *out);
    snprintf(name, sizeof name, "%lld", (long long)study_id);
    enum wl_status status =
        statement_open(&s, store, SELECT_STUDY "WHERE id = ?", "reading the study", err);
    if (status == WL_OK) {
        statement_put_i64(&s, study_id);
        status = read_one(&s, name, out, err);
    }
    statement_close(&s);
    return status;
}

static enum wl_status fail_if_several(struct statement *s, const char *uuid,
                                      struct store_study *out, struct wl_err *err) {
    bool has_row;
    enum wl_status status = statement_next(s, &has_row, err);
    if (status == WL_OK && has_row) {
        status = wl_err_set(err, WL_INPUT,
                            "store '%s' has several studies that begin with '%s': give more of it",
                            s->store->path, uuid);
    }
    if (status != WL_OK) {
        store_study_release(out);
    }
    return status;
}

enum wl_status store_study_find_uuid(struct store *store, const char *uuid, struct store_study *out,
                                     struct wl_err *err) {
    enum { MIN_PREFIX = 4 };
    struct statement s;
    char name[64];
    memset(out, 0, sizeof *out);
    snprintf(name, sizeof name, "'%.40s'", uuid);
    if (strlen(uuid) < MIN_PREFIX) {
        return not_found(store, name, err);
    }
    enum wl_status status =
        statement_open(&s, store, SELECT_STUDY "WHERE substr(uuid, 1, length(?1)) = ?1 LIMIT 2",
                       "reading the study", err);
    if (status == WL_OK) {
        statement_put_text(&s, uuid);
        status = read_one(&s, name, out, err);
    }
    if (status == WL_OK) {
        status = fail_if_several(&s, uuid, out, err);
    }
    statement_close(&s);
    return status;
}

enum wl_status store_study_find_latest(struct store *store, struct store_study *out,
                                       struct wl_err *err) {
    struct statement s;
    memset(out, 0, sizeof *out);
    enum wl_status status =
        statement_open(&s, store, SELECT_STUDY "ORDER BY created_wall_ns DESC, id DESC LIMIT 1",
                       "reading the study", err);
    if (status == WL_OK) {
        status = read_one(&s, "at all", out, err);
    }
    statement_close(&s);
    return status;
}

enum wl_status store_study_find(struct store *store, const char *name, struct store_study *out,
                                struct wl_err *err) {
    int64_t id;
    if (strcmp(name, "latest") == 0) {
        return store_study_find_latest(store, out, err);
    }
    // A uuid's beginning may be all digits; an id that exists wins.
    if (str_parse_i64(name, &id)) {
        enum wl_status status = store_study_find_id(store, id, out, err);
        if (status != WL_NOT_FOUND) {
            return status;
        }
    }
    return store_study_find_uuid(store, name, out, err);
}

enum wl_status store_study_list(struct store *store, struct store_study **out, size_t *n,
                                struct wl_err *err) {
    struct statement s;
    *out = NULL;
    *n = 0;
    enum wl_status status = statement_open(
        &s, store, SELECT_STUDY "ORDER BY created_wall_ns DESC, id DESC", "listing studies", err);
    if (status == WL_OK) {
        status = statement_read_all(&s, read_study, sizeof **out, (void **)out, n, err);
    }
    statement_close(&s);
    if (status != WL_OK) {
        store_study_free_list(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return status;
}
