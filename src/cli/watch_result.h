// What `watch` found, as a table for people and as JSON.
#ifndef WATTLAW_CLI_WATCH_RESULT_H
#define WATTLAW_CLI_WATCH_RESULT_H

#include <jansson.h>
#include <stdio.h>

#include "measure/watch.h"

void watch_result_print(FILE *out, const struct watch_result *result);
// A new object; NULL without memory.
json_t *watch_result_json(const struct watch_result *result);

#endif
