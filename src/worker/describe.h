// DESCRIBE: the loaded model as JSON.
#ifndef WATTLAW_WORKER_DESCRIBE_H
#define WATTLAW_WORKER_DESCRIBE_H

#include <jansson.h>

#include "worker/session.h"

json_t *describe_model(const struct session *session);
json_t *describe_memory(const struct ram_prediction *ram);
// ggml's name of a tensor type in lower case ("q4_k").
void describe_type_name(enum ggml_type type, char *out, size_t size);

#endif
