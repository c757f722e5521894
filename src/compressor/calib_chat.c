#include "compressor/calib_chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { MAX_CHAT_BYTES = 1 << 24, MAX_TOKENS = 1 << 26 };

// ---- tokens

void calib_tokens_release(struct calib_tokens *tokens) {
    free(tokens->ids);
    *tokens = (struct calib_tokens){0};
}

static enum wl_status make_room(struct calib_tokens *tokens, size_t n, struct wl_err *err) {
    if (n <= tokens->capacity) {
        return WL_OK;
    }
    size_t capacity = 2 * n + 64;
    int32_t *ids = n <= MAX_TOKENS ? realloc(tokens->ids, capacity * sizeof *ids) : NULL;
    if (!ids) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", n);
    }
    tokens->ids = ids;
    tokens->capacity = capacity;
    return WL_OK;
}

enum wl_status calib_tokens_add(struct calib_tokens *tokens, const int32_t *ids, size_t n,
                                struct wl_err *err) {
    enum wl_status status = make_room(tokens, tokens->n + n, err);
    if (status == WL_OK && ids && n > 0) {
        memcpy(tokens->ids + tokens->n, ids, n * sizeof *ids);
        tokens->n += n;
    }
    return status;
}

enum special { AS_CHARACTERS, AS_TOKENS };

static enum wl_status tokenize(const struct calib_chat *chat, const char *text, size_t n,
                               bool adds_special, enum special special, struct calib_tokens *out,
                               struct wl_err *err) {
    int32_t found = -(int32_t)(n / 2 + 16);
    for (int attempt = 0; attempt < 2 && found < 0 && found != INT32_MIN; attempt++) {
        enum wl_status status = make_room(out, (size_t) - (int64_t)found, err);
        if (status != WL_OK) {
            return status;
        }
        found = llama_tokenize(chat->vocab, text, (int32_t)n, out->ids, (int32_t)out->capacity,
                               adds_special, special == AS_TOKENS);
    }
    out->n = found > 0 ? (size_t)found : 0;
    return found >= 0 ? WL_OK : wl_err_set(err, WL_LIMIT, "a text has too many tokens");
}

enum wl_status calib_chat_text(const struct calib_chat *chat, const char *text, size_t n,
                               struct calib_tokens *out, struct wl_err *err) {
    return tokenize(chat, text, n, false, AS_CHARACTERS, out, err);
}

// ---- the template

// False when libllama cannot apply it, or the text would be too long.
static bool render(const struct calib_chat *chat, const struct llama_chat_message *messages,
                   size_t n, bool adds_answer, struct buf *out) {
    size_t size = 1024;
    for (size_t i = 0; i < n; i++) {
        size += 2 * strlen(messages[i].content);
    }
    char *text = size <= MAX_CHAT_BYTES ? malloc(size) : NULL;
    int32_t len = text ? llama_chat_apply_template(chat->chat_template, messages, n, adds_answer,
                                                   text, (int32_t)size)
                       : -1;
    bool is_right = len >= 0 && (size_t)len <= size && buf_append(out, text, (size_t)len);
    free(text);
    return is_right;
}

// A question, with an answer unless that is NULL. Without a template they are two paragraphs.
static enum wl_status render_chat(const struct calib_chat *chat, const char *prompt,
                                  const char *answer, struct buf *out, struct wl_err *err) {
    struct llama_chat_message messages[] = {{"user", prompt}, {"assistant", answer}};
    bool is_right = chat->chat_template ? render(chat, messages, answer ? 2 : 1, !answer, out)
                                        : buf_puts(out, prompt) && buf_puts(out, "\n") &&
                                              buf_puts(out, answer ? answer : "");
    return is_right ? WL_OK
                    : wl_err_set(err, WL_LIMIT, "a question of %zu bytes is too long for the chat",
                                 strlen(prompt));
}

static enum wl_status chat_tokens(const struct calib_chat *chat, const char *prompt,
                                  const char *answer, struct calib_tokens *out,
                                  struct wl_err *err) {
    struct buf text;
    buf_init(&text, MAX_CHAT_BYTES);
    enum wl_status status = render_chat(chat, prompt, answer, &text, err);
    if (status == WL_OK) {
        status = tokenize(chat, buf_text(&text), text.len, true,
                          chat->chat_template ? AS_TOKENS : AS_CHARACTERS, out, err);
    }
    buf_release(&text);
    return status;
}

enum wl_status calib_chat_prompt(const struct calib_chat *chat, const char *prompt,
                                 struct calib_tokens *out, struct wl_err *err) {
    return chat_tokens(chat, prompt, NULL, out, err);
}

enum wl_status calib_chat_end(const struct calib_chat *chat, size_t n_prompt,
                              struct calib_tokens *tokens, struct wl_err *err) {
    size_t n = tokens->n; // what a template puts behind the end is never computed in use
    while (n > n_prompt && !llama_vocab_is_eog(chat->vocab, tokens->ids[n - 1])) {
        n--;
    }
    if (n > n_prompt) {
        tokens->n = n;
        return WL_OK;
    }
    return chat->end >= 0 ? calib_tokens_add(tokens, &chat->end, 1, err) : WL_OK;
}

enum wl_status calib_chat_answered(const struct calib_chat *chat, const char *prompt,
                                   const char *answer, struct calib_tokens *out,
                                   struct wl_err *err) {
    enum wl_status status = chat_tokens(chat, prompt, NULL, out, err);
    size_t n_prompt = out->n;
    if (status == WL_OK) {
        status = chat_tokens(chat, prompt, answer, out, err);
    }
    return status == WL_OK ? calib_chat_end(chat, n_prompt, out, err) : status;
}

// ---- what stands around a text

// Splits the rendered message of a user where the text stands.
static enum wl_status surround(struct calib_chat *chat, struct wl_err *err) {
    static const char MARK[] = "wattlaw-0f8e1d";
    struct buf text;
    buf_init(&text, MAX_CHAT_BYTES);
    enum wl_status status = render_chat(chat, MARK, NULL, &text, err);
    const char *begin = buf_text(&text);
    const char *mark = status == WL_OK ? strstr(begin, MARK) : NULL;
    struct calib_tokens head = {0};
    if (mark) {
        const char *behind = mark + sizeof MARK - 1;
        status = tokenize(chat, begin, (size_t)(mark - begin), false, AS_TOKENS, &head, err);
        if (status == WL_OK) {
            status = tokenize(chat, behind, strlen(behind), false, AS_TOKENS, &chat->after, err);
        }
    }
    if (status == WL_OK) {
        status = calib_tokens_add(&chat->before, head.ids, head.n, err);
    }
    calib_tokens_release(&head);
    buf_release(&text);
    return status;
}

static bool can_apply(const struct calib_chat *chat) {
    struct llama_chat_message message = {"user", "text"};
    struct buf text;
    buf_init(&text, MAX_CHAT_BYTES);
    bool can = chat->chat_template && render(chat, &message, 1, true, &text);
    buf_release(&text);
    return can;
}

static int32_t first_there(int32_t a, int32_t b) {
    return a >= 0 ? a : b >= 0 ? b : -1;
}

enum wl_status calib_chat_init(struct calib_chat *chat, const struct text_model *model,
                               bool is_plain, struct wl_err *err) {
    const struct llama_vocab *vocab = model->vocab;
    *chat = (struct calib_chat){
        .vocab = vocab,
        .chat_template = llama_model_chat_template(model->model, NULL),
        .begin = first_there(llama_vocab_bos(vocab), llama_vocab_eos(vocab)),
        .end = first_there(llama_vocab_eot(vocab), llama_vocab_eos(vocab)),
        .adds_begin = llama_vocab_get_add_bos(vocab) && llama_vocab_bos(vocab) >= 0,
    };
    if (!can_apply(chat)) {
        chat->chat_template = NULL;
    }
    enum wl_status status =
        chat->adds_begin ? calib_tokens_add(&chat->before, &chat->begin, 1, err) : WL_OK;
    return status == WL_OK && chat->chat_template && !is_plain ? surround(chat, err) : status;
}

void calib_chat_release(struct calib_chat *chat) {
    calib_tokens_release(&chat->before);
    calib_tokens_release(&chat->after);
    *chat = (struct calib_chat){0};
}
