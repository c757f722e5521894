// Answers in OpenAI's form: what they used, and what they cost put into them. PURE.
#ifndef WATTLAW_OPENAI_REPLY_H
#define WATTLAW_OPENAI_REPLY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "openai/request.h"

// Tokens are OPENAI_ABSENT, times NaN where the upstream says nothing. llama-server adds `timings`
// (predicted_ms is of all but the first token), Ollama's and vLLM's OpenAI forms have `usage`
// alone.
struct openai_usage {
    int64_t prompt_tokens;     // pictures included
    int64_t cached_tokens;     // of them, not computed again
    int64_t completion_tokens; // of all choices
    double prompt_ms, predicted_ms;
    // Servers differ in what they tell of several choices: all of them at the end, or each one for
    // itself when it ends, or in a last piece of its own. The sums of both kinds so far.
    int64_t ended_tokens, usage_tokens;
};

void openai_usage_none(struct openai_usage *usage);
// Takes what `reply` tells; true when it has tokens. Once for a whole answer, or once for each
// piece of a stream in their order.
bool openai_usage_read(const json_t *reply, struct openai_usage *usage);

// What one request cost; goes into `usage.energy`.
struct openai_energy {
    double gross_j, gross_sd_j; // sd NaN: not known
    double net_j, net_sd_j;
    const char *source, *scope, *label; // "powercap", "cpu", "measured"; NULL: null
    uint32_t n_shared; // requests with which the meter was shared at most, this one included
};
// {"wh","wh_ci95","net_wh","net_wh_ci95","source","scope","label","shared_by"}: 95 % intervals
// [low, high], null where not known. New reference; NULL without memory.
json_t *openai_energy_json(const struct openai_energy *energy);

// `usage` with usage.energy in a whole answer or in one piece of a stream: what usage the object
// has stays, and where it has none it gets the tokens of `usage` (NULL: none). False without memory
// and for what is no object.
bool openai_reply_add_energy(json_t *reply, const struct openai_usage *usage,
                             const struct openai_energy *energy);

// ---- pieces of a stream ----

struct openai_piece {
    bool has_text;  // a delta (text, reasoning, a call of a tool): a token or a few
    bool is_finish; // a choice ended: finish_reason
    bool is_usage;  // usage without choices: asked for by stream_options.include_usage
    bool is_error;
    uint64_t ended; // bit i: choice i ended
};
// `piece` may be null, which llama-server sends at the beginning of completions.
void openai_piece_read(const json_t *piece, struct openai_piece *out);

// A last piece that ends choice i with `finish_reason` where bit i of `choices` is set. It is like
// `piece` (id, model, created), which came before it; NULL when nothing came. New reference; NULL
// without memory.
json_t *openai_finish_piece(enum openai_endpoint endpoint, const json_t *piece, uint64_t choices,
                            const char *finish_reason);

#endif
