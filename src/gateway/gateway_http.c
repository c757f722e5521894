// What the HTTP server hands in: requests for the model server become jobs, the gateway's own pages
// are answered at once.
#include "gateway/gateway_parts.h"
#include "gateway/job.h"
#include "gateway/pages.h"

static void on_headers(void *context, struct http_exchange *exchange) {
    job_receive(context, exchange);
    if (!http_exchange_state(exchange)) {
        pages_receive(context, exchange);
    }
}

static void on_too_large(void *context, struct http_exchange *exchange) {
    struct gateway *gateway = context;
    gateway->figures.n_too_large++;
    pages_refuse(exchange, 413, "request_too_large", "the request has more than %lld bytes",
                 (long long)gateway->settings.body_bytes);
}

static void on_request(void *context, struct http_exchange *exchange) {
    struct job *job = http_exchange_state(exchange);
    if (job) {
        job_receive_body(job);
    } else {
        pages_answer(context, exchange);
    }
}

static void on_gone(void *context, struct http_exchange *exchange) {
    struct job *job = http_exchange_state(exchange);
    (void)context;
    if (job) {
        job_abandon(job);
    }
}

static void on_drained(void *context, struct http_exchange *exchange) {
    struct job *job = http_exchange_state(exchange);
    (void)context;
    if (job && job->is_paused && job->call) {
        job->is_paused = false;
        http_call_pause(job->call, false);
    }
}

static void on_end(void *context, struct http_exchange *exchange) {
    struct job *job = http_exchange_state(exchange);
    (void)context;
    if (job) {
        job_abandon(job); // nothing, unless the server is being closed
        job->exchange = NULL;
        job_drop(job);
    }
    pages_forget(exchange);
}

const struct http_handlers GATEWAY_HANDLERS = {.on_headers = on_headers,
                                               .on_too_large = on_too_large,
                                               .on_request = on_request,
                                               .on_gone = on_gone,
                                               .on_drained = on_drained,
                                               .on_end = on_end};
