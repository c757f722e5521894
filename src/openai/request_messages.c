// The messages of a chat: counted, and their pictures found.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "openai/request_parts.h"

enum { IMAGES_STEP = 8 };

// Where in the messages something is, for the words of a refusal.
struct place {
    size_t message, part;
};

static enum wl_status wrong_in_message(struct openai_fault *fault, size_t message,
                                       const char *field, const char *expected,
                                       const json_t *found) {
    char param[OPENAI_PARAM_BYTES];
    snprintf(param, sizeof param, "messages[%zu]%s", message, field);
    return openai_wrong_type(fault, param, expected, found);
}

static enum wl_status wrong_in_part(struct openai_fault *fault, struct place place,
                                    const char *field, const char *expected, const json_t *found) {
    char param[OPENAI_PARAM_BYTES];
    snprintf(param, sizeof param, "messages[%zu].content[%zu]%s", place.message, place.part, field);
    return openai_wrong_type(fault, param, expected, found);
}

// ---- pictures

static enum wl_status add_image(struct openai_request *request, const struct openai_image *image,
                                struct openai_fault *fault) {
    if (request->n_images == OPENAI_MAX_IMAGES) {
        return openai_fault_set(fault, WL_LIMIT, "array_above_max_length", "messages",
                                "'messages': expected at most %d pictures, found more",
                                OPENAI_MAX_IMAGES);
    }
    if (request->n_images % IMAGES_STEP == 0) {
        size_t n = request->n_images + IMAGES_STEP;
        struct openai_image *images = realloc(request->images, n * sizeof *images);
        if (!images) {
            return openai_fault_set(fault, WL_MEMORY, NULL, NULL, "no memory for the request");
        }
        request->images = images;
    }
    request->images[request->n_images++] = *image;
    return WL_OK;
}

static enum openai_detail detail_of(const json_t *value) {
    const char *text = json_string_value(value);
    return text && strcmp(text, "low") == 0    ? OPENAI_DETAIL_LOW
           : text && strcmp(text, "high") == 0 ? OPENAI_DETAIL_HIGH
                                               : OPENAI_DETAIL_AUTO;
}

// {"image_url": {"url", "detail"}}, or in short {"image_url": "...", "detail"}.
static enum wl_status read_image(struct openai_request *request, struct place place, json_t *part,
                                 struct openai_fault *fault) {
    json_t *value = json_object_get(part, "image_url");
    bool is_short = json_is_string(value);
    if (!is_short && !json_is_object(value)) {
        return wrong_in_part(fault, place, ".image_url", "an object with a 'url'", value);
    }
    struct openai_image image = {.holder = is_short ? part : value,
                                 .key = is_short ? "image_url" : "url",
                                 .message = place.message,
                                 .part = place.part};
    const json_t *url = json_object_get(image.holder, image.key);
    if (!json_is_string(url) || json_string_length(url) == 0) {
        bool is_empty = json_is_string(url);
        return wrong_in_part(fault, place, is_short ? ".image_url" : ".image_url.url",
                             "the address of a picture", is_empty ? NULL : url);
    }
    image.url = json_string_value(url);
    image.n_url = json_string_length(url);
    image.detail = detail_of(json_object_get(image.holder, "detail"));
    return add_image(request, &image, fault);
}

// ---- messages

static bool is_image_type(const char *type) {
    return strcmp(type, "image_url") == 0 || strcmp(type, "input_image") == 0;
}

static enum wl_status read_part(struct openai_request *request, struct place place, json_t *part,
                                struct openai_fault *fault) {
    if (!json_is_object(part)) {
        return wrong_in_part(fault, place, "", "an object", part);
    }
    const json_t *type = json_object_get(part, "type");
    if (!json_is_string(type)) {
        return wrong_in_part(fault, place, ".type", "text", type);
    }
    return is_image_type(json_string_value(type)) ? read_image(request, place, part, fault) : WL_OK;
}

static enum wl_status read_message(struct openai_request *request, size_t i, json_t *message,
                                   struct openai_fault *fault) {
    if (!json_is_object(message)) {
        return wrong_in_message(fault, i, "", "an object", message);
    }
    const json_t *role = json_object_get(message, "role");
    if (!json_is_string(role)) {
        return wrong_in_message(fault, i, ".role", "text", role);
    }
    json_t *content = json_object_get(message, "content");
    if (!content || json_is_null(content) || json_is_string(content)) {
        return WL_OK;
    }
    if (!json_is_array(content)) {
        return wrong_in_message(fault, i, ".content", "text, or a list of parts", content);
    }
    enum wl_status status = WL_OK;
    size_t n_parts = json_array_size(content);
    for (size_t k = 0; k < n_parts && status == WL_OK; k++) {
        status = read_part(request, (struct place){i, k}, json_array_get(content, k), fault);
    }
    return status;
}

enum wl_status openai_request_read_messages(struct openai_request *request,
                                            struct openai_fault *fault) {
    const json_t *messages = json_object_get(request->root, "messages");
    if (!json_is_array(messages)) {
        return openai_wrong_type(fault, "messages", "a list of messages", messages);
    }
    request->n_messages = json_array_size(messages);
    if (request->n_messages > OPENAI_MAX_MESSAGES) {
        return openai_fault_set(fault, WL_LIMIT, "array_above_max_length", "messages",
                                "'messages': expected at most %d messages, found %zu",
                                OPENAI_MAX_MESSAGES, request->n_messages);
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < request->n_messages && status == WL_OK; i++) {
        status = read_message(request, i, json_array_get(messages, i), fault);
    }
    return status;
}
