// The gateway's own answers: page, health, figures, energy, feedback, and refusals.
#ifndef WATTLAW_GATEWAY_PAGES_H
#define WATTLAW_GATEWAY_PAGES_H

#include "gateway/gateway.h"

// Of requests that are no jobs: refuses at once what will not be answered (404, 405, 401, 403).
void pages_receive(struct gateway *gateway, struct http_exchange *exchange);
void pages_answer(struct gateway *gateway, struct http_exchange *exchange);
// The exchange is over: an answer that is still being made will find nobody.
void pages_forget(struct http_exchange *exchange);
void pages_refuse(struct http_exchange *exchange, unsigned status, const char *code,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));
// *document is released.
void pages_reply_json(struct http_exchange *exchange, unsigned status, json_t *document);

// Each is a file pages_<name>.c.
void pages_metrics(struct gateway *gateway, struct http_exchange *exchange);
void pages_energy(struct gateway *gateway, struct http_exchange *exchange);
void pages_live(struct gateway *gateway, struct http_exchange *exchange);
void pages_feedback(struct gateway *gateway, struct http_exchange *exchange);

// ---- answers that wait for the ledger ----

// Embedded first in what a page needs; freed with free() after its answer, or when nobody is there.
struct page_order {
    struct ledger_order order;
    struct http_exchange *exchange; // NULL: has gone
    struct gateway *gateway;
    void (*answer)(struct page_order *page, enum wl_status status, const struct wl_err *err);
    void (*release)(struct page_order *page); // of what it holds beside itself; NULL: nothing
    struct page_order *next;
};
// `page` is malloc'd and taken over. `answer` is called on the loop, unless the client has left.
void pages_ask_ledger(struct page_order *page, struct gateway *gateway,
                      struct http_exchange *exchange);

#endif
