// Whose turn it is: requests wait for a slot of the model server and for what their key may use.
#include <math.h>

#include "gateway/gateway_parts.h"
#include "gateway/job.h"
#include "gateway/log.h"
#include "os/clock.h"

static const int64_t SLOTS_UNKNOWN = 4;

size_t gateway_concurrency(const struct gateway *gateway) {
    if (gateway->settings.concurrency > 0) {
        return (size_t)gateway->settings.concurrency;
    }
    struct upstream_facts facts;
    upstream_facts(gateway->upstream, &facts);
    return facts.n_slots > 0 ? facts.n_slots : (size_t)SLOTS_UNKNOWN;
}

int64_t gateway_day_offset_s(void) {
    time_t now = (time_t)(os_wall_ns() / 1000000000);
    struct tm local;
    localtime_r(&now, &local);
    return -local.tm_gmtoff;
}

// ---- leaving the queue ----

void job_unqueue(struct job *job) {
    struct gateway *gateway = job->gateway;
    if (job->state != JOB_QUEUED) {
        return;
    }
    *(job->queue_previous ? &job->queue_previous->queue_next : &gateway->queue_first) =
        job->queue_next;
    *(job->queue_next ? &job->queue_next->queue_previous : &gateway->queue_last) =
        job->queue_previous;
    job->queue_previous = job->queue_next = NULL;
    job->state = JOB_PREPARING;
    gateway->n_queued--;
    upstream_unwait(gateway->upstream);
}

// OpenAI's clients sleep as long as Retry-After says, without a word, unless they are told not to.
// Until tomorrow is too long for that: their users have to hear of it.
static const double MAX_SLEEP_S = 60;

static void add_retry_after(struct job *job, double seconds) {
    char text[24];
    snprintf(text, sizeof text, "%.0f", fmax(1, ceil(fmin(seconds, 86400))));
    if (job->exchange) {
        http_exchange_add_header(job->exchange, "Retry-After", text);
        if (seconds > MAX_SLEEP_S) {
            http_exchange_add_header(job->exchange, "X-Should-Retry", "false");
        }
    }
}

// The time until a place is probably free.
static double expected_wait_s(const struct gateway *gateway) {
    double typical_s = gateway->typical_s > 0 ? gateway->typical_s : 1;
    return typical_s * (double)(gateway->n_queued + 1) / (double)gateway_concurrency(gateway);
}

static void refuse_busy(struct job *job, const char *why) {
    add_retry_after(job, expected_wait_s(job->gateway));
    job_refuse(job, LEDGER_REFUSED, 503, "overloaded", NULL,
               "%s (%zu requests run, %zu wait); try again later", why, job->gateway->n_running,
               job->gateway->n_queued);
}

static void refuse_down(struct job *job, const struct upstream_facts *facts) {
    add_retry_after(job, 5);
    const char *why = job->account->key.is_admin ? facts->problem : "the gateway's log says why";
    job_refuse(job, LEDGER_REFUSED, 503, "model_server_unavailable", NULL,
               "the model server cannot be reached: %s", why);
}

static void refuse_exhausted(struct job *job, const struct budget_verdict *verdict) {
    static const char *const WHAT[BUDGET_N_KINDS] = {"requests of this minute", "tokens of today",
                                                     "energy (Wh) of today"};
    static const char *const CODES[BUDGET_N_KINDS] = {"rate_limit_exceeded", "tokens_exhausted",
                                                      "energy_exhausted"};
    const struct budget *budget = &job->account->budget;
    add_retry_after(job, (double)verdict->retry_after_s);
    job_refuse(job, LEDGER_REFUSED, 429, CODES[verdict->kind], NULL,
               "the %s of key '%s' are used up: %g of %g; they come again in %lld s",
               WHAT[verdict->kind], job->account->key.name, budget->spent[verdict->kind],
               budget->limit[verdict->kind], (long long)verdict->retry_after_s);
}

// ---- turns ----

// Granted: on its way. False while it has to go on waiting.
static bool try_send(struct job *job) {
    if (job->waits_for_server) {
        job_unqueue(job);
        job_prepare_on(job);
        return true;
    }
    struct budget_verdict verdict = budget_ask(&job->account->budget, job->need,
                                               os_wall_ns() / 1000000000, gateway_day_offset_s());
    if (verdict.answer == BUDGET_WAIT) {
        return false;
    }
    job_unqueue(job);
    if (verdict.answer == BUDGET_EXHAUSTED) {
        refuse_exhausted(job, &verdict);
    } else {
        job->is_granted = true;
        job->account->n_running++;
        job_ask(job);
    }
    return true;
}

// The first one of those whose key has the fewest at the model server, so that one busy client does
// not shut out the others. Jobs that were passed over in this run have to wait for their own key.
static struct job *next_job(const struct gateway *gateway) {
    struct job *best = NULL;
    for (struct job *job = gateway->queue_first; job; job = job->queue_next) {
        bool is_better = !best || job->account->n_running < best->account->n_running;
        if (is_better && job->passed_in_run != gateway->queue_run) {
            best = job;
        }
    }
    return best;
}

static bool is_on_its_way(const struct upstream_facts *facts) {
    return facts->health == UPSTREAM_STARTING || facts->health == UPSTREAM_ASLEEP;
}

static void give_up_late_ones(struct gateway *gateway) {
    int64_t limit_ns = os_now_ns() - (int64_t)(gateway->settings.queue_s * 1e9);
    while (gateway->queue_first && gateway->queue_first->queued_ns <= limit_ns) {
        struct job *job = gateway->queue_first; // they are in the order of their times
        job_unqueue(job);
        refuse_busy(job, "no place came free in time");
    }
}

static void give_up_all(struct gateway *gateway, const struct upstream_facts *facts) {
    while (gateway->queue_first) {
        struct job *job = gateway->queue_first;
        job_unqueue(job);
        refuse_down(job, facts);
    }
}

static void send_those_whose_turn_it_is(struct gateway *gateway) {
    size_t n_places = gateway_concurrency(gateway);
    struct job *job;
    gateway->queue_run++;
    while (gateway->n_running < n_places && (job = next_job(gateway))) {
        if (!try_send(job)) {
            job->passed_in_run = gateway->queue_run;
        }
    }
}

static void run_once(struct gateway *gateway) {
    struct upstream_facts facts;
    upstream_facts(gateway->upstream, &facts);
    bool must_rest = facts.wants_rest && gateway->n_running > 0; // it is started anew then
    if (facts.health == UPSTREAM_UP && !must_rest) {
        send_those_whose_turn_it_is(gateway);
    } else if (facts.health != UPSTREAM_UP && !is_on_its_way(&facts)) {
        give_up_all(gateway, &facts);
    }
    give_up_late_ones(gateway);
}

// What is sent or refused here may end at once, which makes a new turn.
void job_queue_run(struct gateway *gateway) {
    gateway->is_queue_changed = true;
    if (gateway->is_queue_running) {
        return;
    }
    gateway->is_queue_running = true;
    while (gateway->is_queue_changed && gateway->queue_first) {
        gateway->is_queue_changed = false;
        run_once(gateway);
    }
    gateway->is_queue_running = false;
}

void job_enqueue(struct job *job) {
    struct gateway *gateway = job->gateway;
    if (gateway->n_queued >= (size_t)gateway->settings.queue &&
        gateway->n_running >= gateway_concurrency(gateway)) {
        refuse_busy(job, "the queue is full");
        return;
    }
    job->state = JOB_QUEUED;
    job->queued_ns = os_now_ns();
    job->queue_previous = gateway->queue_last;
    *(gateway->queue_last ? &gateway->queue_last->queue_next : &gateway->queue_first) = job;
    gateway->queue_last = job;
    gateway->n_queued++;
    upstream_wait(gateway->upstream);
    job_queue_run(gateway);
}
