// What model servers say about themselves, read with distrust into facts. PURE.
#ifndef WATTLAW_GATEWAY_UPSTREAM_READ_H
#define WATTLAW_GATEWAY_UPSTREAM_READ_H

#include <jansson.h>
#include <stdbool.h>

#include "gateway/upstream.h"

// Each returns false, with the facts untouched, when the answer is not of that kind. `json` may be
// NULL or anything.
bool upstream_read_props(const json_t *json, struct upstream_facts *facts);   // llama-server /props
bool upstream_read_version(const json_t *json, struct upstream_facts *facts); // {"version": "..."}
bool upstream_read_models(const json_t *json, struct upstream_facts *facts);  // /v1/models
bool upstream_read_tags(const json_t *json, struct upstream_facts *facts);    // Ollama /api/tags
// "Loading model" of a llama-server's 503.
bool upstream_says_loading(const json_t *json);
// What an error answer says: OpenAI's form, FastAPI's, or a bare text; NULL.
const char *upstream_error_text(const json_t *json);
// Whether an endpoint that was sent an empty request exists.
bool upstream_has_endpoint(long http_status, const json_t *json);

#endif
