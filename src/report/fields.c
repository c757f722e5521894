#include "report/fields.h"

#include "base/json.h"

void field_set(json_t *object, const char *key, json_t *value) {
    json_object_set_new(object, key, value ? value : json_null());
}

void field_text(json_t *object, const char *key, const char *text) {
    field_set(object, key, json_string(text));
}

void field_real(json_t *object, const char *key, double value) {
    field_set(object, key, wl_json_real(value));
}

void field_count(json_t *object, const char *key, uint64_t value) {
    field_set(object, key, json_integer((json_int_t)value));
}

void field_flag(json_t *object, const char *key, bool value) {
    field_set(object, key, json_boolean(value));
}

void field_interval(json_t *object, const char *key, struct stats_interval interval) {
    field_set(object, key,
              json_pack("[o, o]", wl_json_real(interval.low), wl_json_real(interval.high)));
}
