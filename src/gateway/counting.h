// How many tokens a request's input has, exactly, before anything is computed: the model server is
// asked where it can count, else an engine of our own that has only the model's vocabulary and
// image encoder's header. On the gateway's loop; nothing blocks.
#ifndef WATTLAW_GATEWAY_COUNTING_H
#define WATTLAW_GATEWAY_COUNTING_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/upstream.h"
#include "gateway/worker.h"
#include "openai/request.h"

struct counting;
struct count_call;

struct counting_options {
    struct http_client *client;
    struct upstream *upstream;
    struct gateway_worker *worker; // for our own engine
    // For servers that cannot count: the GGUF file of a model, by the name in the request; false:
    // not known. NULL: never known. (Ollama's blobs, a file named by the user.)
    bool (*find_model)(void *context, const char *model, char *path, size_t path_size, char *mmproj,
                       size_t mmproj_size);
    void *context;
};
enum wl_status counting_open(const struct counting_options *options, struct counting **out,
                             struct wl_err *err);
// NULL is fine; calls that run are cancelled. Before the worker, the upstream and the client are
// closed; the loop must run once more before its memory is gone.
void counting_close(struct counting *counting);

// Whether a count can be had for this model now (else count_start ends with UNSUPPORTED). A single
// request may still be UNSUPPORTED: pictures for an old vLLM; for our own engine tools, thoughts,
// and chat templates that it would not write exactly (docs/protocol.md).
bool counting_can(const struct counting *counting, const char *model);

// The tokens of the request as it stands now: messages with template and pictures, or the prompts'
// sum, or the inputs' of an embedding. `text` is the request as JSON (openai_request_write), which
// may be NULL: then it is written. Both must stay until the end. on_done comes on the loop, never
// from within: OK and the number; UNSUPPORTED (says what can be done); INPUT with the server's own
// words (it refuses the request) and its HTTP status; IO, TIMEOUT, CRASHED.
enum wl_status count_start(struct counting *counting, const struct openai_request *request,
                           const char *text, size_t n_text,
                           void (*on_done)(void *context, enum wl_status status, int64_t n_tokens,
                                           int http_status, const char *message),
                           void *context, struct count_call **out, struct wl_err *err);
void count_cancel(struct count_call *call); // on_done does not come. NULL is fine

#endif
