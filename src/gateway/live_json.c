#include "gateway/live_json.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/units.h"
#include "gateway/json_clean.h"
#include "openai/reply.h"

static const double Z95 = 1.959963984540054;
static const int64_t MS_OF_A_MINUTE = 60000;

// A json_pack that gets a NULL (no memory) fails, and so does all above it.

static json_t *append(json_t *list, json_t *item) {
    if (json_array_append_new(list, item) != 0) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *interval_json(double value, double sd) {
    double low = value - Z95 * sd, high = value + Z95 * sd;
    return isfinite(low) && isfinite(high) ? json_pack("[f, f]", low, high) : json_null();
}

static json_t *wh_json(double joules) {
    return wl_json_real(joules / UNITS_J_PER_WH);
}

// ---- power ----

static json_t *meter_json(const struct live_view *view) {
    const struct power_state *p = view->power;
    if (!p) {
        return json_null();
    }
    return json_pack("{s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "source", json_clean(view->source), "scope", json_clean(view->scope), "label",
                     json_clean(view->label), "lost", view->is_meter_lost, "now_w",
                     wl_json_real(p->watts), "idle_w", wl_json_real(p->idle_w), "idle_w_ci95",
                     interval_json(p->idle_w, p->idle_sd_w), "gaps", (json_int_t)p->n_gaps, "gap_s",
                     wl_json_real(p->gap_s), "measured_wh", wh_json(p->totals.measured_j),
                     "requests_wh", wh_json(p->totals.shared_j), "idle_wh",
                     wh_json(p->totals.idle_j), "busy_s", wl_json_real(p->totals.busy_s), "idle_s",
                     wl_json_real(p->totals.idle_s));
}

// Two decimals: more would only make the document long.
static json_t *watts_json(const struct live_view *view) {
    json_t *values = json_array();
    for (size_t i = 0; i < view->n_watts && values; i++) {
        size_t at = view->watts_at + view->watts_capacity - view->n_watts + i;
        double watts = (double)view->watts[at % view->watts_capacity];
        values = append(values, wl_json_real(round(watts * 100) / 100));
    }
    return json_pack("{s:o, s:o}", "period_s", wl_json_real(view->watts_period_s), "values",
                     values);
}

// ---- requests ----

static json_t *count_json(int64_t n) {
    return n < 0 ? json_null() : json_integer(n);
}

static json_t *energy_of(const struct ledger_row *row) {
    const struct openai_energy energy = {.gross_j = row->gross_j,
                                         .gross_sd_j = row->gross_sd_j,
                                         .net_j = row->net_j,
                                         .net_sd_j = row->net_sd_j,
                                         .source = row->source,
                                         .scope = row->scope,
                                         .label = row->label,
                                         .n_shared =
                                             (uint32_t)(row->n_shared > 0 ? row->n_shared : 0)};
    return isfinite(row->gross_j) ? openai_energy_json(&energy) : json_null();
}

static json_t *request_json(const struct ledger_row *row, const char *end) {
    return json_pack(
        "{s:o, s:I, s:o, s:o, s:o, s:i, s:s, s:b, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o}",
        "id", json_clean(row->id), "begin_ms", (json_int_t)row->begin_wall_ms, "key",
        json_clean(row->key), "model", json_clean(row->model), "endpoint",
        json_clean(row->endpoint), "http_status", row->http_status, "end", end, "stream",
        row->is_stream, "prompt_tokens", count_json(row->prompt_tokens), "cached_tokens",
        count_json(row->cached_tokens), "completion_tokens", count_json(row->completion_tokens),
        "images", (json_int_t)row->n_images, "wait_s", wl_json_real(row->wait_s), "first_s",
        wl_json_real(row->first_s), "total_s", wl_json_real(row->total_s), "energy", energy_of(row),
        "error", json_clean(row->error));
}

static const struct ledger_row *recent_row(const struct live_view *view, size_t newest_first) {
    size_t at = view->recent_at + view->recent_capacity - 1 - newest_first;
    return &view->recent[at % view->recent_capacity];
}

static json_t *recent_json(const struct live_view *view) {
    json_t *list = json_array();
    for (size_t i = 0; i < view->n_recent && list; i++) {
        const struct ledger_row *row = recent_row(view, i);
        list = append(list, request_json(row, ledger_end_name(row->end)));
    }
    return list;
}

static json_t *running_json(const struct live_view *view) {
    json_t *list = json_array();
    for (size_t i = 0; i < view->n_rows_running && list; i++) {
        list = append(list, request_json(&view->running[i], "running"));
    }
    return list;
}

static int64_t end_ms(const struct ledger_row *row) {
    return row->begin_wall_ms + (row->total_s > 0 ? (int64_t)(fmin(row->total_s, 1e6) * 1e3) : 0);
}

// Of what ended in the last minute; where the ring holds less than that, of the time that it holds.
static json_t *minute_json(const struct live_view *view) {
    double prompt = 0, completion = 0;
    size_t n = 0;
    int64_t since_ms = view->now_ms - MS_OF_A_MINUTE;
    for (size_t i = 0; i < view->n_recent; i++) {
        const struct ledger_row *row = recent_row(view, i);
        if (end_ms(row) < view->now_ms - MS_OF_A_MINUTE) {
            continue;
        }
        n++;
        prompt += row->prompt_tokens > 0 ? (double)row->prompt_tokens : 0;
        completion += row->completion_tokens > 0 ? (double)row->completion_tokens : 0;
        if (n == view->recent_capacity) {
            since_ms = end_ms(row);
        }
    }
    double per_minute = (double)MS_OF_A_MINUTE / fmax(1000, (double)(view->now_ms - since_ms));
    return json_pack("{s:f, s:f, s:f}", "requests", (double)n * per_minute, "prompt_tokens",
                     prompt * per_minute, "completion_tokens", completion * per_minute);
}

// ---- keys ----

struct key_use {
    const struct account *account;
    struct budget budget; // as of now
};

struct key_uses {
    struct key_use *items;
    size_t n;
    double wh, tokens; // of all
};

static int by_wh(const void *a, const void *b) {
    double x = ((const struct key_use *)a)->budget.spent[BUDGET_WH];
    double y = ((const struct key_use *)b)->budget.spent[BUDGET_WH];
    return (x < y) - (x > y);
}

static void put_use(const struct live_view *view, const struct account *account,
                    struct key_uses *uses) {
    struct key_use *use = &uses->items[uses->n];
    *use = (struct key_use){.account = account, .budget = account->budget};
    budget_roll(&use->budget, view->now_ms / 1000, view->day_offset_s);
    double wh = use->budget.spent[BUDGET_WH], tokens = use->budget.spent[BUDGET_TOKENS];
    uses->wh += wh;
    uses->tokens += tokens;
    // An account that stands for nobody, or whose key has gone, is of interest when it was used.
    bool is_key = account->key.name[0] && !account->is_revoked;
    uses->n += is_key || wh > 0 || tokens > 0 || account->n_running > 0;
}

static bool take_uses(const struct live_view *view, struct key_uses *uses) {
    size_t n_accounts = 2;
    *uses = (struct key_uses){0};
    for (const struct account *a = view->accounts->first; a; a = a->next) {
        n_accounts++;
    }
    uses->items = calloc(n_accounts, sizeof *uses->items);
    if (!uses->items) {
        return false;
    }
    put_use(view, &view->accounts->everybody, uses);
    put_use(view, &view->accounts->ourselves, uses);
    for (const struct account *a = view->accounts->first; a; a = a->next) {
        put_use(view, a, uses);
    }
    qsort(uses->items, uses->n, sizeof *uses->items, by_wh);
    return true;
}

static json_t *limits_json(const struct budget *budget) {
    json_t *list = json_array();
    for (int kind = 0; kind < BUDGET_N_KINDS && list; kind++) {
        if (isfinite(budget->limit[kind])) {
            const char *per = kind == BUDGET_REQUESTS ? "minute" : "day";
            list = append(list, json_pack("{s:s, s:s, s:f, s:f, s:f, s:f}", "kind",
                                          budget_kind_name((enum budget_kind)kind), "per", per,
                                          "limit", budget->limit[kind], "used", budget->spent[kind],
                                          "held", budget->held[kind], "left",
                                          budget_left(budget, (enum budget_kind)kind)));
        }
    }
    return list;
}

static json_t *keys_json(const struct key_uses *uses) {
    json_t *list = json_array();
    for (size_t i = 0; i < uses->n && i < LIVE_MAX_KEYS && list; i++) {
        const struct key_use *use = &uses->items[i];
        list = append(
            list, json_pack("{s:o, s:b, s:I, s:f, s:f, s:o}", "key",
                            json_clean(use->account->key.name), "revoked", use->account->is_revoked,
                            "running", (json_int_t)use->account->n_running, "wh",
                            use->budget.spent[BUDGET_WH], "tokens",
                            use->budget.spent[BUDGET_TOKENS], "limits", limits_json(&use->budget)));
    }
    return list;
}

// ---- the other parts ----

static json_t *queue_json(const struct live_view *view) {
    return json_pack("{s:I, s:I, s:I, s:I}", "waiting", (json_int_t)view->n_queued, "running",
                     (json_int_t)view->n_running, "at_once", (json_int_t)view->n_at_once, "open",
                     (json_int_t)view->n_open);
}

static json_t *upstream_json(const struct live_view *view) {
    const struct upstream_facts *u = view->upstream;
    if (!u) {
        return json_null();
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I}", "kind",
                     upstream_kind_name(u->kind), "health", upstream_health_name(u->health),
                     "engine", json_clean(u->engine), "model", json_clean(u->model), "problem",
                     json_clean(u->problem), "for_s", (json_int_t)view->upstream_for_s, "starts",
                     (json_int_t)u->n_starts, "deaths", (json_int_t)u->n_deaths);
}

static json_t *ledger_json(const struct ledger_health *ledger) {
    return !ledger
               ? json_null()
               : json_pack("{s:b, s:I, s:I, s:o}", "failing", ledger->is_failing, "waiting_rows",
                           (json_int_t)ledger->n_waiting, "rows", (json_int_t)ledger->n_written,
                           "problem", json_clean(ledger->problem));
}

static json_t *canary_json(const struct canary_figures *canary) {
    if (!canary) {
        return json_null();
    }
    json_t *ci95 = isfinite(canary->accuracy_low) && isfinite(canary->accuracy_high)
                       ? json_pack("[f, f]", canary->accuracy_low, canary->accuracy_high)
                       : json_null();
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:b, s:b}", "runs",
                     (json_int_t)canary->n_runs, "last_run_ms", (json_int_t)canary->last_run_ms,
                     "answers", (json_int_t)canary->n, "right", (json_int_t)canary->n_right,
                     "failed", (json_int_t)canary->n_failed, "accuracy",
                     wl_json_real(canary->accuracy), "accuracy_ci95", ci95, "wh_per_answer",
                     wl_json_real(canary->wh_per_answer), "accuracy_low", canary->is_accuracy_low,
                     "energy_high", canary->is_energy_high);
}

json_t *live_json(const struct live_view *view) {
    struct key_uses uses;
    if (!take_uses(view, &uses)) {
        return NULL;
    }
    json_t *document = json_pack(
        "{s:i, s:I, s:I, s:o, s:b, s:o, s:o, s:{s:f, s:f}, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o,"
        " s:o}",
        "schema_version", LIVE_SCHEMA_VERSION, "now_ms", (json_int_t)view->now_ms, "uptime_s",
        (json_int_t)((view->now_ms - view->begin_ms) / 1000), "version", json_clean(view->version),
        "draining", view->is_draining, "meter", meter_json(view), "watts", watts_json(view),
        "today", "wh", uses.wh, "tokens", uses.tokens, "minute", minute_json(view), "queue",
        queue_json(view), "upstream", upstream_json(view), "ledger", ledger_json(view->ledger),
        "canary", canary_json(view->canary), "n_keys", (json_int_t)uses.n, "keys", keys_json(&uses),
        "running", running_json(view), "requests", recent_json(view));
    free(uses.items);
    return document;
}
