// The parts of a request that are counted one by one, and what is asked about them. PURE.
#ifndef WATTLAW_GATEWAY_COUNTING_PIECES_H
#define WATTLAW_GATEWAY_COUNTING_PIECES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "openai/request.h"

enum counting_piece_kind {
    COUNTING_TEXT,  // one text
    COUNTING_IDS,   // tokens: they count themselves
    COUNTING_MIXED, // texts and tokens that are one prompt (llama.cpp)
    COUNTING_ODD    // anything else
};

// `prompt` of a completion or `input` of an embedding.
size_t counting_n_pieces(const struct openai_request *request);
enum counting_piece_kind counting_piece(const struct openai_request *request, size_t i,
                                        const json_t **out); // borrowed

// Bodies of POST /tokenize; false when they do not fit or there is no memory.
bool counting_llama_body(const json_t *piece, struct buf *out);
bool counting_vllm_body(const struct openai_request *request, const json_t *piece, struct buf *out);
bool counting_vllm_chat_body(const struct openai_request *request, struct buf *out);

// The number in an answer; -1 when it has none. `json` may be NULL or anything.
int64_t counting_read_chat(const json_t *json);   // llama-server: {"input_tokens": 42}
int64_t counting_read_tokens(const json_t *json); // {"tokens": [...]}, {"count": 42}

#endif
