#include "worker/count.h"

#include <inttypes.h>

#include "worker/count_prompt.h"
#include "worker/image_count.h"

enum { MAX_SIZES = 4096 };

static enum wl_status take_side(const json_t *size, size_t i, size_t side, uint32_t *out,
                                struct wl_err *err) {
    const json_t *value = json_array_get(size, side);
    json_int_t found = json_integer_value(value);
    if (!json_is_integer(value) || found < 1 || found > UINT32_MAX) {
        return wl_err_set(err, WL_INPUT, "count: size %zu: expected [width, height], each from 1",
                          i);
    }
    *out = (uint32_t)found;
    return WL_OK;
}

// [image tokens, text tokens, positions, views, effective pixels]. A stand-in's wrapper is not the
// real one: only the image itself counts then.
static json_t *count_json(const struct vision *vision, const struct image_count *count) {
    uint32_t text_tokens = vision->is_stand_in ? 0 : count->text_tokens;
    uint32_t positions = count->positions - (count->text_tokens - text_tokens);
    return json_pack("[I, I, I, I, I]", (json_int_t)count->image_tokens, (json_int_t)text_tokens,
                     (json_int_t)positions, (json_int_t)count->n_views,
                     (json_int_t)count->effective_pixels);
}

enum wl_status count_take_size(const json_t *size, size_t i, uint32_t *width, uint32_t *height,
                               struct wl_err *err) {
    enum wl_status status = take_side(size, i, 0, width, err);
    return status == WL_OK ? take_side(size, i, 1, height, err) : status;
}

static enum wl_status count_sizes(const struct vision *vision, const json_t *sizes, json_t *counts,
                                  struct wl_err *err) {
    for (size_t i = 0; i < json_array_size(sizes); i++) {
        uint32_t width = 0, height = 0;
        struct image_count count;
        enum wl_status status;
        if ((status = count_take_size(json_array_get(sizes, i), i, &width, &height, err)) ||
            (status = image_count_size(vision, width, height, &count, err))) {
            return status;
        }
        json_array_append_new(counts, count_json(vision, &count));
    }
    return WL_OK;
}

static enum wl_status count_images(const struct vision *vision, const json_t *request,
                                   json_t **result, struct wl_err *err) {
    const json_t *sizes = json_object_get(request, "sizes");
    size_t n = json_array_size(sizes);
    if (!vision->mtmd) {
        return wl_err_set(err, WL_USAGE,
                          "no image encoder is loaded; send COUNTER, or LOAD with mmproj, first");
    }
    if (!json_is_array(sizes) || n == 0 || n > MAX_SIZES) {
        return wl_err_set(err, WL_INPUT, "count: expected 1 to %d sizes, found %zu", MAX_SIZES, n);
    }
    json_t *counts = json_array();
    enum wl_status status = count_sizes(vision, sizes, counts, err);
    if (status != WL_OK) {
        json_decref(counts);
        return status;
    }
    *result = json_pack("{s:o}", "counts", counts);
    return WL_OK;
}

enum wl_status count_request(const struct session *session, const json_t *request, json_t **result,
                             struct wl_err *err) {
    bool is_prompt =
        json_object_get(request, "messages") != NULL || json_object_get(request, "text") != NULL;
    return is_prompt ? count_prompt(session, request, result, err)
                     : count_images(&session->vision, request, result, err);
}
