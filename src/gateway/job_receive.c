// From a request's headers to a job: who asks, for what, and whether there is room.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/canary.h"
#include "gateway/job.h"
#include "gateway/log.h"
#include "os/clock.h"

const char *job_secret(struct http_exchange *exchange) {
    const char *bearer = http_exchange_header(exchange, "Authorization");
    if (bearer && strncasecmp(bearer, "Bearer ", 7) == 0) {
        return bearer + 7;
    }
    return http_exchange_header(exchange, "x-api-key"); // Anthropic's clients
}

// One system call for many ids.
static uint32_t next_random(void) {
    static uint32_t pool[64];
    static size_t n_left;
    if (n_left == 0 && uv_random(NULL, NULL, pool, sizeof pool, 0, NULL) == 0) {
        n_left = sizeof pool / sizeof pool[0];
    }
    return n_left > 0 ? pool[--n_left] : 0;
}

// Times come first, so that ids sort as they were made; the rest makes them unique.
static void make_id(char out[LEDGER_ID_BYTES], int64_t wall_ms) {
    static uint32_t n;
    snprintf(out, LEDGER_ID_BYTES, "wl-%012" PRIx64 "%04x%08x", (uint64_t)wall_ms, n++ & 0xffffu,
             next_random());
}

static struct job *new_job(struct gateway *gateway, struct http_exchange *exchange,
                           const struct route *route, struct account *account) {
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        return NULL;
    }
    *job = (struct job){.gateway = gateway,
                        .exchange = exchange,
                        .route = route,
                        .account = account,
                        .n_holds = 1,
                        .begin_ns = os_now_ns(),
                        .begin_wall_ms = os_wall_ns() / 1000000,
                        .input_tokens = OPENAI_ABSENT,
                        .next = gateway->first_job};
    make_id(job->id, job->begin_wall_ms);
    openai_usage_none(&job->usage);
    buf_init(&job->body, SIZE_MAX);
    buf_init(&job->held_raw, SIZE_MAX);
    buf_init(&job->answer_text, 1 << 20);
    if (gateway->first_job) {
        gateway->first_job->previous = job;
    }
    gateway->first_job = job;
    gateway->n_jobs++;
    http_exchange_set_state(exchange, job);
    return job;
}

// The ledger is what budgets rest on: what cannot be written down is not begun.
static bool has_room(struct job *job) {
    struct gateway *gateway = job->gateway;
    struct ledger_health health = {0};
    if (gateway->is_draining) {
        job_refuse(job, LEDGER_REFUSED, 503, "shutting_down", NULL, "the gateway is shutting down");
        return false;
    }
    if (gateway->ledger) {
        ledger_thread_health(gateway->ledger, &health);
    }
    if (health.is_failing && route_is_upstream(job->route) && job->route->kind != ROUTE_FORWARD) {
        job_refuse(job, LEDGER_REFUSED, 503, "ledger_failing", NULL,
                   "the ledger cannot be written, so nothing is begun that it should hold: %s",
                   job->account->key.is_admin ? health.problem : "the gateway's log says why");
        return false;
    }
    return true;
}

// "localhost", "127.0.0.1:8600", "[::1]:8600": names that nobody else can point here.
static bool is_own_name(const char *host) {
    bool is_number = host[0] == '[' || strspn(host, "0123456789.:") == strlen(host);
    return is_number || strcasecmp(host, "localhost") == 0 ||
           strncasecmp(host, "localhost:", 10) == 0;
}

// Any page on the internet can have its visitor's browser post to this machine: it would not see
// the answer, but the energy would be spent; and it can have its own name point to this machine,
// which makes the browser think that both are one site. Browsers tell where a request comes from.
// A page that has a key has been invited.
static bool is_invited(struct job *job) {
    const char *site = http_exchange_header(job->exchange, "Sec-Fetch-Site");
    const char *host = http_exchange_header(job->exchange, "Host");
    bool is_elsewhere = site && strcasecmp(site, "cross-site") == 0;
    bool is_renamed = site && host && !is_own_name(host);
    if (job->account != &job->gateway->accounts.everybody || (!is_elsewhere && !is_renamed)) {
        return true;
    }
    job_refuse(job, LEDGER_REFUSED, 403, "cross_site", NULL,
               "a page of another site may not ask a gateway that needs no keys; start it with "
               "--keys");
    return false;
}

// Nothing is unpacked here: a few bytes could become very many.
static void refuse_packed(struct job *job) {
    const char *coding = http_exchange_header(job->exchange, "Content-Encoding");
    if (coding && coding[0] && strcasecmp(coding, "identity") != 0) {
        job_refuse(job, LEDGER_REFUSED, 415, "unsupported_content_encoding", NULL,
                   "expected a request that is not packed, found Content-Encoding '%.40s'; send it "
                   "without",
                   coding);
    }
}

void job_receive(struct gateway *gateway, struct http_exchange *exchange) {
    bool is_path_known;
    const struct route *route =
        route_find(http_exchange_method(exchange), http_exchange_path(exchange), &is_path_known);
    bool is_canary =
        canary_is_mine(gateway->canary, http_exchange_header(exchange, "X-Wattlaw-Canary"));
    struct account *account = is_canary ? &gateway->accounts.ourselves
                                        : accounts_find(&gateway->accounts, job_secret(exchange));
    if (!route || !route_is_upstream(route) || !account) {
        return; // pages_receive answers
    }
    struct job *job = new_job(gateway, exchange, route, account);
    if (job) {
        job->is_canary = is_canary;
        if (has_room(job) && is_invited(job)) {
            refuse_packed(job);
        }
    }
}

void job_receive_body(struct job *job) {
    if (job->state == JOB_RECEIVING) { // else it was refused by its headers
        job_prepare(job);
    }
}
