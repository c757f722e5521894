#include "gateway/counting_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "gateway/counting_pieces.h"

enum { MAX_CONTENT_BYTES = 1 << 24 };

static enum wl_status refuse(struct wl_err *err, const char *what) {
    return wl_err_set(err, WL_UNSUPPORTED,
                      "the tokens cannot be counted exactly without asking the model server, which "
                      "cannot tell: %s",
                      what);
}

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory to count tokens");
}

// ---- what only a server's own template can do ----

static bool is_given(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    bool is_empty = (json_is_array(value) && json_array_size(value) == 0) ||
                    (json_is_string(value) && json_string_length(value) == 0);
    return value && !json_is_null(value) && !is_empty;
}

static const char *find_given(const json_t *object, const char *const *keys) {
    while (*keys && !is_given(object, *keys)) {
        keys++;
    }
    return *keys;
}

static enum wl_status check_request(const struct openai_request *request, struct wl_err *err) {
    static const char *const KEYS[] = {"tools",
                                       "functions",
                                       "chat_template",
                                       "chat_template_kwargs",
                                       "reasoning_effort",
                                       "reasoning",
                                       "think",
                                       "enable_thinking",
                                       "add_generation_prompt",
                                       "continue_final_message",
                                       "documents",
                                       NULL};
    char what[80];
    const char *key = find_given(request->root, KEYS);
    if (!key) {
        return WL_OK;
    }
    snprintf(what, sizeof what, "the request has '%s'", key);
    return refuse(err, what);
}

static enum wl_status check_message(const json_t *message, bool is_last, struct wl_err *err) {
    static const char *const KEYS[] = {"tool_calls", "function_call", "reasoning_content",
                                       "reasoning",  "thinking",      NULL};
    const char *role = wl_json_opt_string(message, "role", "");
    bool is_answer = strcmp(role, "assistant") == 0;
    if (find_given(message, KEYS)) {
        return refuse(err, "a message has calls of tools or thoughts");
    }
    if (!is_answer && strcmp(role, "user") != 0 && strcmp(role, "system") != 0) {
        return refuse(err, "a message is neither the system's nor the user's nor the assistant's");
    }
    return is_answer && is_last ? refuse(err, "the last message is the beginning of an answer")
                                : WL_OK;
}

// ---- messages ----

static bool is_part(const json_t *part, const char *type) {
    return strcmp(wl_json_opt_string(part, "type", ""), type) == 0;
}

static enum wl_status join_parts(const json_t *parts, struct buf *out, struct wl_err *err) {
    bool was_text = false;
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const char *text = json_string_value(json_object_get(part, "text"));
        bool is_text = is_part(part, "text") && text;
        if (!is_text && !is_part(part, "image_url")) {
            return refuse(err, "a message has parts that are neither text nor pictures");
        }
        if (is_text && was_text) {
            return refuse(err, "a message has several texts one after the other");
        }
        if (is_text && strstr(text, ENGINE_IMAGE_MARKER)) {
            return refuse(err, "a text has the marker " ENGINE_IMAGE_MARKER);
        }
        buf_puts(out, is_text ? text : ENGINE_IMAGE_MARKER);
        was_text = is_text;
    }
    return out->is_failed ? no_memory(err) : WL_OK;
}

static enum wl_status content_of(const json_t *message, struct buf *out, struct wl_err *err) {
    const json_t *content = json_object_get(message, "content");
    const char *text = json_string_value(content);
    if (json_is_array(content)) {
        return join_parts(content, out, err);
    }
    if (!text) {
        return refuse(err, "a message has no content");
    }
    if (strstr(text, ENGINE_IMAGE_MARKER)) {
        return refuse(err, "a text has the marker " ENGINE_IMAGE_MARKER);
    }
    return buf_puts(out, text) ? WL_OK : no_memory(err);
}

static enum wl_status copy_message(const json_t *message, struct engine_message *out,
                                   struct wl_err *err) {
    struct buf content;
    buf_init(&content, MAX_CONTENT_BYTES);
    buf_puts(&content, "");
    enum wl_status status = content_of(message, &content, err);
    if (status == WL_OK) {
        out->role = strdup(wl_json_opt_string(message, "role", ""));
        out->content = strdup(buf_text(&content));
        status = out->role && out->content ? WL_OK : no_memory(err);
    }
    buf_release(&content);
    return status;
}

static enum wl_status copy_messages(const struct openai_request *request,
                                    struct counting_prompt *out, struct wl_err *err) {
    const json_t *messages = json_object_get(request->root, "messages");
    size_t n = json_array_size(messages);
    out->messages = calloc(n + 1, sizeof *out->messages);
    if (!out->messages) {
        return no_memory(err);
    }
    for (out->n_messages = 0; out->n_messages < n; out->n_messages++) {
        size_t i = out->n_messages;
        const json_t *message = json_array_get(messages, i);
        enum wl_status status;
        if ((status = check_message(message, i + 1 == n, err)) ||
            (status = copy_message(message, &out->messages[i], err))) {
            out->n_messages++; // what is there of it is released too
            return status;
        }
    }
    return n > 0 ? WL_OK : refuse(err, "there are no messages");
}

static enum wl_status copy_pictures(const struct openai_request *request,
                                    struct counting_prompt *out, struct wl_err *err) {
    out->pictures = calloc(request->n_images + 1, sizeof *out->pictures);
    if (!out->pictures) {
        return no_memory(err);
    }
    for (size_t i = 0; i < request->n_images; i++) {
        const struct openai_image *image = &request->images[i];
        if (strncmp(image->url, "data:", 5) != 0) {
            return refuse(err, "a picture is not in the request itself (data:)");
        }
        struct counting_picture *picture = &out->pictures[out->n_pictures++];
        picture->uri = malloc(image->n_url + 1);
        picture->n_uri = image->n_url;
        if (!picture->uri) {
            return no_memory(err);
        }
        memcpy(picture->uri, image->url, image->n_url);
        picture->uri[image->n_url] = '\0';
    }
    return WL_OK;
}

// ---- texts ----

static enum wl_status copy_texts(const struct openai_request *request, struct counting_prompt *out,
                                 struct wl_err *err) {
    size_t n = counting_n_pieces(request);
    out->texts = calloc(n + 1, sizeof *out->texts);
    if (!out->texts) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *piece;
        enum counting_piece_kind kind = counting_piece(request, i, &piece);
        if (kind == COUNTING_IDS) {
            out->n_ids += (int64_t)json_array_size(piece);
        } else if (kind != COUNTING_TEXT) {
            return refuse(err, "only texts and lists of tokens can be counted");
        } else if (!(out->texts[out->n_texts++] = strdup(json_string_value(piece)))) {
            return no_memory(err);
        }
    }
    return WL_OK;
}

enum wl_status counting_prompt_make(const struct openai_request *request, enum upstream_kind kind,
                                    struct counting_prompt *out, struct wl_err *err) {
    enum wl_status status;
    *out = (struct counting_prompt){0};
    if (request->endpoint == OPENAI_CHAT) {
        (void)((status = check_request(request, err)) ||
               (status = copy_messages(request, out, err)) ||
               (status = copy_pictures(request, out, err)));
    } else if (request->endpoint == OPENAI_COMPLETION && kind == UPSTREAM_OLLAMA) {
        status = refuse(err, "Ollama puts a prompt into a template of its own");
    } else {
        status = copy_texts(request, out, err);
    }
    if (status != WL_OK) {
        counting_prompt_release(out);
    }
    return status;
}

static void free_text(const char *text) {
    free((void *)text);
}

void counting_prompt_release(struct counting_prompt *prompt) {
    for (size_t i = 0; i < prompt->n_messages; i++) {
        free_text(prompt->messages[i].role);
        free_text(prompt->messages[i].content);
    }
    for (size_t i = 0; i < prompt->n_pictures; i++) {
        free(prompt->pictures[i].uri);
    }
    for (size_t i = 0; i < prompt->n_texts; i++) {
        free(prompt->texts[i]);
    }
    free(prompt->messages);
    free(prompt->pictures);
    free(prompt->texts);
    *prompt = (struct counting_prompt){0};
}
