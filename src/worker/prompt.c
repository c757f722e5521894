#include "worker/prompt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "worker/template_check.h"

enum { MAX_MESSAGES = 1024, MAX_TEXT_BYTES = 1 << 24, MAX_N_PROMPT = 1 << 24 };

// What a RUN request says, its texts borrowed from it.
struct chat {
    struct llama_chat_message *messages;
    size_t n;
    struct buf with_images; // the content of one message, where the images had to be put
};

static void chat_release(struct chat *chat) {
    free(chat->messages);
    buf_release(&chat->with_images);
}

static enum wl_status read_messages(const json_t *array, struct chat *chat, struct wl_err *err) {
    chat->n = json_array_size(array);
    if (chat->n == 0 || chat->n > MAX_MESSAGES) {
        return wl_err_set(err, WL_INPUT, "messages: expected 1 to %d, found %zu", MAX_MESSAGES,
                          chat->n);
    }
    for (size_t i = 0; i < chat->n; i++) {
        const json_t *message = json_array_get(array, i);
        if (wl_json_get_string(message, "role", &chat->messages[i].role, err) != WL_OK ||
            wl_json_get_string(message, "content", &chat->messages[i].content, err) != WL_OK) {
            return wl_err_prefix(err, "message %zu", i);
        }
    }
    return WL_OK;
}

// `messages`, or `prompt` as the one message of a user. Released in any case.
static enum wl_status chat_read(const json_t *request, struct chat *chat, struct wl_err *err) {
    *chat = (struct chat){.messages = calloc(MAX_MESSAGES, sizeof *chat->messages)};
    buf_init(&chat->with_images, MAX_TEXT_BYTES);
    if (!chat->messages) {
        return wl_err_set(err, WL_MEMORY, "no memory for messages");
    }
    const json_t *array = json_object_get(request, "messages");
    if (json_is_array(array)) {
        return read_messages(array, chat, err);
    }
    chat->n = 1;
    chat->messages[0].role = "user";
    return wl_json_get_string(request, "prompt", &chat->messages[0].content, err) == WL_OK
               ? WL_OK
               : wl_err_prefix(err, "run");
}

static size_t count_markers(const struct chat *chat) {
    size_t n = 0;
    for (size_t i = 0; i < chat->n; i++) {
        const char *at = chat->messages[i].content;
        while ((at = strstr(at, VISION_MARKER)) != NULL) {
            at += sizeof VISION_MARKER - 1;
            n++;
        }
    }
    return n;
}

static struct llama_chat_message *last_of_user(struct chat *chat) {
    for (size_t i = chat->n; i-- > 0;) {
        if (strcmp(chat->messages[i].role, "user") == 0) {
            return &chat->messages[i];
        }
    }
    return &chat->messages[chat->n - 1];
}

static enum wl_status place_images(struct chat *chat, size_t n_images, const char *after_images,
                                   struct wl_err *err) {
    size_t n_markers = count_markers(chat);
    if (n_markers == n_images) {
        return WL_OK;
    }
    if (n_markers > 0) {
        return wl_err_set(err, WL_INPUT,
                          "run: the prompt has %zu image markers but there are %zu images; write "
                          "%s once for each, or nowhere (they come first then)",
                          n_markers, n_images, VISION_MARKER);
    }
    struct llama_chat_message *message = last_of_user(chat);
    for (size_t i = 0; i < n_images; i++) {
        buf_puts(&chat->with_images, VISION_MARKER);
    }
    buf_puts(&chat->with_images, after_images);
    buf_puts(&chat->with_images, message->content);
    message->content = buf_text(&chat->with_images);
    return chat->with_images.is_failed
               ? wl_err_set(err, WL_LIMIT, "the prompt is longer than %d bytes", MAX_TEXT_BYTES)
               : WL_OK;
}

// Without a template the contents follow each other, one per line.
static bool join_contents(const struct llama_chat_message *messages, size_t n, struct buf *text) {
    for (size_t i = 0; i < n; i++) {
        if (!buf_puts(text, i ? "\n" : "") || !buf_puts(text, messages[i].content)) {
            return false;
        }
    }
    return true;
}

static enum wl_status apply_template(const char *chat_template,
                                     const struct llama_chat_message *messages, size_t n,
                                     struct buf *text, struct wl_err *err) {
    size_t size = 1024;
    for (size_t i = 0; i < n; i++) {
        size += 2 * strlen(messages[i].content) + 64;
    }
    char *out = NULL;
    int32_t len = (int32_t)size;
    for (int attempt = 0; attempt < 2 && len >= (int32_t)size; attempt++) {
        size = (size_t)len + 1;
        free(out);
        out = malloc(size);
        if (!out) {
            return wl_err_set(err, WL_MEMORY, "no memory for the chat prompt");
        }
        len = llama_chat_apply_template(chat_template, messages, n, true, out, (int32_t)size);
    }
    enum wl_status status = WL_OK;
    if (len < 0 || (size_t)len > size) {
        status = wl_err_set(err, WL_UNSUPPORTED,
                            "the model's chat template is not one that libllama can apply; send "
                            "the finished prompt with template false");
    } else if (!buf_append(text, out, (size_t)len)) {
        status = wl_err_set(err, WL_LIMIT, "the prompt is longer than %d bytes", MAX_TEXT_BYTES);
    }
    free(out);
    return status;
}

// The prompt's text; *has_template tells whether the template was applied.
static enum wl_status render(const struct llama_model *model,
                             const struct llama_chat_message *messages, size_t n,
                             bool wants_template, struct buf *text, bool *has_template,
                             struct wl_err *err) {
    const char *chat_template = llama_model_chat_template(model, NULL);
    *has_template = wants_template && chat_template;
    if (*has_template) {
        return apply_template(chat_template, messages, n, text, err);
    }
    return join_contents(messages, n, text)
               ? WL_OK
               : wl_err_set(err, WL_LIMIT, "the prompt is longer than %d bytes", MAX_TEXT_BYTES);
}

static enum wl_status tokenize(const struct llama_vocab *vocab, const struct buf *text,
                               bool add_special, bool parse_special, struct prompt *prompt,
                               struct wl_err *err) {
    size_t room = text->len + 8;
    for (int attempt = 0; attempt < 2; attempt++) {
        free(prompt->tokens);
        prompt->tokens = calloc(room, sizeof *prompt->tokens);
        if (!prompt->tokens) {
            return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", room);
        }
        int32_t n = llama_tokenize(vocab, buf_text(text), (int32_t)text->len, prompt->tokens,
                                   (int32_t)room, add_special, parse_special);
        if (n >= 0) {
            prompt->n_tokens = (size_t)n;
            return WL_OK;
        }
        if (n == INT32_MIN) {
            break;
        }
        room = (size_t) - (int64_t)n;
    }
    return wl_err_set(err, WL_LIMIT, "the prompt has too many tokens");
}

// Repeats the tokens (the leading BOS only once) and cuts them to exactly `n`.
static enum wl_status set_exact_length(const struct session *session, struct prompt *prompt,
                                       size_t n, struct wl_err *err) {
    if (n <= prompt->n_tokens) {
        prompt->n_tokens = n;
        return WL_OK;
    }
    llama_token bos = llama_vocab_bos(session->vocab);
    size_t skip = prompt->n_tokens > 0 && prompt->tokens[0] == bos ? 1 : 0;
    size_t period = prompt->n_tokens - skip;
    if (period == 0) {
        return wl_err_set(err, WL_INPUT, "n_prompt is %zu but the prompt has no text to repeat", n);
    }
    llama_token *longer = realloc(prompt->tokens, n * sizeof *longer);
    if (!longer) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", n);
    }
    for (size_t i = prompt->n_tokens; i < n; i++) {
        longer[i] = longer[i - period];
    }
    prompt->tokens = longer;
    prompt->n_tokens = n;
    return WL_OK;
}

static enum wl_status prompt_of(const struct session *session,
                                const struct llama_chat_message *messages, size_t n,
                                bool wants_template, bool add_special, struct prompt *prompt,
                                struct wl_err *err) {
    struct buf text;
    buf_init(&text, MAX_TEXT_BYTES);
    *prompt = (struct prompt){0};
    enum wl_status status =
        render(session->model, messages, n, wants_template, &text, &prompt->has_template, err);
    if (status == WL_OK) {
        // Special tokens are parsed only where the template put them or might have.
        status = tokenize(session->vocab, &text, add_special, prompt->has_template, prompt, err);
    }
    buf_release(&text);
    if (status != WL_OK) {
        prompt_release(prompt);
    }
    return status;
}

static enum wl_status run_tokens(const struct session *session, const json_t *request,
                                 struct prompt *prompt, struct wl_err *err) {
    struct chat chat;
    bool wants_template = wl_json_opt_bool(request, "template", false);
    enum wl_status status = chat_read(request, &chat, err);
    if (status == WL_OK) {
        status = prompt_of(session, chat.messages, chat.n, wants_template, true, prompt, err);
    }
    chat_release(&chat);
    return status;
}

enum wl_status prompt_text_for_images(const struct session *session, const json_t *request,
                                      size_t n_images, const char *after_images, struct buf *text,
                                      bool *has_template, struct wl_err *err) {
    struct chat chat;
    bool wants_template = wl_json_opt_bool(request, "template", false);
    buf_init(text, MAX_TEXT_BYTES);
    enum wl_status status = chat_read(request, &chat, err);
    if (status == WL_OK) {
        status = place_images(&chat, n_images, after_images, err);
    }
    if (status == WL_OK) {
        status =
            render(session->model, chat.messages, chat.n, wants_template, text, has_template, err);
    }
    chat_release(&chat);
    return status;
}

enum wl_status prompt_from_run(const struct session *session, const json_t *request,
                               struct prompt *prompt, struct wl_err *err) {
    int64_t n_prompt = wl_json_opt_i64(request, "n_prompt", 0);
    *prompt = (struct prompt){0};
    if (n_prompt < 0 || n_prompt > MAX_N_PROMPT) {
        return wl_err_set(err, WL_INPUT, "run: n_prompt is %" PRId64 ", expected 0 to %d", n_prompt,
                          MAX_N_PROMPT);
    }
    enum wl_status status = run_tokens(session, request, prompt, err);
    if (status == WL_OK && n_prompt > 0) {
        status = set_exact_length(session, prompt, (size_t)n_prompt, err);
    }
    if (status == WL_OK && prompt->n_tokens == 0) {
        status = wl_err_set(err, WL_INPUT, "run: the prompt has no tokens");
    }
    if (status != WL_OK) {
        prompt_release(prompt);
    }
    return status;
}

enum wl_status prompt_from_tokenize(const struct session *session, const json_t *request,
                                    struct prompt *prompt, struct wl_err *err) {
    struct llama_chat_message one = {.role = "user"};
    if (wl_json_get_string(request, "text", &one.content, err) != WL_OK) {
        return wl_err_prefix(err, "tokenize");
    }
    return prompt_of(session, &one, 1, wl_json_opt_bool(request, "template", false),
                     wl_json_opt_bool(request, "add_special", true), prompt, err);
}

enum wl_status prompt_text_to_count(const struct llama_model *model, const json_t *request,
                                    size_t n_images, struct buf *text, struct wl_err *err) {
    struct chat chat;
    bool has_template = false;
    buf_init(text, MAX_TEXT_BYTES);
    enum wl_status status = chat_read(request, &chat, err);
    if (status == WL_OK) {
        status = template_check(llama_model_chat_template(model, NULL), chat.messages, chat.n, err);
    }
    if (status == WL_OK && count_markers(&chat) != n_images) {
        status = wl_err_set(err, WL_INPUT, "count: %zu image markers for %zu images",
                            count_markers(&chat), n_images);
    }
    if (status == WL_OK) {
        status = render(model, chat.messages, chat.n, true, text, &has_template, err);
    }
    chat_release(&chat);
    return status;
}

enum wl_status prompt_count_tokens(const struct llama_vocab *vocab, const struct buf *text,
                                   size_t *n_tokens, struct wl_err *err) {
    struct prompt prompt = {0};
    enum wl_status status = tokenize(vocab, text, true, true, &prompt, err);
    *n_tokens = prompt.n_tokens;
    prompt_release(&prompt);
    return status;
}

void prompt_release(struct prompt *prompt) {
    free(prompt->tokens);
    *prompt = (struct prompt){0};
}
