// GET /v1/energy?days=30: what requests have cost, by key, model and day. Keys that are no
// administrators' see their own requests only.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "gateway/energy_json.h"
#include "gateway/gateway_parts.h"
#include "gateway/job.h"
#include "gateway/pages.h"
#include "os/clock.h"

enum { DEFAULT_DAYS = 30, MAX_DAYS = 36500 };
static const int64_t DAY_MS = INT64_C(86400000);

struct question {
    struct page_order page;
    int64_t since_ms, until_ms;
    char key[KEY_NAME_BYTES];
    bool is_admin;
    struct ledger_summary *sums[3];
    size_t n[3];
    struct ledger_machine machine;
};

static enum wl_status ask(struct ledger_order *order, struct store *ledger, struct wl_err *err) {
    struct question *q = (struct question *)order;
    static const enum ledger_group GROUPS[] = {LEDGER_BY_KEY, LEDGER_BY_MODEL, LEDGER_BY_DAY};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < 3 && status == WL_OK; i++) {
        status = ledger_summarise(ledger, GROUPS[i], q->is_admin ? NULL : q->key, q->since_ms,
                                  q->until_ms, &q->sums[GROUPS[i]], &q->n[GROUPS[i]], err);
    }
    return status == WL_OK && q->is_admin
               ? ledger_sum_machine(ledger, q->since_ms, q->until_ms, &q->machine, err)
               : status;
}

static void answer(struct page_order *page, enum wl_status status, const struct wl_err *err) {
    struct question *q = (struct question *)page;
    struct gateway *gateway = page->gateway;
    struct power_state state = {.idle_w = NAN, .idle_sd_w = NAN, .watts = NAN};
    if (status != WL_OK) {
        pages_refuse(page->exchange, 503, "ledger_failing", "%s", err->message);
        return;
    }
    if (gateway->power) {
        power_state(gateway->power, &state);
    }
    struct energy_view view = {
        .since_ms = q->since_ms,
        .until_ms = q->until_ms,
        .source = gateway->power ? gateway_source(gateway) : NULL,
        .scope = gateway->power ? gateway_scope(gateway) : NULL,
        .label = gateway->power ? record_label_name(power_info(gateway->power)->label) : NULL,
        .idle_w = state.idle_w,
        .idle_sd_w = state.idle_sd_w,
        .now_w = state.watts,
        .machine = q->is_admin ? &q->machine : NULL,
        .by_key = {q->sums[LEDGER_BY_KEY], q->n[LEDGER_BY_KEY]},
        .by_model = {q->sums[LEDGER_BY_MODEL], q->n[LEDGER_BY_MODEL]},
        .by_day = {q->sums[LEDGER_BY_DAY], q->n[LEDGER_BY_DAY]}};
    pages_reply_json(page->exchange, 200, energy_json(&view));
}

static void release(struct page_order *page) {
    struct question *q = (struct question *)page;
    for (int i = 0; i < 3; i++) {
        free(q->sums[i]);
    }
}

static bool read_days(struct http_exchange *exchange, int64_t *days) {
    const char *text = http_exchange_query(exchange, "days");
    *days = DEFAULT_DAYS;
    return !text || (str_parse_i64(text, days) && *days >= 1 && *days <= MAX_DAYS);
}

void pages_energy(struct gateway *gateway, struct http_exchange *exchange) {
    const struct account *account = accounts_find(&gateway->accounts, job_secret(exchange));
    int64_t days;
    struct question *q = NULL;
    if (!gateway->ledger) {
        pages_refuse(exchange, 501, "no_ledger", "this gateway keeps no ledger");
    } else if (!read_days(exchange, &days)) {
        pages_refuse(exchange, 400, NULL, "days: expected 1 to %d", MAX_DAYS);
    } else if (!account || !(q = calloc(1, sizeof *q))) {
        pages_refuse(exchange, 507, "out_of_memory", "no memory for this answer");
    } else {
        gateway_tell_machine(gateway);
        q->until_ms = os_wall_ns() / 1000000 + 1;
        q->since_ms = q->until_ms - days * DAY_MS;
        q->is_admin = account->key.is_admin;
        str_copy(q->key, sizeof q->key, account->key.name);
        q->page.order.ask = ask;
        q->page.answer = answer;
        q->page.release = release;
        pages_ask_ledger(&q->page, gateway, exchange);
    }
}
