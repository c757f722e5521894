// Pictures of a request in other sizes and places.
#include <string.h>

#include "openai/request.h"

static bool is_printable_ascii(const char *text, size_t n) {
    unsigned char worst = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        worst |= c < 0x21 || c > 0x7e;
    }
    return worst == 0;
}

enum wl_status openai_request_set_image(struct openai_request *request, size_t i, const char *uri,
                                        size_t n_uri, struct openai_fault *fault) {
    struct openai_image *image = &request->images[i];
    if (n_uri == 0 || !is_printable_ascii(uri, n_uri)) {
        return openai_fault_set(fault, WL_INPUT, NULL, NULL,
                                "the address of picture %zu: expected printable ASCII", i);
    }
    json_t *value = json_stringn_nocheck(uri, n_uri);
    if (json_object_set_new_nocheck(image->holder, image->key, value) != 0) {
        return openai_fault_set(fault, WL_MEMORY, NULL, NULL, "no memory for picture %zu", i);
    }
    image->url = json_string_value(value);
    image->n_url = n_uri;
    request->is_changed = true;
    return WL_OK;
}

// All pictures of one message, in their order. Nothing here can fail: the list keeps its length.
static bool move_first(json_t *parts, struct openai_image *images, size_t n) {
    if (images[n - 1].part == n - 1) {
        return false;
    }
    json_t *moved[OPENAI_MAX_IMAGES];
    for (size_t i = 0; i < n; i++) {
        moved[i] = json_incref(json_array_get(parts, images[i].part));
    }
    // From behind, so that nothing is overwritten before it has moved.
    size_t to = images[n - 1].part + 1, n_met = 0;
    for (size_t from = to; from-- > 0;) {
        if (n_met < n && images[n - 1 - n_met].part == from) {
            n_met++;
        } else {
            json_array_set(parts, --to, json_array_get(parts, from));
        }
    }
    for (size_t i = 0; i < n; i++) {
        json_array_set_new(parts, i, moved[i]);
        images[i].part = i;
    }
    return true;
}

bool openai_request_images_first(struct openai_request *request) {
    const json_t *messages = json_object_get(request->root, "messages");
    bool has_moved = false;
    for (size_t i = 0, n; i < request->n_images; i += n) {
        struct openai_image *images = &request->images[i];
        for (n = 1; i + n < request->n_images && images[n].message == images[0].message;) {
            n++;
        }
        const json_t *message = json_array_get(messages, images[0].message);
        const char *role = json_string_value(json_object_get(message, "role"));
        if (role && strcmp(role, "user") == 0) {
            has_moved |= move_first(json_object_get(message, "content"), images, n);
        }
    }
    request->is_changed |= has_moved;
    return has_moved;
}
