// A record from any JSON: refused, or its own JSON gives the same record again.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "record/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct record record, again;
    struct wl_err err = {0};
    json_t *json;
    if (wl_json_parse((const char *)data, size, &json, NULL) != WL_OK) {
        return 0;
    }
    if (record_from_json(json, &record, &err) == WL_OK) {
        json_t *first = record_to_json(&record);
        if (record_from_json(first, &again, &err) != WL_OK) {
            abort();
        }
        json_t *second = record_to_json(&again);
        if (!json_equal(first, second) || again.n_energies != record.n_energies ||
            again.n_phases != record.n_phases) {
            abort();
        }
        json_decref(first);
        json_decref(second);
    } else if (err.status != WL_INPUT || !err.message[0]) {
        abort();
    }
    json_decref(json);
    return 0;
}
