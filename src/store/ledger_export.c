#include "store/ledger_export.h"

#include <stdlib.h>

#include "store/ledger.h"
#include "store/statement.h"

typedef enum wl_status visit_opinion(void *context, const struct ledger_opinion *opinion,
                                     struct wl_err *err);

// The texts must be freed.
struct texts {
    char *id, *key, *model, *note, *prompt, *answer;
};

static void free_texts(struct texts *t) {
    free(t->id);
    free(t->key);
    free(t->model);
    free(t->note);
    free(t->prompt);
    free(t->answer);
}

static enum wl_status take_row(struct statement *s, visit_opinion *visit, void *context,
                               struct ledger_opinion_counts *counts, struct wl_err *err) {
    bool has_text = statement_i64(s) != 0;
    struct ledger_opinion opinion = {.score = statement_real(s)};
    opinion.wall_ms = statement_i64(s);
    opinion.n_images = statement_i64(s);
    counts->n++;
    counts->n_with_text += has_text;
    counts->n_good += opinion.score > 0;
    if (!has_text || !visit) {
        return WL_OK;
    }
    struct texts t = {.id = statement_text(s)};
    t.key = statement_text(s);
    t.model = statement_text(s);
    t.note = statement_text(s);
    t.prompt = statement_text(s);
    t.answer = statement_text(s);
    bool has_all = t.id && t.key && t.model && t.note && t.prompt && t.answer;
    opinion.id = t.id;
    opinion.key = t.key;
    opinion.model = t.model;
    opinion.note = t.note;
    opinion.prompt = t.prompt;
    opinion.answer = t.answer;
    enum wl_status status = has_all ? visit(context, &opinion, err)
                                    : wl_err_set(err, WL_MEMORY, "no memory for a request's texts");
    free_texts(&t);
    return status;
}

enum wl_status ledger_export_opinions(struct store *ledger, int64_t from_ms, int64_t to_ms,
                                      visit_opinion *visit, void *context,
                                      struct ledger_opinion_counts *counts, struct wl_err *err) {
    struct statement s;
    bool has_row = true;
    *counts = (struct ledger_opinion_counts){0};
    enum wl_status status = statement_open(
        &s, ledger,
        "SELECT t.id IS NOT NULL, f.score, f.wall_ms, r.n_images, r.id, r.key, r.model, f.note,"
        " t.prompt, t.answer FROM feedback f JOIN request r ON r.id = f.id"
        " LEFT JOIN request_text t ON t.id = f.id"
        " WHERE f.wall_ms >= ? AND f.wall_ms < ? AND r.endpoint <> 'canary'"
        " ORDER BY f.wall_ms, f.id",
        "reading feedback", err);
    if (status == WL_OK) {
        statement_put_i64(&s, from_ms);
        statement_put_i64(&s, to_ms);
    }
    while (status == WL_OK && has_row) {
        status = statement_next(&s, &has_row, err);
        if (status == WL_OK && has_row) {
            status = take_row(&s, visit, context, counts, err);
        }
    }
    statement_close(&s);
    return status;
}
