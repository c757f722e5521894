// GET /metrics, for Prometheus.
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/str.h"
#include "gateway/canary.h"
#include "gateway/pages.h"
#include "os/clock.h"
#include "os/file.h"

enum { MAX_METRICS_BYTES = 4 << 20 };

static void gauge(struct buf *out, const char *name, const char *help, double value) {
    metric_family(out, name, "gauge", help);
    metric_sample(out, name, NULL, value);
}

static void counter(struct buf *out, const char *name, const char *help, double value) {
    metric_family(out, name, "counter", help);
    metric_sample(out, name, NULL, value);
}

static void write_power(const struct gateway *gateway, struct buf *out) {
    struct power_state state;
    if (!gateway->power) {
        return;
    }
    power_state(gateway->power, &state);
    struct metric_label labels[] = {
        {"source", gateway_source(gateway)}, {"scope", gateway_scope(gateway)}, {NULL, NULL}};
    metric_family(out, "wattlaw_power_watts", "gauge", "Power of the last measured step.");
    metric_sample(out, "wattlaw_power_watts", labels, state.watts);
    metric_family(out, "wattlaw_idle_power_watts", "gauge", "Power of the machine at rest.");
    metric_sample(out, "wattlaw_idle_power_watts", labels, state.idle_w);
    metric_family(out, "wattlaw_energy_joules_total", "counter",
                  "What the meter has counted: while requests were there, and while none was.");
    struct metric_label kinds[] = {{"kind", "requests"}, labels[0], labels[1], {NULL, NULL}};
    metric_sample(out, "wattlaw_energy_joules_total", kinds, state.totals.shared_j);
    kinds[0].value = "idle";
    metric_sample(out, "wattlaw_energy_joules_total", kinds, state.totals.idle_j);
    counter(out, "wattlaw_meter_gaps_total", "Times without readings.", (double)state.n_gaps);
    counter(out, "wattlaw_meter_gap_seconds_total", "Length of those times.", state.gap_s);
    gauge(out, "wattlaw_meter_lost", "1: the source failed and is read no more.",
          power_is_lost(gateway->power));
}

static void write_upstream(const struct gateway *gateway, struct buf *out) {
    struct upstream_facts facts;
    upstream_facts(gateway->upstream, &facts);
    struct metric_label labels[] = {{"kind", upstream_kind_name(facts.kind)}, {NULL, NULL}};
    metric_family(out, "wattlaw_upstream_up", "gauge",
                  "1: the model server answers (or sleeps until it is asked).");
    metric_sample(out, "wattlaw_upstream_up", labels,
                  facts.health == UPSTREAM_UP || facts.health == UPSTREAM_ASLEEP);
    counter(out, "wattlaw_upstream_starts_total", "Starts of our own model server.",
            (double)facts.n_starts);
    counter(out, "wattlaw_upstream_deaths_total", "Deaths of our own model server.",
            (double)facts.n_deaths);
}

static void write_budgets(const struct gateway *gateway, struct buf *out) {
    metric_family(out, "wattlaw_budget_used_ratio", "gauge",
                  "Part of a key's budget that is used or held, 1 is all.");
    for (const struct account *a = gateway->accounts.first; a; a = a->next) {
        for (int kind = 0; kind < BUDGET_N_KINDS; kind++) {
            struct metric_label labels[] = {{"key", a->key.name},
                                            {"kind", budget_kind_name((enum budget_kind)kind)},
                                            {NULL, NULL}};
            double limit = a->budget.limit[kind];
            if (limit > 0 && !a->is_revoked) {
                metric_sample(out, "wattlaw_budget_used_ratio", labels,
                              1 - budget_left(&a->budget, (enum budget_kind)kind) / limit);
            }
        }
    }
}

static void write_ledger(const struct gateway *gateway, struct buf *out) {
    struct ledger_health health;
    if (!gateway->ledger) {
        return;
    }
    ledger_thread_health(gateway->ledger, &health);
    counter(out, "wattlaw_ledger_rows_total", "Rows written.", (double)health.n_written);
    gauge(out, "wattlaw_ledger_waiting_rows", "Rows that wait to be written.",
          (double)health.n_waiting);
    gauge(out, "wattlaw_ledger_failing", "1: the ledger cannot be written.", health.is_failing);
}

static double resident_bytes(void) {
    char line[256];
    unsigned long long total, resident = 0;
    if (os_slurp_line("/proc/self/statm", line, sizeof line, NULL) != WL_OK ||
        sscanf(line, "%llu %llu", &total, &resident) != 2) {
        return NAN;
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void write_process(const struct gateway *gateway, struct buf *out) {
    gauge(out, "process_resident_memory_bytes", "Memory of the gateway itself.", resident_bytes());
    counter(out, "process_cpu_seconds_total", "CPU time of the gateway itself.",
            (double)os_own_cpu_ns() * 1e-9);
    gauge(out, "process_start_time_seconds", "When it began, Unix time.",
          (double)gateway->begin_wall_ms * 1e-3);
    struct metric_label version[] = {{"version", WATTLAW_VERSION}, {NULL, NULL}};
    metric_family(out, "wattlaw_build_info", "gauge", "Always 1.");
    metric_sample(out, "wattlaw_build_info", version, 1);
}

void pages_metrics(struct gateway *gateway, struct http_exchange *exchange) {
    struct buf out;
    buf_init(&out, MAX_METRICS_BYTES);
    figures_write(&gateway->figures, gateway_source(gateway), gateway_scope(gateway), &out);
    write_power(gateway, &out);
    gauge(&out, "wattlaw_queue_depth", "Requests that wait for the model server.",
          (double)gateway->n_queued);
    gauge(&out, "wattlaw_requests_running", "Requests at the model server.",
          (double)gateway->n_running);
    gauge(&out, "wattlaw_open_exchanges", "Requests of clients that are not at their end.",
          (double)http_server_n_exchanges(gateway->server));
    write_upstream(gateway, &out);
    write_budgets(gateway, &out);
    write_ledger(gateway, &out);
    canary_write_metrics(gateway->canary, &out);
    write_process(gateway, &out);
    http_reply(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
}
