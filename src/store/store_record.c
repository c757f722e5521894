#include "store/store_record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "store/sample_rows.h"
#include "store/statement.h"

// ---- writing ----

static enum wl_status add_row(struct store *store, struct record *record, struct wl_err *err) {
    struct statement s;
    enum wl_status status =
        statement_open(&s, store,
                       "INSERT INTO record (model_id, seq, cell, repeat, prompt_tokens, "
                       "generated_tokens, n_requests, t0_ns, t1_ns, wall_ns, flags) "
                       "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                       "storing a record", err);
    if (status == WL_OK) {
        statement_put_i64(&s, record->model_id);
        statement_put_i64(&s, record->seq);
        statement_put_i64(&s, record->cell);
        statement_put_i64(&s, record->repeat);
        statement_put_i64(&s, record->prompt_tokens);
        statement_put_i64(&s, record->generated_tokens);
        statement_put_i64(&s, record->n_requests);
        statement_put_i64(&s, record->t0_ns);
        statement_put_i64(&s, record->t1_ns);
        statement_put_i64(&s, record->wall_ns);
        statement_put_i64(&s, record->flags);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    record->id = status == WL_OK ? sqlite3_last_insert_rowid(store->db) : 0;
    return status;
}

static enum wl_status add_values(struct store *store, const struct record *record,
                                 struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(
        &s, store, "INSERT INTO record_value (record_id, metric, value) VALUES (?, ?, ?)",
        "storing a record's values", err);
    for (unsigned i = 0; i < METRIC_COUNT && status == WL_OK; i++) {
        if (!isfinite(record->value[i])) {
            continue;
        }
        statement_put_i64(&s, record->id);
        statement_put_text(&s, metric_info((enum metric_id)i)->id);
        statement_put_real(&s, record->value[i]);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

static void put_energy(struct statement *s, const struct record_energy *energy) {
    statement_put_text(s, energy->source);
    statement_put_text(s, energy->scope);
    statement_put_text(s, record_label_name(energy->label));
    statement_put_real(s, energy->gross_j);
    statement_put_real(s, energy->gross_sd_j);
    statement_put_real(s, energy->net_j);
    statement_put_real(s, energy->net_sd_j);
    statement_put_real(s, energy->systematic_rel);
    statement_put_real(s, energy->coverage);
    statement_put_real(s, energy->idle_w);
    statement_put_real(s, energy->idle_sd_w);
}

static enum wl_status add_energies(struct store *store, const struct record *record,
                                   struct wl_err *err) {
    struct statement s;
    enum wl_status status =
        statement_open(&s, store,
                       "INSERT INTO record_energy (record_id, seq, source, scope, label, gross_j, "
                       "gross_sd_j, net_j, net_sd_j, systematic_rel, coverage, idle_w, idle_sd_w) "
                       "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                       "storing a record's energies", err);
    for (uint32_t i = 0; i < record->n_energies && i < RECORD_MAX_ENERGIES && status == WL_OK;
         i++) {
        statement_put_i64(&s, record->id);
        statement_put_i64(&s, i);
        put_energy(&s, &record->energy[i]);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

static enum wl_status add_phases(struct store *store, const struct record *record,
                                 struct wl_err *err) {
    struct statement s;
    enum wl_status status =
        statement_open(&s, store,
                       "INSERT INTO record_phase (record_id, seq, name, t0_ns, t1_ns, cpu_ns, "
                       "n_tokens, gross_j, net_j, duration_ns, peak_rss_bytes) "
                       "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                       "storing a record's phases", err);
    for (uint32_t i = 0; i < record->n_phases && i < RECORD_MAX_PHASES && status == WL_OK; i++) {
        const struct record_phase *phase = &record->phase[i];
        statement_put_i64(&s, record->id);
        statement_put_i64(&s, i);
        statement_put_text(&s, phase->name);
        statement_put_i64(&s, phase->t0_ns);
        statement_put_i64(&s, phase->t1_ns);
        statement_put_i64(&s, phase->cpu_ns);
        statement_put_i64(&s, phase->n_tokens);
        statement_put_real(&s, phase->gross_j);
        statement_put_real(&s, phase->net_j);
        statement_put_i64(&s, phase->duration_ns);
        statement_put_i64(&s, phase->peak_rss_bytes);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

static enum wl_status add_vision(struct store *store, const struct record *record,
                                 struct wl_err *err) {
    const struct record_vision *v = &record->vision;
    struct statement s;
    enum wl_status status =
        statement_open(&s, store,
                       "INSERT INTO record_vision (record_id, n_images, width, height, "
                       "effective_pixels, image_tokens, n_views, image_min_tokens, "
                       "image_max_tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                       "storing what a record saw", err);
    if (status == WL_OK) {
        statement_put_i64(&s, record->id);
        statement_put_i64(&s, v->n_images);
        statement_put_i64(&s, v->width);
        statement_put_i64(&s, v->height);
        statement_put_i64(&s, (int64_t)v->effective_pixels);
        statement_put_i64(&s, v->image_tokens);
        statement_put_i64(&s, v->n_views);
        statement_put_i64(&s, v->image_min_tokens);
        statement_put_i64(&s, v->image_max_tokens);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

enum wl_status store_record_add(struct store *store, struct record *record,
                                const struct store_sample *samples, size_t n_samples,
                                struct wl_err *err) {
    enum wl_status status = store_begin(store, err);
    if (status != WL_OK) {
        return status;
    }
    status = add_row(store, record, err);
    if (status == WL_OK) {
        status = add_values(store, record, err);
    }
    if (status == WL_OK) {
        status = add_energies(store, record, err);
    }
    if (status == WL_OK) {
        status = add_phases(store, record, err);
    }
    if (status == WL_OK && record->vision.n_images > 0) {
        status = add_vision(store, record, err);
    }
    if (status == WL_OK && n_samples > 0) {
        status = sample_rows_add(store, SAMPLE_INSERT_RECORD, record->id, samples, n_samples, err);
    }
    status = store_end(store, status, err);
    if (status != WL_OK) {
        record->id = 0;
    }
    return status;
}

// ---- changing the net energy, when the idle power after the runs is known ----

static enum wl_status delete_rows(struct store *store, const char *sql, int64_t record_id,
                                  struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(&s, store, sql, "renewing a record's energies", err);
    if (status == WL_OK) {
        statement_put_i64(&s, record_id);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

static enum wl_status put_flags(struct store *store, const struct record *record,
                                struct wl_err *err) {
    struct statement s;
    enum wl_status status = statement_open(&s, store, "UPDATE record SET flags = ? WHERE id = ?",
                                           "renewing a record's flags", err);
    if (status == WL_OK) {
        statement_put_i64(&s, record->flags);
        statement_put_i64(&s, record->id);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

enum wl_status store_record_renew_energies(struct store *store, const struct record *record,
                                           struct wl_err *err) {
    static const char *const DELETES[] = {"DELETE FROM record_value WHERE record_id = ?",
                                          "DELETE FROM record_energy WHERE record_id = ?",
                                          "DELETE FROM record_phase WHERE record_id = ?"};
    enum wl_status status = store_begin(store, err);
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < 3 && status == WL_OK; i++) {
        status = delete_rows(store, DELETES[i], record->id, err);
    }
    if (status == WL_OK && (status = put_flags(store, record, err)) == WL_OK &&
        (status = add_values(store, record, err)) == WL_OK &&
        (status = add_energies(store, record, err)) == WL_OK) {
        status = add_phases(store, record, err);
    }
    return store_end(store, status, err);
}

// ---- reading: the records by id first, then their rows found by binary search ----

struct record_list {
    struct record *records;
    size_t n;
};

static void read_row(struct statement *s, struct record *out) {
    record_init(out);
    out->id = statement_i64(s);
    out->model_id = statement_i64(s);
    out->seq = statement_u32(s);
    out->cell = statement_u32(s);
    out->repeat = statement_u32(s);
    out->prompt_tokens = statement_u32(s);
    out->generated_tokens = statement_u32(s);
    out->n_requests = statement_u32(s);
    out->t0_ns = statement_i64(s);
    out->t1_ns = statement_i64(s);
    out->wall_ns = statement_i64(s);
    out->flags = statement_u32(s);
}

static int by_id(const void *a, const void *b) {
    int64_t x = ((const struct record *)a)->id, y = ((const struct record *)b)->id;
    return (x > y) - (x < y);
}

static int by_seq(const void *a, const void *b) {
    const struct record *x = a, *y = b;
    int order = (x->seq > y->seq) - (x->seq < y->seq);
    return order ? order : by_id(a, b);
}

static struct record *find(const struct record_list *list, int64_t id) {
    struct record *low = list->records;
    size_t n = list->n;
    while (n > 0) {
        struct record *middle = low + n / 2;
        if (middle->id == id) {
            return middle;
        }
        if (middle->id < id) {
            low = middle + 1;
            n -= n / 2 + 1;
        } else {
            n /= 2;
        }
    }
    return NULL;
}

static enum wl_status add_to_list(struct statement *s, struct record_list *list,
                                  struct wl_err *err) {
    enum wl_status status =
        store_grow((void **)&list->records, list->n, sizeof *list->records, err);
    if (status == WL_OK) {
        read_row(s, &list->records[list->n++]);
    }
    return status;
}

static enum wl_status add_value(struct statement *s, struct record_list *list, struct wl_err *err) {
    (void)err;
    char name[64];
    struct record *record = find(list, statement_i64(s));
    statement_name(s, name, sizeof name);
    enum metric_id metric = metric_by_id(name);
    if (record && metric != METRIC_COUNT) {
        record->value[metric] = statement_real(s);
    }
    return WL_OK;
}

static enum wl_status add_energy(struct statement *s, struct record_list *list,
                                 struct wl_err *err) {
    (void)err;
    char label[16];
    struct record *record = find(list, statement_i64(s));
    if (!record || record->n_energies == RECORD_MAX_ENERGIES) {
        return WL_OK;
    }
    struct record_energy *out = &record->energy[record->n_energies++];
    statement_name(s, out->source, sizeof out->source);
    statement_name(s, out->scope, sizeof out->scope);
    statement_name(s, label, sizeof label);
    out->label = record_label_by_name(label);
    double *const fields[] = {&out->gross_j,  &out->gross_sd_j,     &out->net_j,
                              &out->net_sd_j, &out->systematic_rel, &out->coverage,
                              &out->idle_w,   &out->idle_sd_w};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        *fields[i] = statement_real(s);
    }
    return WL_OK;
}

static enum wl_status add_phase(struct statement *s, struct record_list *list, struct wl_err *err) {
    (void)err;
    struct record *record = find(list, statement_i64(s));
    if (!record || record->n_phases == RECORD_MAX_PHASES) {
        return WL_OK;
    }
    struct record_phase *out = &record->phase[record->n_phases++];
    statement_name(s, out->name, sizeof out->name);
    out->t0_ns = statement_i64(s);
    out->t1_ns = statement_i64(s);
    out->cpu_ns = statement_i64(s);
    out->n_tokens = statement_u32(s);
    out->gross_j = statement_real(s);
    out->net_j = statement_real(s);
    out->duration_ns = statement_i64(s);
    out->peak_rss_bytes = statement_i64(s);
    return WL_OK;
}

static enum wl_status add_vision_row(struct statement *s, struct record_list *list,
                                     struct wl_err *err) {
    (void)err;
    struct record *record = find(list, statement_i64(s));
    if (record) {
        struct record_vision *v = &record->vision;
        v->n_images = statement_u32(s);
        v->width = statement_u32(s);
        v->height = statement_u32(s);
        int64_t pixels = statement_i64(s);
        v->effective_pixels = pixels > 0 ? (uint64_t)pixels : 0;
        v->image_tokens = statement_u32(s);
        v->n_views = statement_u32(s);
        v->image_min_tokens = statement_u32(s);
        v->image_max_tokens = statement_u32(s);
    }
    return WL_OK;
}

// Which records: by study (?1) or by model (?1).
#define RECORDS_OF_STUDY                                                                           \
    "(SELECT r.id FROM record r JOIN model m ON m.id = r.model_id WHERE m.study_id = ?1)"
#define RECORDS_OF_MODEL "(SELECT id FROM record WHERE model_id = ?1)"
#define SELECT_ROWS(which)                                                                         \
    "SELECT id, model_id, seq, cell, repeat, prompt_tokens, generated_tokens, n_requests, t0_ns, " \
    "t1_ns, "                                                                                      \
    "wall_ns, flags FROM record WHERE id IN " which " ORDER BY id"
#define SELECT_VALUES(which)                                                                       \
    "SELECT record_id, metric, value FROM record_value WHERE record_id IN " which
#define SELECT_ENERGIES(which)                                                                     \
    "SELECT record_id, source, scope, label, gross_j, gross_sd_j, net_j, net_sd_j, "               \
    "systematic_rel, coverage, idle_w, idle_sd_w FROM record_energy WHERE record_id IN " which     \
    " ORDER BY record_id, seq"
#define SELECT_PHASES(which)                                                                       \
    "SELECT record_id, name, t0_ns, t1_ns, cpu_ns, n_tokens, gross_j, net_j, duration_ns, "        \
    "peak_rss_bytes FROM record_phase "                                                            \
    "WHERE record_id IN " which " ORDER BY record_id, seq"
#define SELECT_VISION(which)                                                                       \
    "SELECT record_id, n_images, width, height, effective_pixels, image_tokens, n_views, "         \
    "image_min_tokens, image_max_tokens FROM record_vision WHERE record_id IN " which

struct part {
    const char *sql;
    enum wl_status (*add)(struct statement *s, struct record_list *list, struct wl_err *err);
};

static enum wl_status read_part(struct store *store, const struct part *part, int64_t key,
                                struct record_list *list, struct wl_err *err) {
    struct statement s;
    bool has_row = true;
    enum wl_status status = statement_open(&s, store, part->sql, "reading records", err);
    if (status == WL_OK) {
        statement_put_i64(&s, key);
    }
    while (status == WL_OK) {
        status = statement_next(&s, &has_row, err);
        if (status != WL_OK || !has_row) {
            break;
        }
        status = part->add(&s, list, err);
    }
    statement_close(&s);
    return status;
}

static enum wl_status read_records(struct store *store, const struct part *parts, size_t n_parts,
                                   int64_t key, struct record **out, size_t *n,
                                   struct wl_err *err) {
    struct record_list list = {NULL, 0};
    enum wl_status status = WL_OK;
    *out = NULL;
    *n = 0;
    for (size_t i = 0; i < n_parts && status == WL_OK; i++) {
        status = read_part(store, &parts[i], key, &list, err);
    }
    if (status != WL_OK) {
        free(list.records);
        return status;
    }
    if (list.n > 0) {
        qsort(list.records, list.n, sizeof *list.records, by_seq);
    }
    *out = list.records;
    *n = list.n;
    return WL_OK;
}

enum wl_status store_record_list_study(struct store *store, int64_t study_id, struct record **out,
                                       size_t *n, struct wl_err *err) {
    static const struct part PARTS[] = {{SELECT_ROWS(RECORDS_OF_STUDY), add_to_list},
                                        {SELECT_VALUES(RECORDS_OF_STUDY), add_value},
                                        {SELECT_ENERGIES(RECORDS_OF_STUDY), add_energy},
                                        {SELECT_PHASES(RECORDS_OF_STUDY), add_phase},
                                        {SELECT_VISION(RECORDS_OF_STUDY), add_vision_row}};
    return read_records(store, PARTS, sizeof PARTS / sizeof PARTS[0], study_id, out, n, err);
}

enum wl_status store_record_list_model(struct store *store, int64_t model_id, struct record **out,
                                       size_t *n, struct wl_err *err) {
    static const struct part PARTS[] = {{SELECT_ROWS(RECORDS_OF_MODEL), add_to_list},
                                        {SELECT_VALUES(RECORDS_OF_MODEL), add_value},
                                        {SELECT_ENERGIES(RECORDS_OF_MODEL), add_energy},
                                        {SELECT_PHASES(RECORDS_OF_MODEL), add_phase},
                                        {SELECT_VISION(RECORDS_OF_MODEL), add_vision_row}};
    return read_records(store, PARTS, sizeof PARTS / sizeof PARTS[0], model_id, out, n, err);
}

enum wl_status store_record_count_cells(struct store *store, int64_t model_id, uint32_t *counts,
                                        size_t n_cells, struct wl_err *err) {
    struct statement s;
    bool has_row = true;
    memset(counts, 0, n_cells * sizeof *counts);
    enum wl_status status = statement_open(
        &s, store,
        "SELECT cell, count(*) FROM record WHERE model_id = ? AND flags & ? = 0 GROUP BY cell",
        "counting records", err);
    if (status == WL_OK) {
        statement_put_i64(&s, model_id);
        statement_put_i64(&s, RECORD_WARMUP | RECORD_PAPER | RECORD_SCORED);
    }
    while (status == WL_OK) {
        status = statement_next(&s, &has_row, err);
        if (status != WL_OK || !has_row) {
            break;
        }
        uint32_t cell = statement_u32(&s);
        if (cell < n_cells) {
            counts[cell] = statement_u32(&s);
        }
    }
    statement_close(&s);
    return status;
}

enum wl_status store_record_next_seq(struct store *store, int64_t study_id, uint32_t *out,
                                     struct wl_err *err) {
    struct statement s;
    bool has_row = false;
    *out = 0;
    enum wl_status status = statement_open(&s, store,
                                           "SELECT coalesce(max(r.seq) + 1, 0) FROM record r "
                                           "JOIN model m ON m.id = r.model_id WHERE m.study_id = ?",
                                           "counting records", err);
    if (status == WL_OK) {
        statement_put_i64(&s, study_id);
        status = statement_next(&s, &has_row, err);
    }
    if (status == WL_OK && has_row) {
        *out = statement_u32(&s);
    }
    statement_close(&s);
    return status;
}
