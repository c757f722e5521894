#include "gateway/energy_json.h"

#include <math.h>

#include "base/json.h"
#include "base/units.h"
#include "gateway/json_clean.h"
#include "os/clock.h"

static const double Z95 = 1.959963984540054;

static json_t *time_json(int64_t wall_ms) {
    char text[32];
    bool is_open = wall_ms <= 0 || wall_ms == INT64_MAX;
    return is_open ? json_null() : json_string(os_format_utc(text, sizeof text, wall_ms * 1000000));
}

static json_t *interval_json(double value, double sd) {
    double low = value - Z95 * sd, high = value + Z95 * sd;
    return isfinite(low) && isfinite(high) ? json_pack("[f, f]", low, high) : json_null();
}

static json_t *part_json(const char *name_of_name, const struct ledger_summary *part) {
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:o, s:o}", name_of_name, json_clean(part->name),
                     "requests", (json_int_t)part->n_requests, "answered",
                     (json_int_t)part->n_answered, "prompt_tokens", (json_int_t)part->prompt_tokens,
                     "completion_tokens", (json_int_t)part->completion_tokens, "wh",
                     wl_json_real(part->gross_wh), "net_wh", wl_json_real(part->net_wh));
}

// NULL without memory, and the caller's json_pack fails by it.
static json_t *parts_json(const char *name_of_name, const struct energy_sums *parts) {
    json_t *list = json_array();
    for (size_t i = 0; i < parts->n && list; i++) {
        if (json_array_append_new(list, part_json(name_of_name, &parts->items[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static struct ledger_summary total_of(const struct energy_sums *parts) {
    struct ledger_summary total = {0};
    for (size_t i = 0; i < parts->n; i++) {
        const struct ledger_summary *part = &parts->items[i];
        total.n_requests += part->n_requests;
        total.n_answered += part->n_answered;
        total.prompt_tokens += part->prompt_tokens;
        total.completion_tokens += part->completion_tokens;
        total.gross_wh += part->gross_wh;
        total.net_wh += part->net_wh;
    }
    return total;
}

static json_t *totals_json(const struct energy_view *view) {
    static const struct ledger_machine NOT_KNOWN = {NAN, NAN, NAN, NAN, NAN, NAN};
    const struct ledger_machine *machine = view->machine ? view->machine : &NOT_KNOWN;
    const struct ledger_summary total = total_of(&view->by_model);
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "requests",
        (json_int_t)total.n_requests, "answered", (json_int_t)total.n_answered, "prompt_tokens",
        (json_int_t)total.prompt_tokens, "completion_tokens", (json_int_t)total.completion_tokens,
        "requests_wh", wl_json_real(total.gross_wh), "requests_net_wh", wl_json_real(total.net_wh),
        "measured_wh", wl_json_real(machine->measured_j / UNITS_J_PER_WH), "idle_wh",
        wl_json_real(machine->idle_j / UNITS_J_PER_WH), "busy_s", wl_json_real(machine->busy_s),
        "idle_s", wl_json_real(machine->idle_s), "gap_s", wl_json_real(machine->gap_s));
}

json_t *energy_json(const struct energy_view *view) {
    return json_pack(
        "{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "schema_version",
        ENERGY_SCHEMA_VERSION, "since", time_json(view->since_ms), "until",
        time_json(view->until_ms), "source", json_clean(view->source), "scope",
        json_clean(view->scope), "label", json_clean(view->label), "idle_w",
        wl_json_real(view->idle_w), "idle_w_ci95", interval_json(view->idle_w, view->idle_sd_w),
        "now_w", wl_json_real(view->now_w), "totals", totals_json(view), "by_key",
        parts_json("key", &view->by_key), "by_model", parts_json("model", &view->by_model),
        "by_day", parts_json("day", &view->by_day));
}
