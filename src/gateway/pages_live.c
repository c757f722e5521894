// GET /v1/energy/live: what the page shows.
#include <math.h>
#include <string.h>

#include "base/str.h"
#include "gateway/canary.h"
#include "gateway/gateway_parts.h"
#include "gateway/job.h"
#include "gateway/live_json.h"
#include "gateway/pages.h"
#include "os/clock.h"

enum { MAX_RUNNING = 32 };

// As far as is known while it runs.
static void fill_row(const struct job *job, int64_t now_ns, struct ledger_row *row) {
    struct power_cost cost = {.gross_j = NAN, .gross_sd_j = NAN, .net_j = NAN, .net_sd_j = NAN};
    memset(row, 0, sizeof *row);
    str_copy(row->id, sizeof row->id, job->id);
    str_copy(row->key, sizeof row->key, job->account->key.name);
    str_copy(row->model, sizeof row->model, job->row.model);
    str_copy(row->endpoint, sizeof row->endpoint, job->route->name);
    row->begin_wall_ms = job->begin_wall_ms;
    row->prompt_tokens = job->input_tokens;
    row->cached_tokens = LEDGER_ABSENT;
    row->completion_tokens = (int64_t)job->n_pieces;
    row->n_images = job->is_read ? (int64_t)job->request.n_images : 0;
    row->wait_s = (double)NAN;
    row->first_s = job->first_ns ? (double)(job->first_ns - job->begin_ns) * 1e-9 : (double)NAN;
    row->total_s = (double)(now_ns - job->begin_ns) * 1e-9;
    if (job->is_metered) {
        power_cost(job->gateway->power, &job->user, &cost);
        str_copy(row->source, sizeof row->source, gateway_source(job->gateway));
        str_copy(row->scope, sizeof row->scope, gateway_scope(job->gateway));
    }
    row->gross_j = cost.gross_j;
    row->gross_sd_j = cost.gross_sd_j;
    row->net_j = cost.net_j;
    row->net_sd_j = cost.net_sd_j;
}

// The oldest first; the list of jobs begins with the newest.
static size_t list_running(const struct gateway *gateway, struct ledger_row rows[MAX_RUNNING]) {
    const struct job *oldest[MAX_RUNNING];
    size_t n = 0;
    int64_t now_ns = os_now_ns();
    for (const struct job *job = gateway->first_job; job; job = job->next) {
        if (job->state >= JOB_QUEUED && job->state < JOB_CLOSING &&
            job->route->kind != ROUTE_FORWARD) {
            memmove(oldest + 1, oldest,
                    (n < MAX_RUNNING ? n : MAX_RUNNING - 1) * sizeof(struct job *));
            oldest[0] = job;
            n += n < MAX_RUNNING;
        }
    }
    for (size_t i = 0; i < n; i++) {
        fill_row(oldest[i], now_ns, &rows[i]);
    }
    return n;
}

void pages_live(struct gateway *gateway, struct http_exchange *exchange) {
    static struct ledger_row running[MAX_RUNNING]; // one thread; large
    struct power_state power;
    struct upstream_facts upstream;
    struct ledger_health ledger;
    struct canary_figures canary;
    upstream_facts(gateway->upstream, &upstream);
    canary_figures(gateway->canary, &canary);
    if (gateway->power) {
        power_state(gateway->power, &power);
    }
    if (gateway->ledger) {
        ledger_thread_health(gateway->ledger, &ledger);
    }
    struct live_view view = {
        .now_ms = os_wall_ns() / 1000000,
        .begin_ms = gateway->begin_wall_ms,
        .day_offset_s = gateway_day_offset_s(),
        .version = WATTLAW_VERSION,
        .is_draining = gateway->is_draining,
        .source = gateway->power ? gateway_source(gateway) : NULL,
        .scope = gateway->power ? gateway_scope(gateway) : NULL,
        .label = gateway->power ? record_label_name(power_info(gateway->power)->label) : NULL,
        .power = gateway->power ? &power : NULL,
        .is_meter_lost = gateway->power && power_is_lost(gateway->power),
        .watts = gateway->watts,
        .n_watts = gateway->n_watts,
        .watts_at = gateway->watts_at,
        .watts_capacity = sizeof gateway->watts / sizeof gateway->watts[0],
        .watts_period_s = 1,
        .recent = gateway->recent,
        .n_recent = gateway->n_recent,
        .recent_at = gateway->recent_at,
        .recent_capacity = GATEWAY_N_RECENT,
        .running = running,
        .n_rows_running = list_running(gateway, running),
        .n_queued = gateway->n_queued,
        .n_running = gateway->n_running,
        .n_at_once = gateway_concurrency(gateway),
        .n_open = http_server_n_exchanges(gateway->server),
        .upstream = &upstream,
        .upstream_for_s = (os_now_ns() - upstream.since_ns) / 1000000000,
        .ledger = gateway->ledger ? &ledger : NULL,
        .canary = gateway->canary ? &canary : NULL,
        .accounts = &gateway->accounts};
    pages_reply_json(exchange, 200, live_json(&view));
}
