#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "engine/result_field.h"

enum { MAX_SIDE = 1 << 20, MAX_VIEWS = 65536, COUNT_FIELDS = 5 };
static const int64_t MAX_BYTES = INT64_C(1) << 60;
static const int64_t MAX_PIXELS = INT64_C(1) << 40; // MAX_SIDE squared
static const double MAX_PIXELS_PER_TOKEN = 1e9;

static enum wl_status vision_counts(const json_t *vision, struct engine_vision *out,
                                    struct wl_err *err) {
    const struct {
        const char *key;
        uint32_t *out;
        uint32_t high;
    } fields[] = {
        {"n_layer", &out->n_layer, 100000},
        {"n_embd", &out->n_embd, 100000000},
        {"n_ff", &out->n_ff, 100000000},
        {"n_head", &out->n_head, 100000000},
        {"patch_size", &out->patch_size, 1000000},
        {"image_size", &out->image_size, 1000000},
        {"n_embd_out", &out->n_embd_out, 100000000},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        enum wl_status status =
            field_u32(vision, fields[i].key, fields[i].high, fields[i].out, err);
        if (status != WL_OK) {
            return status;
        }
    }
    return WL_OK;
}

static enum wl_status vision_budget(const json_t *vision, const char *key, int32_t *out,
                                    struct wl_err *err) {
    int64_t value = 0;
    enum wl_status status = field_i64(vision, key, 0, ENGINE_MAX_TOKENS, &value, err);
    *out = (int32_t)value;
    return status;
}

static enum wl_status vision_pixels(const json_t *vision, struct engine_vision *out,
                                    struct wl_err *err) {
    double *pixels = &out->pixels_per_token;
    enum wl_status status =
        field_protocol(wl_json_get_double(vision, "pixels_per_token", pixels, err), err);
    if (status == WL_OK && !(*pixels >= 0 && *pixels <= MAX_PIXELS_PER_TOKEN)) {
        status = wl_err_set(err, WL_PROTOCOL, "key 'pixels_per_token': expected 0 to %g",
                            MAX_PIXELS_PER_TOKEN);
    }
    return status;
}

static enum wl_status vision_fields(const json_t *vision, struct engine_vision *out,
                                    struct wl_err *err) {
    enum wl_status status;
    if ((status = field_object(vision, "vision", err)) ||
        (status = field_word(vision, "projector", out->projector, err)) ||
        (status = field_i64(vision, "file_bytes", 0, MAX_BYTES, &out->file_bytes, err)) ||
        (status = field_i64(vision, "n_params", 0, MAX_BYTES, &out->n_params, err)) ||
        (status = vision_counts(vision, out, err)) || (status = vision_pixels(vision, out, err)) ||
        (status = vision_budget(vision, "image_min_tokens", &out->image_min_tokens, err)) ||
        (status = vision_budget(vision, "image_max_tokens", &out->image_max_tokens, err)) ||
        (status = field_bool(vision, "is_mrope", &out->is_mrope, err)) ||
        (status = field_bool(vision, "is_non_causal", &out->is_non_causal, err)) ||
        (status = field_bool(vision, "is_stand_in", &out->is_stand_in, err))) {
        return status;
    }
    field_loose_text(vision, "name", out->name, sizeof out->name);
    return WL_OK;
}

enum wl_status engine_vision_decode(const json_t *vision, struct engine_vision *out,
                                    struct wl_err *err) {
    *out = (struct engine_vision){0};
    enum wl_status status = vision_fields(vision, out, err);
    if (status != WL_OK) {
        wl_err_prefix(err, "the image encoder's description");
        *out = (struct engine_vision){0};
    }
    return status;
}

static enum wl_status count_fields(const json_t *count, struct engine_image_count *out,
                                   struct wl_err *err) {
    static const struct {
        const char *name;
        int64_t low, high;
    } FIELDS[COUNT_FIELDS] = {{"image tokens", 1, ENGINE_MAX_TOKENS},
                              {"text tokens", 0, ENGINE_MAX_TOKENS},
                              {"positions", 1, 2 * (int64_t)ENGINE_MAX_TOKENS},
                              {"views", 1, MAX_VIEWS},
                              {"effective pixels", 0, MAX_PIXELS}};
    int64_t values[COUNT_FIELDS];
    if (json_array_size(count) != COUNT_FIELDS) {
        return wl_err_set(err, WL_PROTOCOL, "expected %d numbers", COUNT_FIELDS);
    }
    for (size_t i = 0; i < COUNT_FIELDS; i++) {
        const json_t *value = json_array_get(count, i);
        values[i] = json_integer_value(value);
        if (!json_is_integer(value) || values[i] < FIELDS[i].low || values[i] > FIELDS[i].high) {
            return wl_err_set(err, WL_PROTOCOL, "%s: expected %lld to %lld, found %lld",
                              FIELDS[i].name, (long long)FIELDS[i].low, (long long)FIELDS[i].high,
                              (long long)values[i]);
        }
    }
    *out = (struct engine_image_count){.image_tokens = (uint32_t)values[0],
                                       .text_tokens = (uint32_t)values[1],
                                       .positions = (uint32_t)values[2],
                                       .n_views = (uint32_t)values[3],
                                       .effective_pixels = (uint64_t)values[4]};
    if (values[2] > values[0] + values[1]) {
        return wl_err_set(err, WL_PROTOCOL, "positions: %" PRId64 " of %" PRId64 " tokens",
                          values[2], values[0] + values[1]);
    }
    return WL_OK;
}

enum wl_status engine_counts_decode(const json_t *result, size_t n,
                                    struct engine_image_count *counts, struct wl_err *err) {
    const json_t *array = json_object_get(result, "counts");
    memset(counts, 0, n * sizeof *counts);
    if (!json_is_array(array) || json_array_size(array) != n) {
        return wl_err_set(err, WL_PROTOCOL, "key 'counts': expected %zu, found %zu", n,
                          json_array_size(array));
    }
    for (size_t i = 0; i < n; i++) {
        if (count_fields(json_array_get(array, i), &counts[i], err) != WL_OK) {
            memset(counts, 0, n * sizeof *counts);
            return wl_err_prefix(err, "count %zu", i);
        }
    }
    return WL_OK;
}

enum wl_status engine_image_decode(const json_t *result, struct engine_image *out,
                                   struct wl_err *err) {
    int64_t width = 0;
    int64_t height = 0;
    *out = (struct engine_image){0};
    enum wl_status status;
    if ((status = field_object(result, "image", err)) ||
        (status = field_i64(result, "width", 1, MAX_SIDE, &width, err)) ||
        (status = field_i64(result, "height", 1, MAX_SIDE, &height, err)) ||
        (status = field_word(result, "format", out->format, err))) {
        *out = (struct engine_image){0};
        return status;
    }
    out->width = (uint32_t)width;
    out->height = (uint32_t)height;
    return WL_OK;
}

static enum wl_status run_image_fields(const json_t *image, bool is_complete,
                                       struct engine_run_image *out, struct wl_err *err) {
    int64_t low = is_complete; // what an interrupted run did not reach is 0
    int64_t values[7] = {0};
    const struct {
        const char *key;
        int64_t low, high;
    } fields[7] = {{"width", 1, MAX_SIDE},
                   {"height", 1, MAX_SIDE},
                   {"decoded_width", low, MAX_SIDE},
                   {"decoded_height", low, MAX_SIDE},
                   {"n_views", low, MAX_VIEWS},
                   {"image_tokens", low, ENGINE_MAX_TOKENS},
                   {"effective_pixels", 0, MAX_PIXELS}};
    enum wl_status status = field_object(image, "image", err);
    for (size_t i = 0; i < 7 && status == WL_OK; i++) {
        status = field_i64(image, fields[i].key, fields[i].low, fields[i].high, &values[i], err);
    }
    *out = (struct engine_run_image){.width = (uint32_t)values[0],
                                     .height = (uint32_t)values[1],
                                     .decoded_width = (uint32_t)values[2],
                                     .decoded_height = (uint32_t)values[3],
                                     .n_views = (uint32_t)values[4],
                                     .image_tokens = (uint32_t)values[5],
                                     .effective_pixels = (uint64_t)values[6]};
    if (status == WL_OK && (values[2] > values[0] || values[3] > values[1])) {
        status = wl_err_set(err, WL_PROTOCOL, "decoded to %lld x %lld, larger than %lld x %lld",
                            (long long)values[2], (long long)values[3], (long long)values[0],
                            (long long)values[1]);
    }
    return status;
}

static enum wl_status run_image_list(const json_t *result, const struct engine_bounds *bounds,
                                     bool is_complete, struct engine_run_result *out,
                                     struct wl_err *err) {
    const json_t *images = json_object_get(result, "images");
    size_t n = json_array_size(images);
    uint64_t sum = 0;
    if (n != bounds->n_images || n > ENGINE_MAX_RUN_IMAGES) {
        return wl_err_set(err, WL_PROTOCOL, "key 'images': expected the %u asked for, found %zu",
                          bounds->n_images, n);
    }
    for (size_t i = 0; i < n; i++) {
        struct engine_run_image *image = &out->images[i];
        if (run_image_fields(json_array_get(images, i), is_complete, image, err) != WL_OK) {
            return wl_err_prefix(err, "image %zu", i);
        }
        sum += image->image_tokens;
        out->n_images++;
    }
    if (sum != out->n_image_tokens) {
        return wl_err_set(err, WL_PROTOCOL,
                          "key 'n_image_tokens': found %u, but the images have %llu",
                          out->n_image_tokens, (unsigned long long)sum);
    }
    return WL_OK;
}

enum wl_status field_run_images(const json_t *result, const struct engine_bounds *bounds,
                                struct engine_run_result *out, struct wl_err *err) {
    bool is_complete = out->stop != ENGINE_STOP_TIME && out->stop != ENGINE_STOP_CANCEL;
    out->n_positions = out->n_prompt;
    if (bounds->n_images == 0) {
        return json_array_size(json_object_get(result, "images")) == 0
                   ? WL_OK
                   : wl_err_set(err, WL_PROTOCOL, "key 'images': nobody asked for any");
    }
    // A picture can take fewer positions than tokens, never more.
    enum wl_status status =
        field_u32(result, "n_image_tokens", out->n_prompt, &out->n_image_tokens, err);
    if (status == WL_OK) {
        status = field_u32(result, "n_positions", out->n_prompt, &out->n_positions, err);
    }
    return status == WL_OK ? run_image_list(result, bounds, is_complete, out, err) : status;
}
