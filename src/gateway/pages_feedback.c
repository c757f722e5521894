// POST /v1/feedback {"id": "wl-...", "score": 1, "note": "..."}: a user's opinion of an answer.
#include <stdlib.h>
#include <string.h>

#include "base/json_fields.h"
#include "base/str.h"
#include "gateway/pages.h"
#include "openai/json_text.h"
#include "os/clock.h"

enum { NOTE_BYTES = 4096 };

struct feedback {
    struct page_order page;
    char id[LEDGER_ID_BYTES];
    double score;
    char note[NOTE_BYTES];
    int64_t wall_ms;
};

static enum wl_status ask(struct ledger_order *order, struct store *ledger, struct wl_err *err) {
    struct feedback *f = (struct feedback *)order;
    return ledger_add_feedback(ledger, f->id, f->score, f->note, f->wall_ms, err);
}

static void answer(struct page_order *page, enum wl_status status, const struct wl_err *err) {
    const struct feedback *f = (const struct feedback *)page;
    if (status == WL_OK) {
        pages_reply_json(page->exchange, 200, json_pack("{s:s, s:b}", "id", f->id, "stored", 1));
    } else if (status == WL_NOT_FOUND) {
        pages_refuse(page->exchange, 404, "unknown_request",
                     "no request '%s' is in the ledger: give the X-Request-Id of its answer",
                     f->id);
    } else {
        pages_refuse(page->exchange, 503, "ledger_failing", "%s", err->message);
    }
}

static enum wl_status read_body(struct http_exchange *exchange, struct feedback *out,
                                struct wl_err *err) {
    static const char *const FIELDS[] = {"id", "score", "note", NULL};
    size_t n;
    json_t *root = NULL;
    const char *body = http_exchange_body(exchange, &n);
    enum wl_status status = openai_json_parse(body, n, &root, err);
    if (status == WL_OK) {
        status = json_fields_check(root, "an object {\"id\": ..., \"score\": ...}", FIELDS, err);
    }
    if (status == WL_OK && (!json_object_get(root, "id") || !json_object_get(root, "score"))) {
        status =
            json_fields_wrong(json_object_get(root, "id") ? "score" : "id",
                              "the answer's X-Request-Id, and a number from -1 to 1", NULL, err);
    }
    if (status == WL_OK) {
        status = json_fields_text(root, "id", out->id, sizeof out->id, err);
    }
    if (status == WL_OK) {
        status = json_fields_double(root, "score", -1, 1, &out->score, err);
    }
    if (status == WL_OK) {
        status = json_fields_text(root, "note", out->note, sizeof out->note, err);
    }
    json_decref(root);
    return status;
}

void pages_feedback(struct gateway *gateway, struct http_exchange *exchange) {
    struct wl_err err = {0};
    struct feedback *f = calloc(1, sizeof *f);
    if (!gateway->ledger) {
        pages_refuse(exchange, 501, "no_ledger", "this gateway keeps no ledger");
    } else if (!f) {
        pages_refuse(exchange, 507, "out_of_memory", "no memory for this request");
    } else if (read_body(exchange, f, &err) != WL_OK) {
        pages_refuse(exchange, 400, NULL, "%s", err.message);
    } else {
        f->wall_ms = os_wall_ns() / 1000000;
        f->page.order.ask = ask;
        f->page.answer = answer;
        pages_ask_ledger(&f->page, gateway, exchange);
        return;
    }
    free(f);
}
