// What a piece of a stream is, and how a stream is ended before its model ends it.
#include <string.h>

#include "base/json.h"
#include "openai/reply.h"

static bool is_full_text(const json_t *value) {
    return json_string_length(value) > 0;
}

// OpenAI and most others; reasoning_content of llama-server and vLLM, reasoning of Ollama.
static bool has_delta_text(const json_t *delta) {
    static const char *const TEXTS[] = {"content", "reasoning_content", "reasoning", "refusal"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        if (is_full_text(json_object_get(delta, TEXTS[i]))) {
            return true;
        }
    }
    return json_array_size(json_object_get(delta, "tool_calls")) > 0 ||
           json_object_size(json_object_get(delta, "function_call")) > 0;
}

static void read_choice(const json_t *choice, size_t i, struct openai_piece *out) {
    out->has_text |= is_full_text(json_object_get(choice, "text")) ||
                     has_delta_text(json_object_get(choice, "delta"));
    if (json_is_string(json_object_get(choice, "finish_reason"))) {
        int64_t index = wl_json_opt_i64(choice, "index", (int64_t)i);
        out->is_finish = true;
        out->ended |= index >= 0 && index < OPENAI_MAX_CHOICES ? UINT64_C(1) << index : 0;
    }
}

void openai_piece_read(const json_t *piece, struct openai_piece *out) {
    *out = (struct openai_piece){0};
    const json_t *choices = json_object_get(piece, "choices");
    size_t n_choices = json_array_size(choices);
    for (size_t i = 0; i < n_choices; i++) {
        read_choice(json_array_get(choices, i), i, out);
    }
    const json_t *error = json_object_get(piece, "error");
    const char *object = json_string_value(json_object_get(piece, "object")); // "error": vLLM
    out->is_error = (error && !json_is_null(error)) || (object && strcmp(object, "error") == 0);
    out->is_usage = n_choices == 0 && json_is_object(json_object_get(piece, "usage"));
}

// ---- the end of a stream

static json_t *ended_choice(enum openai_endpoint endpoint, int index, const char *finish_reason) {
    return endpoint == OPENAI_CHAT ? json_pack("{s:i, s:{}, s:n, s:s}", "index", index, "delta",
                                               "logprobs", "finish_reason", finish_reason)
                                   : json_pack("{s:i, s:s, s:n, s:s}", "index", index, "text", "",
                                               "logprobs", "finish_reason", finish_reason);
}

static bool copy_names(json_t *to, const json_t *from) {
    static const char *const NAMES[] = {"id", "created", "model", "system_fingerprint",
                                        "service_tier"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        json_t *value = json_object_get(from, NAMES[i]);
        if (value && json_object_set(to, NAMES[i], value) != 0) {
            return false;
        }
    }
    return true;
}

json_t *openai_finish_piece(enum openai_endpoint endpoint, const json_t *piece, uint64_t choices,
                            const char *finish_reason) {
    const char *object = endpoint == OPENAI_CHAT ? "chat.completion.chunk" : "text_completion";
    json_t *out = json_pack("{s:s, s:[]}", "object", object, "choices");
    json_t *list = json_object_get(out, "choices");
    bool is_fine = out && copy_names(out, piece);
    for (int i = 0; i < OPENAI_MAX_CHOICES && is_fine; i++) {
        if (choices >> i & 1) {
            is_fine = json_array_append_new(list, ended_choice(endpoint, i, finish_reason)) == 0;
        }
    }
    if (!is_fine) {
        json_decref(out);
        return NULL;
    }
    return out;
}
