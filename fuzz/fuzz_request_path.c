// A request on the whole way that the gateway takes it: read, older turns dropped, counted,
// limited, asked for its usage, written. What a model server then reads keeps every limit,
// whichever name it reads it by.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "gateway/counting_pieces.h"
#include "openai/json_text.h"
#include "openai/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void check_is_json(const struct buf *body) {
    json_t *json = NULL;
    require(wl_json_parse(buf_text(body), body->len, &json, NULL) == WL_OK);
    require(json_is_object(json));
    json_decref(json);
}

// What is asked about its parts.
static void count(const struct openai_request *request) {
    struct buf body;
    buf_init(&body, 1 << 24);
    if (request->endpoint == OPENAI_CHAT) {
        require(counting_vllm_chat_body(request, &body));
        check_is_json(&body);
    }
    size_t n = request->endpoint == OPENAI_CHAT ? 0 : counting_n_pieces(request);
    for (size_t i = 0; i < n && i < 64; i++) {
        const json_t *piece = NULL;
        enum counting_piece_kind kind = counting_piece(request, i, &piece);
        buf_clear(&body);
        if (kind == COUNTING_TEXT || kind == COUNTING_MIXED) {
            require(counting_llama_body(piece, &body));
            check_is_json(&body);
        }
    }
    buf_release(&body);
}

static void check_names(const json_t *root, int64_t limit) {
    static const char *const NAMES[] = {"max_tokens", "max_completion_tokens", "n_predict",
                                        "num_predict"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        const json_t *value = json_object_get(root, NAMES[i]);
        if (value && !json_is_null(value)) {
            require(json_is_number(value) && json_number_value(value) >= 0);
            require(json_number_value(value) <= (double)limit);
        }
    }
}

// As the model server reads it.
static void check_sent(const struct openai_request *request, const struct buf *body, int64_t limit,
                       bool as_stream) {
    struct openai_request again;
    require(openai_request_parse(request->endpoint, buf_text(body), body->len, &again, NULL) ==
            WL_OK);
    require(again.n_images == request->n_images && again.n_messages == request->n_messages);
    require(again.n_choices == request->n_choices && again.n_prompts == request->n_prompts);
    if (request->endpoint != OPENAI_EMBEDDING) {
        require(again.max_output >= 0 && again.max_output <= limit);
        check_names(again.root, limit);
        require(again.is_stream == (request->is_stream || as_stream));
        require(!again.is_stream || again.wants_usage);
    }
    openai_request_release(&again);
}

// First bytes: endpoint and whether it comes as a stream, turns to drop, limit of the key and of
// the profile.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4) {
        return 0;
    }
    enum openai_endpoint endpoint = (enum openai_endpoint)(data[0] % 3);
    bool as_stream = data[0] & 0x80;
    int64_t limit = data[2], left = data[3];
    struct openai_request request;
    struct openai_fault fault = {0};
    if (openai_request_parse(endpoint, (const char *)data + 4, size - 4, &request, &fault) !=
        WL_OK) {
        require(fault.err.message[0]);
        return 0;
    }
    openai_request_drop_turns(&request, data[1]);
    count(&request);
    require(openai_request_limit_output(&request, limit));
    if (request.max_output > left) {
        require(openai_request_limit_output(&request, left));
        limit = left < limit ? left : limit;
    }
    require(openai_request_ask_usage(&request, as_stream));
    struct buf body;
    buf_init(&body, 1 << 26);
    require(openai_request_write(&request, &body));
    check_sent(&request, &body, limit, as_stream);
    buf_release(&body);
    openai_request_release(&request);
    return 0;
}
