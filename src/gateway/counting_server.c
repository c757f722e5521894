// Counting by the model server: one question for a chat, one for each text of the others.
#include <stdarg.h>
#include <stdio.h>

#include "base/json.h"
#include "base/str.h"
#include "gateway/counting_parts.h"
#include "gateway/counting_pieces.h"
#include "gateway/upstream_read.h"

enum {
    MAX_QUESTION_BYTES = 1 << 26,
    MAX_ANSWER_BYTES = 1 << 24, // the tokens of a long text are told one by one
    CONNECT_MS = 5000,
    ANSWER_MS = 120000, // a busy machine, a long text
    MAX_HEADERS = 4
};

static void ask_next(struct count_call *call);

// ---- what can be asked ----

// vLLM 0.16 and older do not count pictures there: a few tokens instead of a thousand.
static bool counts_pictures(const char *version) {
    unsigned numbers[2] = {0, 0};
    for (size_t i = 0; i < 2; i++) {
        for (; *version >= '0' && *version <= '9' && numbers[i] < 10000; version++) {
            numbers[i] = numbers[i] * 10 + (unsigned)(*version - '0');
        }
        version += *version == '.';
    }
    return numbers[0] > 0 || numbers[1] >= 17;
}

const char *count_server_reason(const struct upstream_facts *facts,
                                const struct openai_request *request) {
    if (facts->health != UPSTREAM_UP) {
        return "the model server is not up, so it cannot be asked for the number of tokens";
    }
    if (!facts->can_count) {
        return "the model server has no way to ask for the number of tokens, and no GGUF file of "
               "the model is known; name the file, or use a llama-server of 0.7 or newer";
    }
    if (facts->kind == UPSTREAM_VLLM && request && request->n_images > 0 &&
        !counts_pictures(facts->engine)) {
        return "vLLM before 0.17 does not count the tokens of pictures; use a newer one";
    }
    return NULL;
}

// ---- questions ----

// The next question into call->body; false when there is none any more. Tokens that are given as
// such are counted on the way.
static bool make_question(struct count_call *call, const char **path, enum wl_status *status) {
    const struct openai_request *request = call->request;
    bool is_vllm = call->kind == UPSTREAM_VLLM, is_written;
    *status = WL_OK;
    *path = "/tokenize";
    buf_clear(&call->body);
    if (request->endpoint == OPENAI_CHAT) {
        if (call->i_piece++ > 0) {
            return false;
        }
        *path = is_vllm ? *path : "/v1/chat/completions/input_tokens";
        is_written = is_vllm      ? counting_vllm_chat_body(request, &call->body)
                     : call->text ? true
                                  : openai_request_write(request, &call->body);
        *status = is_written ? WL_OK : WL_LIMIT;
        return true;
    }
    while (call->i_piece < counting_n_pieces(request)) {
        const json_t *piece;
        enum counting_piece_kind kind = counting_piece(request, call->i_piece++, &piece);
        if (kind == COUNTING_IDS) {
            call->n_tokens += (int64_t)json_array_size(piece);
            continue;
        }
        bool is_known = kind == COUNTING_TEXT || (kind == COUNTING_MIXED && !is_vllm);
        is_written = is_known && (is_vllm ? counting_vllm_body(request, piece, &call->body)
                                          : counting_llama_body(piece, &call->body));
        *status = is_written ? WL_OK : is_known ? WL_LIMIT : WL_UNSUPPORTED;
        return true;
    }
    return false;
}

// ---- answers ----

__attribute__((format(printf, 4, 5))) static void
finish_format(struct count_call *call, enum wl_status status, long http, const char *format, ...) {
    char message[WL_ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    count_finish(call, status, (int)http, message);
}

static void on_refusal(struct count_call *call, long http, const json_t *json) {
    const char *text = upstream_error_text(json);
    char words[WL_ERR_MESSAGE_BYTES - 128];
    str_copy(words, sizeof words, text ? text : "it does not say why");
    if (http == 404 && !upstream_has_endpoint(http, json)) {
        finish_format(call, WL_UNSUPPORTED, http, "the model server does not count tokens: %s",
                      words);
    } else if (http == 401 || http == 403 || http == 429 || (http >= 501 && http <= 504)) {
        finish_format(call, WL_IO, http, "the model server cannot count tokens now: %s", words);
    } else if (http >= 400) { // also 500: what the template says of a list of messages
        count_finish(call, WL_INPUT, (int)http, words);
    } else {
        finish_format(call, WL_IO, http, "the model server answers no number of tokens: %s", words);
    }
}

static void on_answer(struct count_call *call, long http, const json_t *json) {
    bool is_llama_chat =
        call->kind == UPSTREAM_LLAMA_SERVER && call->request->endpoint == OPENAI_CHAT;
    int64_t n = http != 200     ? -1
                : is_llama_chat ? counting_read_chat(json)
                                : counting_read_tokens(json);
    if (n >= 0 && n <= INT32_MAX) {
        call->n_tokens += n;
        ask_next(call);
    } else if (call->is_cut) {
        count_finish(call, WL_LIMIT, (int)http,
                     "the model server's answer to how many tokens there are is too long to read");
    } else {
        on_refusal(call, http, json);
    }
}

static void on_data(void *context, struct http_call *http, const char *bytes, size_t n) {
    struct count_call *call = context;
    (void)http;
    call->is_cut = call->is_cut || !buf_append(&call->answer, bytes, n);
}

static void on_end(void *context, struct http_call *http, enum wl_status status,
                   const char *message) {
    struct count_call *call = context;
    long code = http_call_status(http);
    json_t *json = NULL;
    call->http = NULL;
    if (status != WL_OK) {
        upstream_suspect(call->counting->upstream);
        finish_format(call, status == WL_TIMEOUT ? WL_TIMEOUT : WL_IO, 0,
                      "the model server does not say how many tokens there are: %s", message);
        return;
    }
    if (!call->is_cut) {
        wl_json_parse(buf_text(&call->answer), call->answer.len, &json, NULL);
    }
    on_answer(call, code, json);
    json_decref(json);
}

static enum wl_status start_call(struct count_call *call, const char *path, struct wl_err *err) {
    struct counting *counting = call->counting;
    const char *const *extra = upstream_headers(counting->upstream);
    const char *headers[MAX_HEADERS + 2] = {"Content-Type: application/json"};
    char url[UPSTREAM_URL_BYTES + 64];
    for (size_t i = 0; i < MAX_HEADERS && extra[i]; i++) {
        headers[i + 1] = extra[i];
    }
    snprintf(url, sizeof url, "%s%s", upstream_url(counting->upstream), path);
    buf_clear(&call->answer);
    call->is_cut = false;
    bool is_borrowed = call->body.len == 0;
    struct http_call_options options = {.method = "POST",
                                        .url = url,
                                        .unix_socket = upstream_unix_socket(counting->upstream),
                                        .headers = headers,
                                        .body = is_borrowed ? call->text : buf_text(&call->body),
                                        .n_body = is_borrowed ? call->n_text : call->body.len,
                                        .connect_ms = CONNECT_MS,
                                        .total_ms = ANSWER_MS,
                                        .on_data = on_data,
                                        .on_end = on_end,
                                        .context = call};
    return http_call_start(counting->client, &options, &call->http, err);
}

static void ask_next(struct count_call *call) {
    const char *path;
    enum wl_status status;
    struct wl_err err;
    if (!make_question(call, &path, &status)) {
        count_finish(call, WL_OK, 200, "");
    } else if (status == WL_UNSUPPORTED) {
        count_finish(call, status, 0,
                     "only texts and lists of tokens can be counted in 'prompt' and 'input'");
    } else if (status != WL_OK) {
        count_finish(call, status, 0, "the request is too long to be counted");
    } else if ((status = start_call(call, path, &err)) != WL_OK) {
        count_finish(call, status, 0, err.message);
    }
}

// The first question must not end the call before count_start has returned.
void count_server_start(struct count_call *call, enum upstream_kind kind) {
    const char *path;
    enum wl_status status;
    struct wl_err err;
    call->kind = kind;
    buf_init(&call->body, MAX_QUESTION_BYTES);
    buf_init(&call->answer, MAX_ANSWER_BYTES);
    if (!make_question(call, &path, &status)) {
        count_finish_later(call, WL_OK, "");
    } else if (status == WL_UNSUPPORTED) {
        count_finish_later(call, status,
                           "only texts and lists of tokens can be counted in 'prompt' and 'input'");
    } else if (status != WL_OK) {
        count_finish_later(call, status, "the request is too long to be counted");
    } else if ((status = start_call(call, path, &err)) != WL_OK) {
        count_finish_later(call, status, err.message);
    }
}
