// The loop: time, signals, and the end.
#include <math.h>
#include <signal.h>

#include "gateway/canary.h"
#include "gateway/gateway_parts.h"
#include "gateway/job.h"
#include "gateway/log.h"
#include "os/clock.h"

static const int64_t TELL_NS = INT64_C(60000000000);       // the machine's account, into the ledger
static const int64_t LAST_JOULES_NS = INT64_C(3000000000); // at the end
static const int64_t LAST_WORDS_NS = INT64_C(1000000000);

// ---- every quarter of a second ----

static bool has_reached_limit(const struct job *job, int64_t now_ns) {
    struct power_cost cost;
    if (job->state != JOB_ASKING && job->state != JOB_RELAYING) {
        return false;
    }
    if ((double)(now_ns - job->sent_ns) * 1e-9 >= job->limits.seconds) {
        return true;
    }
    if (!isfinite(job->limits.joules) || !job->is_metered) {
        return false;
    }
    power_cost(job->gateway->power, &job->user, &cost);
    return cost.gross_j >= job->limits.joules;
}

static void stop_at_limits(struct gateway *gateway) {
    int64_t now_ns = os_now_ns();
    for (struct job *job = gateway->first_job, *next; job; job = next) {
        next = job->next;
        if (job->route->kind == ROUTE_GENERATE && has_reached_limit(job, now_ns)) {
            job->n_holds++;
            job_stop_at_limit(job);
            next = job->next; // it may have gone meanwhile
            job_drop(job);
        }
    }
}

// Once a second, for the page.
static void note_watts(struct gateway *gateway) {
    struct power_state state;
    int64_t now_ns = os_now_ns();
    const size_t n = sizeof gateway->watts / sizeof gateway->watts[0];
    if (!gateway->power || now_ns - gateway->watts_ns < INT64_C(1000000000)) {
        return;
    }
    power_state(gateway->power, &state);
    gateway->watts_ns = now_ns;
    gateway->watts[gateway->watts_at] = (float)state.watts;
    gateway->watts_at = (gateway->watts_at + 1) % n;
    gateway->n_watts += gateway->n_watts < n;
}

void gateway_tell_machine(struct gateway *gateway) {
    struct power_state state;
    if (!gateway->power || !gateway->ledger) {
        return;
    }
    power_state(gateway->power, &state);
    struct share_totals *told = &gateway->told, *now = &state.totals;
    struct ledger_machine more = {.measured_j = now->measured_j - told->measured_j,
                                  .shared_j = now->shared_j - told->shared_j,
                                  .idle_j = now->idle_j - told->idle_j,
                                  .busy_s = now->busy_s - told->busy_s,
                                  .idle_s = now->idle_s - told->idle_s,
                                  .gap_s = state.gap_s - gateway->told_gap_s};
    ledger_thread_add_machine(gateway->ledger, os_wall_ns() / 1000000, gateway_source(gateway),
                              &more);
    *told = *now;
    gateway->told_gap_s = state.gap_s;
    gateway->told_ns = os_now_ns();
}

// Clients that still wait are told; a moment is left to tell them.
static void end_jobs(struct gateway *gateway) {
    for (struct job *job = gateway->first_job, *next; job; job = next) {
        job->n_holds++;
        if (job->is_streaming) {
            openai_fault_set(&job->fault, WL_INTERRUPTED, "shutting_down", NULL,
                             "the gateway was stopped in the middle of the answer");
            job_close(job, LEDGER_GATEWAY_ENDED);
        } else {
            job_refuse(job, LEDGER_GATEWAY_ENDED, 503, "shutting_down", NULL,
                       "the gateway is shutting down");
        }
        next = job->next;
        job_drop(job);
    }
}

// Answers that are whole wait for their last joules only, which may never come: the meter may be
// away. Their rows have an estimate.
static bool waits_for_meter_alone(const struct gateway *gateway) {
    for (const struct job *job = gateway->first_job; job; job = job->next) {
        if (job->state != JOB_CLOSED) {
            return false;
        }
    }
    return true;
}

static void end_drain(struct gateway *gateway) {
    int64_t now_ns = os_now_ns();
    if (!gateway->is_draining || !waits_for_meter_alone(gateway)) {
        gateway->drain_answers_ns = now_ns;
    }
    bool is_late = now_ns >= gateway->drain_until_ns;
    bool is_whole = now_ns - gateway->drain_answers_ns >= LAST_JOULES_NS;
    if (gateway->is_draining && is_late && !gateway->is_ending) {
        gateway->is_ending = true;
        gateway->drain_until_ns = now_ns + LAST_WORDS_NS;
        end_jobs(gateway);
    } else if (gateway->is_draining && (gateway->n_jobs == 0 || is_late || is_whole)) {
        uv_stop(&gateway->loop);
    }
}

static void on_tick(uv_timer_t *timer) {
    struct gateway *gateway = timer->data;
    if (gateway->power) {
        power_tick(gateway->power);
        note_watts(gateway);
    }
    stop_at_limits(gateway);
    job_queue_run(gateway);
    canary_tick(gateway->canary);
    if (os_now_ns() - gateway->told_ns >= TELL_NS) {
        gateway_tell_machine(gateway);
    }
    end_drain(gateway);
}

// ---- signals ----

void gateway_drain(struct gateway *gateway) {
    if (gateway->is_draining) {
        gateway->drain_until_ns = 0; // asked twice: at once
        return;
    }
    gateway->is_draining = true;
    gateway->drain_answers_ns = os_now_ns();
    gateway->drain_until_ns = os_now_ns() + (int64_t)(gateway->settings.drain_s * 1e9);
    http_server_stop_listening(gateway->server);
    canary_stop(gateway->canary);
    log_event(LOG_INFO, "ending; %zu requests are under way", gateway->n_jobs);
}

static void on_end_signal(uv_signal_t *signal, int number) {
    struct gateway *gateway = signal->data;
    (void)number;
    gateway_drain(gateway);
    end_drain(gateway);
}

static void on_reload_signal(uv_signal_t *signal, int number) {
    (void)number;
    gateway_reload(signal->data);
}

static uint64_t tick_ms(const struct gateway *gateway) {
    return gateway->power ? (uint64_t)(power_period_ns(gateway->power) / 1000000) : 250;
}

void gateway_run(struct gateway *gateway) {
    signal(SIGPIPE, SIG_IGN);
    uv_signal_start(&gateway->terminate, on_end_signal, SIGTERM);
    uv_signal_start(&gateway->interrupt, on_end_signal, SIGINT);
    uv_signal_start(&gateway->reload, on_reload_signal, SIGHUP);
    uv_timer_start(&gateway->tick, on_tick, tick_ms(gateway), tick_ms(gateway));
    uv_run(&gateway->loop, UV_RUN_DEFAULT);
}

// ---- names ----

const char *gateway_source(const struct gateway *gateway) {
    return gateway->power ? power_info(gateway->power)->name : "";
}

const char *gateway_scope(const struct gateway *gateway) {
    return gateway->power ? meter_scope_name(power_info(gateway->power)->scope) : "";
}
