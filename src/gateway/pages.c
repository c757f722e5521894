#include "gateway/pages.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "gateway/job.h"
#include "gateway/routes.h"

enum { MAX_PAGE_BYTES = 64 << 20 };

extern const char GATEWAY_PAGE_HTML[];

// ---- refusals ----

void pages_refuse(struct http_exchange *exchange, unsigned status, const char *code,
                  const char *format, ...) {
    struct openai_fault fault = {.code = code};
    struct buf body;
    va_list args;
    va_start(args, format);
    vsnprintf(fault.err.message, sizeof fault.err.message, format, args);
    va_end(args);
    buf_init(&body, 8192);
    openai_fault_write(&body, (int)status, &fault);
    http_reply(exchange, status, "application/json", &body);
}

static void refuse_key(struct gateway *gateway, struct http_exchange *exchange) {
    gateway->figures.n_unauthorized++;
    http_exchange_add_header(exchange, "WWW-Authenticate", "Bearer");
    pages_refuse(exchange, 401, "invalid_api_key", "%s; send it as 'Authorization: Bearer KEY'",
                 job_secret(exchange) ? "this API key is not known" : "an API key is needed");
}

void pages_receive(struct gateway *gateway, struct http_exchange *exchange) {
    bool is_path_known;
    const struct route *route =
        route_find(http_exchange_method(exchange), http_exchange_path(exchange), &is_path_known);
    const struct account *account = accounts_find(&gateway->accounts, job_secret(exchange));
    if (!route && is_path_known) {
        pages_refuse(exchange, 405, "method_not_allowed", "%s cannot be asked with %s",
                     http_exchange_path(exchange), http_exchange_method(exchange));
    } else if (!route) {
        pages_refuse(exchange, 404, "unknown_url",
                     "there is no %s here; try /v1/chat/completions, /v1/models, /v1/energy, "
                     "/metrics or /",
                     http_exchange_path(exchange));
    } else if (!route->is_open && !account) {
        refuse_key(gateway, exchange);
    } else if (route->is_admin && !account->key.is_admin) {
        pages_refuse(exchange, 403, "not_an_admin",
                     "%s shows what all keys use: this key must have \"admin\": true in the keys "
                     "file for that",
                     route->path);
    } else if (route_is_upstream(route)) {
        pages_refuse(exchange, 507, "out_of_memory", "no memory for this request");
    }
}

// ---- answers ----

void pages_reply_json(struct http_exchange *exchange, unsigned status, json_t *document) {
    struct buf body;
    buf_init(&body, MAX_PAGE_BYTES);
    if (document && wl_json_write(&body, document)) {
        http_exchange_add_header(exchange, "Cache-Control", "no-store");
        http_reply(exchange, status, "application/json", &body);
    } else {
        buf_release(&body);
        pages_refuse(exchange, 507, "out_of_memory", "no memory for this answer");
    }
    json_decref(document);
}

static void reply_page(struct http_exchange *exchange) {
    struct buf body;
    buf_init(&body, MAX_PAGE_BYTES);
    buf_puts(&body, GATEWAY_PAGE_HTML);
    http_exchange_add_header(exchange, "Content-Security-Policy",
                             "default-src 'none'; style-src 'unsafe-inline'; script-src "
                             "'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; "
                             "form-action 'none'; frame-ancestors 'none'");
    http_exchange_add_header(exchange, "X-Content-Type-Options", "nosniff");
    http_exchange_add_header(exchange, "Referrer-Policy", "no-referrer");
    http_reply(exchange, 200, "text/html; charset=utf-8", &body);
}

// For those who watch over services: 200 while requests can be answered (an unloaded model is one
// that comes when it is asked). Anybody may ask: no paths, no names.
static void reply_health(struct gateway *gateway, struct http_exchange *exchange) {
    struct upstream_facts facts;
    struct ledger_health ledger = {0};
    upstream_facts(gateway->upstream, &facts);
    if (gateway->ledger) {
        ledger_thread_health(gateway->ledger, &ledger);
    }
    bool is_fine = !gateway->is_draining && !ledger.is_failing &&
                   (facts.health == UPSTREAM_UP || facts.health == UPSTREAM_ASLEEP);
    pages_reply_json(
        exchange, is_fine ? 200 : 503,
        json_pack("{s:s, s:s, s:s, s:b, s:b, s:b}", "status", is_fine ? "ok" : "unavailable",
                  "model_server", upstream_health_name(facts.health), "problem", facts.problem,
                  "meter", gateway->power && !power_is_lost(gateway->power), "ledger",
                  gateway->ledger && !ledger.is_failing, "draining", gateway->is_draining));
}

void pages_answer(struct gateway *gateway, struct http_exchange *exchange) {
    bool is_path_known;
    const struct route *route =
        route_find(http_exchange_method(exchange), http_exchange_path(exchange), &is_path_known);
    switch (route->kind) {
    case ROUTE_PAGE: reply_page(exchange); break;
    case ROUTE_HEALTH: reply_health(gateway, exchange); break;
    case ROUTE_METRICS: pages_metrics(gateway, exchange); break;
    case ROUTE_ENERGY: pages_energy(gateway, exchange); break;
    case ROUTE_LIVE: pages_live(gateway, exchange); break;
    case ROUTE_FEEDBACK: pages_feedback(gateway, exchange); break;
    default: pages_refuse(exchange, 500, NULL, "no answer"); break;
    }
}

// ---- answers that wait for the ledger ----

// Who waits is known by the exchange, whose state is otherwise a job's.
static struct page_order *waiting;

static void forget(struct page_order *page) {
    struct page_order **at = &waiting;
    while (*at && *at != page) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = page->next;
    }
}

void pages_forget(struct http_exchange *exchange) {
    for (struct page_order *page = waiting; page; page = page->next) {
        if (page->exchange == exchange) {
            page->exchange = NULL;
        }
    }
}

static void on_done(struct ledger_order *order, enum wl_status status, const struct wl_err *err) {
    struct page_order *page = (struct page_order *)order;
    forget(page);
    if (page->exchange) {
        page->answer(page, status, err);
    }
    if (page->release) {
        page->release(page);
    }
    free(page);
}

void pages_ask_ledger(struct page_order *page, struct gateway *gateway,
                      struct http_exchange *exchange) {
    page->gateway = gateway;
    page->exchange = exchange;
    page->order.on_done = on_done;
    page->next = waiting;
    waiting = page;
    ledger_thread_ask(gateway->ledger, &page->order);
}
