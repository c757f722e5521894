// The document of GET /v1/energy. A function of what the ledger and the meter say; no I/O.
#ifndef WATTLAW_GATEWAY_ENERGY_JSON_H
#define WATTLAW_GATEWAY_ENERGY_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "store/ledger.h"

enum { ENERGY_SCHEMA_VERSION = 1 };

struct energy_sums {
    const struct ledger_summary *items;
    size_t n;
};

// Real numbers are NaN, texts NULL where they are not known: null in the document.
struct energy_view {
    int64_t since_ms, until_ms;         // Unix time; 0 and INT64_MAX: without an end
    const char *source, *scope, *label; // as in a request's energy
    double idle_w, idle_sd_w, now_w;
    const struct ledger_machine *machine; // of the days (UTC) that the time touches; NULL: not for
                                          // this reader
    struct energy_sums by_key, by_model, by_day;
};

// {"schema_version","since","until","source","scope","label","idle_w","idle_w_ci95","now_w",
//  "totals": {"requests","answered","prompt_tokens","completion_tokens","requests_wh",
//             "requests_net_wh","measured_wh","idle_wh","busy_s","idle_s","gap_s"},
//  "by_key": [{"key",...}], "by_model": [{"model",...}], "by_day": [{"day",...}]}
// with "requests","answered","prompt_tokens","completion_tokens","wh","net_wh" in each part. Totals
// are those of by_model. New reference; NULL without memory.
json_t *energy_json(const struct energy_view *view);

#endif
