// What the gateway tells beside the answer: its cost, what it changed, what is left.
#include <math.h>
#include <stdio.h>

#include "base/units.h"
#include "gateway/job.h"

void job_energy(const struct job *job, struct openai_energy *out) {
    bool is_resolved = record_is_resolved(job->cost.gross_j, job->cost.gross_sd_j, 0);
    const struct meter_info *info = job->gateway->power ? power_info(job->gateway->power) : NULL;
    *out = (struct openai_energy){
        .gross_j = job->cost.gross_j,
        .gross_sd_j = job->cost.gross_sd_j,
        .net_j = job->cost.net_j,
        .net_sd_j = job->cost.net_sd_j,
        .source = info ? info->name : NULL,
        .scope = info ? meter_scope_name(info->scope) : NULL,
        .label = info ? record_label_name(is_resolved ? info->label : LABEL_UNRESOLVED) : NULL,
        .n_shared = job->cost.n_shared,
    };
}

static void add(struct job *job, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add(struct job *job, const char *name, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    http_exchange_add_header(job->exchange, name, text);
}

static void add_energy(struct job *job) {
    struct openai_energy energy;
    if (!job->is_metered) {
        return;
    }
    job_energy(job, &energy);
    if (record_label_by_name(energy.label) == LABEL_UNRESOLVED) {
        add(job, "X-Wattlaw-Energy-Wh", "unresolved");
    } else {
        add(job, "X-Wattlaw-Energy-Wh", "%.6g", energy.gross_j / UNITS_J_PER_WH);
        if (isfinite(energy.net_j)) {
            add(job, "X-Wattlaw-Net-Energy-Wh", "%.6g", energy.net_j / UNITS_J_PER_WH);
        }
    }
}

static double ms_between(int64_t from_ns, int64_t to_ns) {
    return to_ns > from_ns && from_ns > 0 ? (double)(to_ns - from_ns) * 1e-6 : 0;
}

static void add_times(struct job *job, bool is_whole) {
    double wait_ms = ms_between(job->queued_ns, job->sent_ns);
    double prepare_ms = ms_between(job->begin_ns, job->queued_ns);
    if (is_whole) {
        add(job, "Server-Timing", "prepare;dur=%.3f, queue;dur=%.3f, model;dur=%.3f", prepare_ms,
            wait_ms, ms_between(job->sent_ns, job->end_ns));
    } else {
        add(job, "Server-Timing", "prepare;dur=%.3f, queue;dur=%.3f", prepare_ms, wait_ms);
    }
}

static void add_budget(struct job *job) {
    static const char *const LIMITS[] = {"X-RateLimit-Limit-Requests", "X-RateLimit-Limit-Tokens",
                                         "X-RateLimit-Limit-Wh"};
    static const char *const LEFT[] = {"X-RateLimit-Remaining-Requests",
                                       "X-RateLimit-Remaining-Tokens", "X-RateLimit-Remaining-Wh"};
    const struct budget *budget = &job->account->budget;
    for (int kind = 0; kind < BUDGET_N_KINDS; kind++) {
        if (isfinite(budget->limit[kind])) {
            add(job, LIMITS[kind], "%.10g", budget->limit[kind]);
            add(job, LEFT[kind], "%.10g", budget_left(budget, (enum budget_kind)kind));
        }
    }
}

void job_add_headers(struct job *job, bool is_whole) {
    http_exchange_add_header(job->exchange, "X-Request-Id", job->id);
    http_exchange_add_header(job->exchange, "Cache-Control", "no-cache");
    if (job->route->kind == ROUTE_FORWARD) {
        return;
    }
    if (is_whole) {
        add_energy(job);
    }
    add_times(job, is_whole);
    add_budget(job);
    if (job->n_turns_dropped > 0) {
        add(job, "X-Wattlaw-Turns-Dropped", "%zu", job->n_turns_dropped);
    }
    if (job->pictures.n_changed > 0) {
        add(job, "X-Wattlaw-Images-Shrunk", "%zu", job->pictures.n_changed);
    }
}
