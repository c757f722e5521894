// The document of GET /v1/energy/live, which the live page asks for once a second. A function of
// what the gateway's parts say; no I/O.
#ifndef WATTLAW_GATEWAY_LIVE_JSON_H
#define WATTLAW_GATEWAY_LIVE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/accounts.h"
#include "gateway/canary.h"
#include "gateway/ledger_thread.h"
#include "gateway/power.h"
#include "gateway/upstream.h"

enum { LIVE_SCHEMA_VERSION = 1, LIVE_MAX_KEYS = 50 };

// All of it is borrowed. Parts that are not there are NULL: null in the document.
struct live_view {
    int64_t now_ms, begin_ms; // Unix time: now, and when the gateway began
    int64_t day_offset_s;     // the user's midnight after that of UTC
    const char *version;
    bool is_draining;

    const char *source, *scope, *label; // of the meter
    const struct power_state *power;    // NULL: no meter
    bool is_meter_lost;
    // Rings: the newest is at `at` - 1. Watts that are not finite: null.
    const float *watts;
    size_t n_watts, watts_at, watts_capacity;
    double watts_period_s;
    const struct ledger_row *recent; // requests that have ended
    size_t n_recent, recent_at, recent_capacity;

    const struct ledger_row *running; // as far as is known, the oldest first
    size_t n_rows_running;
    size_t n_queued, n_running, n_at_once, n_open; // n_open: requests of clients not at their end
    const struct upstream_facts *upstream;
    int64_t upstream_for_s; // in its state
    const struct ledger_health *ledger;
    const struct canary_figures *canary;
    const struct accounts *accounts;
};

// {"schema_version","now_ms","uptime_s","version","draining",
//  "meter": {"source","scope","label","lost","now_w","idle_w","idle_w_ci95","gaps","gap_s",
//            "measured_wh","requests_wh","idle_wh","busy_s","idle_s"},     since the gateway began
//  "watts": {"period_s","values": [...]},                                  the oldest first
//  "today": {"wh","tokens"},                                               the user's day
//  "minute": {"requests","prompt_tokens","completion_tokens"},             per minute, lately
//  "queue": {"waiting","running","at_once","open"},
//  "upstream": {"kind","health","engine","model","problem","for_s","starts","deaths"},
//  "ledger": {"failing","waiting_rows","rows","problem"},
//  "canary": {"runs","last_run_ms","answers","right","failed","accuracy","accuracy_ci95",
//             "wh_per_answer","accuracy_low","energy_high"},
//  "n_keys", "keys": [{"key","revoked","running","wh","tokens",
//            "limits": [{"kind","per","limit","used","held","left"}]}],    most Wh first
//  "running": [request...], "requests": [request...]}                      the newest first
// A request: {"id","begin_ms","key","model","endpoint","http_status","end","stream",
//             "prompt_tokens","cached_tokens","completion_tokens","images","wait_s","first_s",
//             "total_s","energy","error"} with "energy" as in an answer's usage.
// New reference; NULL without memory.
json_t *live_json(const struct live_view *view);

#endif
