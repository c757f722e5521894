// What the parts of counting share: one call goes either to the model server (counting_server.c) or
// to an engine of our own (counting_engine.c).
#ifndef WATTLAW_GATEWAY_COUNTING_PARTS_H
#define WATTLAW_GATEWAY_COUNTING_PARTS_H

#include "base/buf.h"
#include "gateway/counting.h"

struct counting_engines;
struct counting_job;

struct counting {
    struct http_client *client;
    struct upstream *upstream;
    bool (*find_model)(void *context, const char *model, char *path, size_t path_size, char *mmproj,
                       size_t mmproj_size);
    void *context;
    struct counting_engines *engines; // NULL: there is no engine
    struct count_call *calls;
    uv_timer_t later; // ends calls that are done before they could begin
};

struct count_call {
    struct counting *counting;
    const struct openai_request *request;
    const char *text;
    size_t n_text;
    void (*on_done)(void *context, enum wl_status status, int64_t n_tokens, int http_status,
                    const char *message);
    void *context;
    int64_t n_tokens; // so far
    // At the model server.
    enum upstream_kind kind;
    struct http_call *http;
    struct buf body, answer;
    size_t i_piece; // the next part of the request that it is asked about
    bool is_cut;    // its answer is longer than is read
    // At an engine of ours.
    struct counting_job *job;
    // The end that comes later.
    bool is_ready;
    enum wl_status status;
    char message[WL_ERR_MESSAGE_BYTES];
    struct count_call *previous, *next;
};

// Ends the call: its memory is gone afterwards, on_done was called.
void count_finish(struct count_call *call, enum wl_status status, int http_status,
                  const char *message);
// The same, but on the loop, a little later.
void count_finish_later(struct count_call *call, enum wl_status status, const char *message);

// ---- the model server ----

// Whether its answer would be exact: why not, or NULL.
const char *count_server_reason(const struct upstream_facts *facts,
                                const struct openai_request *request);
void count_server_start(struct count_call *call, enum upstream_kind kind);

// ---- an engine of ours ----

// NOT_FOUND when there is no wattlaw-engine.
enum wl_status counting_engines_open(struct gateway_worker *worker, struct counting_engines **out,
                                     struct wl_err *err);
// No call of them may be left. Ends the engines on the worker's thread.
void counting_engines_close(struct counting_engines *engines); // NULL is fine
// `model` and `mmproj` ("": none) are files.
void count_engine_start(struct count_call *call, struct counting_engines *engines,
                        const char *model, const char *mmproj);
void count_engine_cancel(struct count_call *call);

#endif
