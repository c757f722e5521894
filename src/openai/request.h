// A request in OpenAI's form as the gateway reads and changes it: chat completions, completions,
// embeddings. Only what matters to cost is looked at; all else stays as it came, unknown fields
// included. PURE.
#ifndef WATTLAW_OPENAI_REQUEST_H
#define WATTLAW_OPENAI_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "openai/fault.h"

enum openai_endpoint { OPENAI_CHAT, OPENAI_COMPLETION, OPENAI_EMBEDDING };

enum {
    OPENAI_MAX_MESSAGES = 4096,
    OPENAI_MAX_IMAGES = 64,
    OPENAI_MAX_CHOICES = 64, // of all prompts together
    OPENAI_ABSENT = -1,
};

// image_url.detail: what a client says about the resolution it needs.
enum openai_detail { OPENAI_DETAIL_AUTO, OPENAI_DETAIL_LOW, OPENAI_DETAIL_HIGH };

struct openai_image {
    json_t *holder;  // the object whose `key` is the address; borrowed from the request's root
    const char *key; // "url"; "image_url" where the address stands in the part itself
    const char *url; // data: or http(s); borrowed
    size_t n_url;    // bytes
    enum openai_detail detail;
    size_t message, part; // messages[message].content[part]; images[] is in this order
};

struct openai_request {
    enum openai_endpoint endpoint;
    json_t *root;
    const char *model; // "" when absent; borrowed
    bool is_stream;    // what the client asked for, whatever openai_request_ask_usage did
    bool wants_usage;  // stream_options.include_usage; likewise
    bool has_options;  // stream_options is there; likewise
    // Tokens of each choice: the least of max_tokens, max_completion_tokens, n_predict (llama.cpp)
    // and num_predict (Ollama); OPENAI_ABSENT without a limit. No server knows all four names:
    // a promise only after openai_request_limit_output.
    int64_t max_output;
    uint32_t n_choices; // for each prompt: "n", or "n_cmpl" (llama.cpp) or "best_of" if larger
    size_t n_prompts;   // of `prompt` or `input`, which may be lists; 1 for chat
    size_t n_messages;  // chat; 0 else
    struct openai_image *images;
    size_t n_images;
    bool is_changed; // by one of the functions below: the original bytes no longer hold
};

// INPUT names what was expected and found, and fault->param where: no object, `messages` (chat)
// not a list of objects with a string `role`, `model` or `stream` of another type, a content part
// without a type, an image part without an address, limits below 0 (max_tokens -1 of llama.cpp is
// none), n outside of 1 to OPENAI_MAX_CHOICES. LIMIT: too many messages, pictures or choices.
// MEMORY. null is absent. A `detail` that is not known is auto.
enum wl_status openai_request_parse(enum openai_endpoint endpoint, const char *text, size_t n,
                                    struct openai_request *out, struct openai_fault *fault);
void openai_request_release(struct openai_request *request); // zeroed ones are fine
bool openai_request_write(const struct openai_request *request, struct buf *out);

// Output of each choice is limited to `n_tokens` (at least 0), or to what the client asks for where
// that is less. max_tokens is set then, and what else the client used is brought down to it: the
// limit holds whichever of the names the server reads. False without memory: then it may not hold.
bool openai_request_limit_output(struct openai_request *request, int64_t n_tokens);
// A stream is to tell the usage at its end, whatever the client asked for; with `as_stream` the
// answer is to come as a stream. Nothing for embeddings. False without memory.
bool openai_request_ask_usage(struct openai_request *request, bool as_stream);
// Another picture in place of images[i]; `uri` is copied. INPUT when it is not printable ASCII;
// MEMORY.
enum wl_status openai_request_set_image(struct openai_request *request, size_t i, const char *uri,
                                        size_t n_uri, struct openai_fault *fault);
// In every user message pictures move in front of the text, in their order: a server that keeps the
// beginning of a prompt then keeps the pictures too. True when something moved; images[] follows.
bool openai_request_images_first(struct openai_request *request);

// ---- dropping the oldest turns ----
//
// A turn is a user message with all that follows up to the next one (answers, calls of tools, their
// results), so that no result stays without its call. System and developer messages stay, and so
// do the last turn and what stands before the first.
size_t openai_request_n_turns(const struct openai_request *request); // that may be dropped
// Drops the oldest `n` of them. The number of messages that went; images[] follows.
size_t openai_request_drop_turns(struct openai_request *request, size_t n);

#endif
