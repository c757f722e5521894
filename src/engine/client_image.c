#include <stdio.h>

#include "base/json.h"
#include "engine/client_request.h"

enum { SLOT_NUMBER_BYTES = 4 };

static enum wl_status make_payload(struct buf *payload, uint32_t slot, const void *bytes, size_t n,
                                   struct wl_err *err) {
    unsigned char number[SLOT_NUMBER_BYTES];
    for (size_t i = 0; i < SLOT_NUMBER_BYTES; i++) {
        number[i] = (unsigned char)(slot >> (8 * i));
    }
    buf_init(payload, engine_frame_max_bytes(ENGINE_IMAGE));
    if (buf_append(payload, number, sizeof number) && (n == 0 || buf_append(payload, bytes, n))) {
        return WL_OK;
    }
    buf_release(payload);
    return wl_err_set(err, WL_LIMIT, "an image of %zu bytes: at most %u are allowed", n,
                      engine_frame_max_bytes(ENGINE_IMAGE) - SLOT_NUMBER_BYTES);
}

enum wl_status engine_put_image(struct engine *engine, uint32_t slot, const void *bytes, size_t n,
                                struct engine_image *out, struct wl_err *err) {
    struct wl_err local;
    struct engine_image unused;
    struct buf payload;
    char doing[64];
    err = err ? err : &local;
    out = out ? out : &unused;
    *out = (struct engine_image){0};
    if (slot >= ENGINE_MAX_IMAGE_SLOTS) {
        return wl_err_set(err, WL_USAGE, "image slot %u: expected 0 to %d", slot,
                          ENGINE_MAX_IMAGE_SLOTS - 1);
    }
    enum wl_status status = make_payload(&payload, slot, bytes, n, err);
    if (status != WL_OK) {
        return status;
    }
    snprintf(doing, sizeof doing, "taking an image of %zu bytes", n);
    struct link_request request = client_prepare(engine, ENGINE_IMAGE, NULL, CLIENT_SECONDS(60), 0);
    request.doing = doing;
    request.advice = "the picture may be damaged";
    status = client_exchange_bytes(engine, &request, &payload, err);
    buf_release(&payload);
    if (status == WL_OK && n > 0 && engine_image_decode(request.result, out, err) != WL_OK) {
        status = client_distrust(engine, doing, err);
    }
    json_decref(request.result);
    return status;
}
