// Any bytes: a value or one clear refusal; what was taken survives writing and parsing again.
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *value, *again;
    struct wl_err err = {0};
    if (wl_json_parse((const char *)data, size, &value, &err) != WL_OK) {
        if (value || err.status != WL_INPUT || !err.message[0]) {
            abort();
        }
        return 0;
    }
    struct buf text;
    buf_init(&text, 1 << 26);
    if (!wl_json_write(&text, value) || wl_json_parse(text.data, text.len, &again, &err) != WL_OK ||
        !json_equal(value, again)) {
        abort();
    }
    json_decref(value);
    json_decref(again);
    buf_release(&text);
    return 0;
}
