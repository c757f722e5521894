// Reading an object whose fields are all known: settings that people write. A field with a misspelt
// name would not do what its writer thinks, so unknown ones are refused, with the nearest name.
#ifndef WATTLAW_BASE_JSON_FIELDS_H
#define WATTLAW_BASE_JSON_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

// INPUT: `value` is no object, or has a field that is not among `fields` (NULL at the end).
// `expected` says what it should be: "an object {\"keys\": [...]}".
enum wl_status json_fields_check(json_t *value, const char *expected, const char *const *fields,
                                 struct wl_err *err);
// INPUT: "field 'x': expected <expected>, found text", or that it is missing.
enum wl_status json_fields_wrong(const char *field, const char *expected, const json_t *value,
                                 struct wl_err *err);

// Each leaves *out alone when the field is absent. Numbers outside of [min, max] are INPUT.
enum wl_status json_fields_i64(const json_t *object, const char *field, int64_t min, int64_t max,
                               int64_t *out, struct wl_err *err);
enum wl_status json_fields_double(const json_t *object, const char *field, double min, double max,
                                  double *out, struct wl_err *err);
enum wl_status json_fields_bool(const json_t *object, const char *field, bool *out,
                                struct wl_err *err);
// At most size-1 bytes (LIMIT).
enum wl_status json_fields_text(const json_t *object, const char *field, char *out, size_t size,
                                struct wl_err *err);
// One of the words (NULL at the end); *out is its index.
enum wl_status json_fields_word(const json_t *object, const char *field, const char *const *words,
                                int *out, struct wl_err *err);

#endif
