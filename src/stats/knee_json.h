// A fitted knee as JSON and back, so that a stored fit predicts and compares like a fresh one.
#ifndef WATTLAW_STATS_KNEE_JSON_H
#define WATTLAW_STATS_KNEE_JSON_H

#include "base/json.h"
#include "stats/knee.h"

// A new reference, NULL without memory. Figures that are NaN become null.
json_t *knee_to_json(const struct knee_fit *fit);
// INPUT: a missing key, a wrong type, or figures that contradict each other.
enum wl_status knee_from_json(const json_t *json, struct knee_fit *out, struct wl_err *err);

#endif
