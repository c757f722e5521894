#include "report/fields.h"

#include "base/json.h"

void report_field_set(json_t *object, const char *key, json_t *value) {
    json_object_set_new(object, key, value ? value : json_null());
}

void report_field_text(json_t *object, const char *key, const char *text) {
    report_field_set(object, key, json_string(text));
}

void report_field_real(json_t *object, const char *key, double value) {
    report_field_set(object, key, wl_json_real(value));
}

void report_field_count(json_t *object, const char *key, uint64_t value) {
    report_field_set(object, key, json_integer((json_int_t)value));
}

void report_field_flag(json_t *object, const char *key, bool value) {
    report_field_set(object, key, json_boolean(value));
}

void report_field_interval(json_t *object, const char *key, struct stats_interval interval) {
    report_field_set(object, key,
                     json_pack("[o, o]", wl_json_real(interval.low), wl_json_real(interval.high)));
}
