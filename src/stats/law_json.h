// A fitted law as JSON and back, so that a stored fit predicts and compares like a fresh one.
#ifndef WATTLAW_STATS_LAW_JSON_H
#define WATTLAW_STATS_LAW_JSON_H

#include "base/json.h"
#include "stats/law.h"

// A new reference, NULL without memory. Figures that are NaN become null.
json_t *law_to_json(const struct law_fit *fit);
// INPUT: a missing key, a wrong type, a negative variance, or counts that make no sense.
enum wl_status law_from_json(const json_t *json, struct law_fit *out, struct wl_err *err);

#endif
