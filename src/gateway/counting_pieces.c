#include "gateway/counting_pieces.h"

#include "base/json.h"

static const json_t *field_of(const struct openai_request *request) {
    return json_object_get(request->root,
                           request->endpoint == OPENAI_EMBEDDING ? "input" : "prompt");
}

// Texts and tokens in one list are one prompt; texts alone are several.
static bool has_numbers(const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (json_is_integer(json_array_get(list, i))) {
            return true;
        }
    }
    return false;
}

static bool is_one(const json_t *value) {
    return !json_is_array(value) || has_numbers(value);
}

size_t counting_n_pieces(const struct openai_request *request) {
    const json_t *value = field_of(request);
    return is_one(value) ? 1 : json_array_size(value);
}

static enum counting_piece_kind kind_of(const json_t *piece) {
    if (json_is_string(piece)) {
        return COUNTING_TEXT;
    }
    if (!json_is_array(piece)) {
        return COUNTING_ODD;
    }
    size_t n_ids = 0, n_texts = 0, n = json_array_size(piece);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(piece, i);
        n_ids += json_is_integer(value);
        n_texts += json_is_string(value);
    }
    return n_ids == n ? COUNTING_IDS : n_ids + n_texts == n ? COUNTING_MIXED : COUNTING_ODD;
}

enum counting_piece_kind counting_piece(const struct openai_request *request, size_t i,
                                        const json_t **out) {
    const json_t *value = field_of(request);
    *out = is_one(value) ? value : json_array_get(value, i);
    return kind_of(*out);
}

// ---- bodies ----

static void borrow(json_t *object, const char *key, const json_t *value) {
    if (value) {
        json_object_set(object, key, (json_t *)value);
    }
}

static bool write_and_free(json_t *object, struct buf *out) {
    bool is_written = object && wl_json_write(out, object);
    json_decref(object);
    return is_written;
}

// As the server does it itself: special tokens are added (where the vocabulary says so) and read.
bool counting_llama_body(const json_t *piece, struct buf *out) {
    json_t *object = json_pack("{s:b, s:b}", "add_special", 1, "parse_special", 1);
    borrow(object, "content", piece);
    return write_and_free(object, out);
}

static void borrow_fields(json_t *object, const struct openai_request *request,
                          const char *const *keys) {
    for (; *keys; keys++) {
        borrow(object, *keys, json_object_get(request->root, *keys));
    }
}

bool counting_vllm_body(const struct openai_request *request, const json_t *piece,
                        struct buf *out) {
    static const char *const KEYS[] = {"model", "add_special_tokens", NULL};
    json_t *object = json_object();
    borrow(object, "prompt", piece);
    borrow_fields(object, request, KEYS);
    return write_and_free(object, out);
}

// What of a chat request becomes a part of the prompt.
bool counting_vllm_chat_body(const struct openai_request *request, struct buf *out) {
    static const char *const KEYS[] = {"model",
                                       "messages",
                                       "tools",
                                       "add_generation_prompt",
                                       "continue_final_message",
                                       "add_special_tokens",
                                       "chat_template",
                                       "chat_template_kwargs",
                                       "mm_processor_kwargs",
                                       NULL};
    json_t *object = json_object();
    borrow_fields(object, request, KEYS);
    return write_and_free(object, out);
}

// ---- answers ----

int64_t counting_read_chat(const json_t *json) {
    const json_t *value = json_object_get(json, "input_tokens");
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
                                                                    : -1;
}

int64_t counting_read_tokens(const json_t *json) {
    const json_t *count = json_object_get(json, "count"), *tokens = json_object_get(json, "tokens");
    if (json_is_integer(count)) {
        return json_integer_value(count) >= 0 ? json_integer_value(count) : -1;
    }
    return json_is_array(tokens) ? (int64_t)json_array_size(tokens) : -1;
}
