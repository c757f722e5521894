// The oldest turns of a chat go where its context has no room for them.
#include <string.h>

#include "openai/request.h"

static bool has_role(const json_t *message, const char *role) {
    const char *found = json_string_value(json_object_get(message, "role"));
    return found && strcmp(found, role) == 0;
}

static bool always_stays(const json_t *message) {
    return has_role(message, "system") || has_role(message, "developer");
}

size_t openai_request_n_turns(const struct openai_request *request) {
    const json_t *messages = json_object_get(request->root, "messages");
    size_t n_turns = 0;
    for (size_t i = 0; i < request->n_messages; i++) {
        n_turns += has_role(json_array_get(messages, i), "user");
    }
    return n_turns ? n_turns - 1 : 0;
}

// The pictures of messages[from], which become those of messages[to] or go. Those before *i are
// done; *n stay.
static void move_images(struct openai_request *request, size_t from, const size_t *to, size_t *i,
                        size_t *n) {
    for (; *i < request->n_images && request->images[*i].message == from; ++*i) {
        if (to) {
            request->images[*n] = request->images[*i];
            request->images[(*n)++].message = *to;
        }
    }
}

size_t openai_request_drop_turns(struct openai_request *request, size_t n) {
    size_t n_turns = openai_request_n_turns(request);
    n = n < n_turns ? n : n_turns;
    if (n == 0) {
        return 0;
    }
    json_t *messages = json_object_get(request->root, "messages");
    size_t turn = 0, n_kept = 0, image = 0, n_images = 0;
    for (size_t i = 0; i < request->n_messages; i++) {
        json_t *message = json_array_get(messages, i);
        turn += has_role(message, "user");
        bool is_kept = turn == 0 || turn > n || always_stays(message);
        move_images(request, i, is_kept ? &n_kept : NULL, &image, &n_images);
        if (is_kept) {
            json_array_set(messages, n_kept++, message);
        }
    }
    size_t n_dropped = request->n_messages - n_kept;
    for (size_t i = request->n_messages; i > n_kept; i--) {
        json_array_remove(messages, i - 1);
    }
    request->n_messages = n_kept;
    request->n_images = n_images;
    request->is_changed = true;
    return n_dropped;
}
