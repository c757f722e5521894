// Header decode: any 16 bytes from either side. What is accepted must encode back to itself.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_from(const uint8_t *data, char from) {
    struct engine_header header = {0};
    struct wl_err err = {0};
    enum wl_status status = engine_header_decode(data, from, &header, &err);
    if (status != WL_OK) {
        if (status != WL_PROTOCOL || err.status != WL_PROTOCOL || err.message[0] == '\0') {
            abort(); // a refusal without a reason
        }
        return;
    }
    if (header.payload_bytes > engine_frame_max_bytes(header.type) ||
        engine_frame_direction(header.type) != from) {
        abort();
    }
    unsigned char again[ENGINE_HEADER_BYTES];
    engine_header_encode(&header, again);
    if (memcmp(again, data, sizeof again) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (; size >= ENGINE_HEADER_BYTES; data++, size--) {
        decode_from(data, 'c');
        decode_from(data, 'e');
    }
    return 0;
}
