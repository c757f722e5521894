#include "store/store_answer.h"

#include <stdlib.h>

#include "store/statement.h"

static void release(struct store_answer *answer) {
    free(answer->item);
    free(answer->kind);
    free(answer->text);
    free(answer->defect);
}

void store_answer_free_list(struct store_answer *answers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        release(&answers[i]);
    }
    free(answers);
}

enum wl_status store_answer_add(struct store *store, const struct store_answer *answer,
                                struct wl_err *err) {
    struct statement s;
    enum wl_status status =
        statement_open(&s, store,
                       "INSERT INTO answer (record_id, item, kind, text, defect, is_right) "
                       "VALUES (?, ?, ?, ?, ?, ?)",
                       "storing an answer", err);
    if (status == WL_OK) {
        statement_put_i64(&s, answer->record_id);
        statement_put_text(&s, answer->item);
        statement_put_text(&s, answer->kind);
        statement_put_text(&s, answer->text);
        statement_put_text(&s, answer->defect);
        statement_put_i64(&s, answer->is_right);
        status = statement_run(&s, err);
    }
    statement_close(&s);
    return status;
}

static enum wl_status read_answer(struct statement *s, void *item, struct wl_err *err) {
    struct store_answer read = {.record_id = statement_i64(s)};
    read.item = statement_text(s);
    read.kind = statement_text(s);
    read.text = statement_text(s);
    read.defect = statement_text(s);
    read.is_right = statement_i64(s) != 0;
    if (!read.item || !read.kind || !read.text || !read.defect) {
        release(&read);
        return wl_err_set(err, WL_MEMORY, "no memory to read an answer");
    }
    *(struct store_answer *)item = read;
    return WL_OK;
}

enum wl_status store_answer_list(struct store *store, int64_t study_id, struct store_answer **out,
                                 size_t *n, struct wl_err *err) {
    struct statement s;
    *out = NULL;
    *n = 0;
    enum wl_status status =
        statement_open(&s, store,
                       "SELECT a.record_id, a.item, a.kind, a.text, a.defect, a.is_right "
                       "FROM answer a JOIN record r ON r.id = a.record_id "
                       "JOIN model m ON m.id = r.model_id WHERE m.study_id = ? ORDER BY r.seq",
                       "reading answers", err);
    if (status == WL_OK) {
        statement_put_i64(&s, study_id);
        status = statement_read_all(&s, read_answer, sizeof **out, (void **)out, n, err);
    }
    statement_close(&s);
    if (status != WL_OK) {
        store_answer_free_list(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return status;
}
