// Inside report only: fields of JSON objects. Nothing of it fails loudly: without memory a field is
// null.
#ifndef WATTLAW_REPORT_FIELDS_H
#define WATTLAW_REPORT_FIELDS_H

#include <jansson.h>
#include <stdint.h>

#include "report/result.h"
#include "stats/describe.h"

void report_field_set(json_t *object, const char *key, json_t *value); // takes the reference
void report_field_text(json_t *object, const char *key, const char *text);
void report_field_real(json_t *object, const char *key, double value); // null for NaN
void report_field_count(json_t *object, const char *key, uint64_t value);
void report_field_flag(json_t *object, const char *key, bool value);
void report_field_interval(json_t *object, const char *key, struct stats_interval interval);

// format_json_vision.c: "images" and "answers" of a model, each only where there is something.
void report_field_vision(json_t *model, const struct report_vision *vision);

#endif
