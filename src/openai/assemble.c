#include "openai/assemble.h"

#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "openai/assemble_store.h"

void openai_assembly_init(struct openai_assembly *a, enum openai_endpoint endpoint,
                          size_t max_bytes) {
    *a = (struct openai_assembly){.endpoint = endpoint, .max_bytes = max_bytes};
}

void openai_assembly_release(struct openai_assembly *a) {
    openai_store_release_texts(a);
    for (size_t i = 0; i < OPENAI_MAX_CHOICES; i++) {
        json_decref(a->choices[i]);
    }
    json_decref(a->reply);
    openai_assembly_init(a, a->endpoint, a->max_bytes);
}

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the answer");
}

// ---- deltas

static enum wl_status merge(struct openai_assembly *a, json_t *into, const json_t *delta,
                            struct wl_err *err);

// The constant name of a text that comes in parts; NULL for all other fields.
static const char *growing_key(const char *key) {
    static const char *const KEYS[] = {"content", "reasoning_content", "reasoning", "refusal",
                                       "text",    "arguments",         "input"};
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        if (strcmp(key, KEYS[i]) == 0) {
            return KEYS[i];
        }
    }
    return NULL;
}

// The call with this index in `calls`, which are in the order of their indices, made where there is
// none. The indices are taken out at the end: whole answers have none.
static enum wl_status open_call(json_t *calls, int64_t index, json_t **out, struct wl_err *err) {
    size_t at = json_array_size(calls);
    while (at > 0) {
        json_t *call = json_array_get(calls, at - 1);
        int64_t other = wl_json_opt_i64(call, "index", 0);
        if (other == index) {
            *out = call;
            return WL_OK;
        }
        if (other < index) {
            break;
        }
        at--;
    }
    *out = json_pack("{s:I}", "index", (json_int_t)index);
    return json_array_insert_new(calls, at, *out) == 0 ? WL_OK : no_memory(err);
}

static enum wl_status merge_calls(struct openai_assembly *a, json_t *message, const json_t *deltas,
                                  struct wl_err *err) {
    json_t *calls = NULL;
    enum wl_status status = openai_store_open(a, message, "tool_calls", json_array, &calls, err);
    for (size_t i = 0; i < json_array_size(deltas) && status == WL_OK; i++) {
        const json_t *delta = json_array_get(deltas, i);
        int64_t index = wl_json_opt_i64(delta, "index", (int64_t)i);
        if (!json_is_object(delta) || index < 0 || index >= OPENAI_MAX_CALLS) {
            return wl_err_set(err, WL_INPUT,
                              "'tool_calls': expected objects with an index from 0 to %d",
                              OPENAI_MAX_CALLS - 1);
        }
        json_t *call = NULL;
        status = open_call(calls, index, &call, err);
        if (status == WL_OK) {
            status = merge(a, call, delta, err);
        }
    }
    return status;
}

static enum wl_status merge_field(struct openai_assembly *a, json_t *into, const char *key,
                                  const json_t *value, struct wl_err *err) {
    const json_t *old = json_object_get(into, key);
    const char *growing = growing_key(key);
    json_t *inner = NULL;
    enum wl_status status;
    switch (json_typeof(value)) {
    case JSON_NULL: return old ? WL_OK : openai_store_set(a, into, key, value, err);
    case JSON_STRING:
        if (growing) {
            return openai_store_append(a, into, growing, value, err);
        }
        // Some servers repeat `id` and `name` as empty texts.
        return old && json_string_length(value) == 0 ? WL_OK
                                                     : openai_store_set(a, into, key, value, err);
    case JSON_OBJECT:
        status = openai_store_open(a, into, key, json_object, &inner, err);
        return status == WL_OK ? merge(a, inner, value, err) : status;
    case JSON_ARRAY:
        return strcmp(key, "tool_calls") == 0 ? merge_calls(a, into, value, err)
                                              : openai_store_set(a, into, key, value, err);
    default: return openai_store_set(a, into, key, value, err);
    }
}

static enum wl_status merge(struct openai_assembly *a, json_t *into, const json_t *delta,
                            struct wl_err *err) {
    json_t *from = (json_t *)delta; // only read
    for (void *i = json_object_iter(from); i; i = json_object_iter_next(from, i)) {
        enum wl_status status =
            merge_field(a, into, json_object_iter_key(i), json_object_iter_value(i), err);
        if (status != WL_OK) {
            return status;
        }
    }
    return WL_OK;
}

// ---- choices

// {"content": [...], "refusal": [...]} or {"tokens": [...], "token_logprobs": [...], ...}
static enum wl_status merge_logprobs(struct openai_assembly *a, json_t *choice,
                                     const json_t *logprobs, struct wl_err *err) {
    json_t *into = NULL, *from = (json_t *)logprobs; // only read
    enum wl_status status = openai_store_open(a, choice, "logprobs", json_object, &into, err);
    for (void *i = json_object_iter(from); i && status == WL_OK;
         i = json_object_iter_next(from, i)) {
        const char *key = json_object_iter_key(i);
        const json_t *value = json_object_iter_value(i);
        json_t *list = NULL;
        if (!json_is_array(value)) {
            status = merge_field(a, into, key, value, err);
        } else if ((status = openai_store_open(a, into, key, json_array, &list, err)) == WL_OK) {
            status = openai_store_extend(a, list, value, err);
        }
    }
    return status;
}

static enum wl_status open_choice(struct openai_assembly *a, int64_t index, json_t **out,
                                  struct wl_err *err) {
    if (index < 0 || index >= OPENAI_MAX_CHOICES) {
        return wl_err_set(err, WL_INPUT, "'choices': expected an index from 0 to %d, found %lld",
                          OPENAI_MAX_CHOICES - 1, (long long)index);
    }
    if (!a->choices[index]) {
        a->choices[index] =
            a->endpoint == OPENAI_CHAT
                ? json_pack("{s:I, s:{s:s, s:n}, s:n, s:n}", "index", (json_int_t)index, "message",
                            "role", "assistant", "content", "logprobs", "finish_reason")
                : json_pack("{s:I, s:s, s:n, s:n}", "index", (json_int_t)index, "text", "",
                            "logprobs", "finish_reason");
    }
    *out = a->choices[index];
    return *out ? WL_OK : no_memory(err);
}

static enum wl_status add_choice_field(struct openai_assembly *a, json_t *choice, const char *key,
                                       const json_t *value, struct wl_err *err) {
    // `message`: a server that does not stream sends the whole answer as if it were one piece.
    bool is_delta = strcmp(key, "delta") == 0 || strcmp(key, "message") == 0;
    if (is_delta && json_is_object(value)) {
        json_t *message = NULL;
        enum wl_status status = openai_store_open(a, choice, "message", json_object, &message, err);
        return status == WL_OK ? merge(a, message, value, err) : status;
    }
    if (is_delta && !json_is_null(value)) {
        return wl_err_set(err, WL_INPUT, "'choices': expected an object as '%s'", key);
    }
    if (is_delta || strcmp(key, "index") == 0) {
        return WL_OK;
    }
    return strcmp(key, "logprobs") == 0 && json_is_object(value)
               ? merge_logprobs(a, choice, value, err)
               : merge_field(a, choice, key, value, err);
}

static enum wl_status add_choice(struct openai_assembly *a, const json_t *from, size_t position,
                                 struct wl_err *err) {
    if (!json_is_object(from)) {
        return wl_err_set(err, WL_INPUT, "'choices': expected a list of objects");
    }
    json_t *choice = NULL, *fields = (json_t *)from; // only read
    int64_t index = wl_json_opt_i64(from, "index", (int64_t)position);
    enum wl_status status = open_choice(a, index, &choice, err);
    for (void *i = json_object_iter(fields); i && status == WL_OK;
         i = json_object_iter_next(fields, i)) {
        status =
            add_choice_field(a, choice, json_object_iter_key(i), json_object_iter_value(i), err);
    }
    return status;
}

// ---- pieces

static enum wl_status check_piece(const json_t *piece, struct wl_err *err) {
    struct openai_piece is;
    openai_piece_read(piece, &is);
    if (is.is_error) {
        const json_t *error = json_object_get(piece, "error");
        const char *words =
            wl_json_opt_string(json_is_object(error) ? error : piece, "message", "no words");
        return wl_err_set(err, WL_INPUT, "expected a piece of an answer, found an error: %s",
                          words);
    }
    const json_t *choices = json_object_get(piece, "choices");
    if (!json_is_object(piece) || (choices && !json_is_array(choices) && !json_is_null(choices))) {
        return wl_err_set(err, WL_INPUT,
                          "expected a piece of an answer: an object with a list 'choices'");
    }
    return WL_OK;
}

static bool is_own_field(const char *key) {
    return strcmp(key, "choices") == 0 || strcmp(key, "object") == 0;
}

enum wl_status openai_assembly_add(struct openai_assembly *a, const json_t *piece,
                                   struct wl_err *err) {
    if (json_is_null(piece)) {
        return WL_OK;
    }
    enum wl_status status = check_piece(piece, err);
    if (status == WL_OK && !a->reply && !(a->reply = json_object())) {
        status = no_memory(err);
    }
    json_t *from = (json_t *)piece; // only read
    for (void *i = json_object_iter(from); i && status == WL_OK;
         i = json_object_iter_next(from, i)) {
        const char *key = json_object_iter_key(i);
        const json_t *value = json_object_iter_value(i);
        if (!is_own_field(key) && !json_is_null(value)) {
            status = openai_store_set(a, a->reply, key, value, err);
        }
    }
    const json_t *choices = json_object_get(piece, "choices");
    for (size_t i = 0; i < json_array_size(choices) && status == WL_OK; i++) {
        status = add_choice(a, json_array_get(choices, i), i, err);
    }
    return status;
}

// ---- the answer

static bool is_there(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value);
}

static bool finish_message(json_t *message) {
    json_t *calls = json_object_get(message, "tool_calls");
    for (size_t i = 0; i < json_array_size(calls); i++) {
        json_object_del(json_array_get(calls, i), "index");
    }
    bool has_more = is_there(message, "tool_calls") || is_there(message, "function_call") ||
                    is_there(message, "refusal");
    // What says nothing at all has an empty content, as it has from the servers themselves.
    return has_more || is_there(message, "content") ||
           json_object_set_new(message, "content", json_string("")) == 0;
}

static bool finish_choice(json_t *choice, const char *finish_reason) {
    json_t *message = json_object_get(choice, "message");
    if (message && !finish_message(message)) {
        return false;
    }
    return !finish_reason || is_there(choice, "finish_reason") ||
           json_object_set_new(choice, "finish_reason", json_string(finish_reason)) == 0;
}

static bool finish_choices(struct openai_assembly *a, json_t *list, const char *finish_reason) {
    for (size_t i = 0; i < OPENAI_MAX_CHOICES; i++) {
        json_t *choice = a->choices[i];
        if (choice &&
            (!finish_choice(choice, finish_reason) || json_array_append(list, choice) != 0)) {
            return false;
        }
    }
    return true;
}

json_t *openai_assembly_take(struct openai_assembly *a, const char *finish_reason) {
    const char *object = a->endpoint == OPENAI_CHAT ? "chat.completion" : "text_completion";
    json_t *reply = a->reply ? json_incref(a->reply) : json_object();
    json_t *choices = NULL, *first = NULL;
    bool is_empty = true;
    for (size_t i = 0; i < OPENAI_MAX_CHOICES; i++) {
        is_empty &= a->choices[i] == NULL;
    }
    bool is_fine = json_object_set_new(reply, "object", json_string(object)) == 0 &&
                   json_object_set_new(reply, "choices", choices = json_array()) == 0 &&
                   (!is_empty || open_choice(a, 0, &first, NULL) == WL_OK) &&
                   openai_store_put_texts(a) && finish_choices(a, choices, finish_reason);
    openai_assembly_release(a);
    if (!is_fine) {
        json_decref(reply);
        return NULL;
    }
    return reply;
}
