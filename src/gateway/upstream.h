// The model server behind the gateway: one that runs already (llama-server, Ollama, vLLM, or any
// other that speaks OpenAI's language), or a llama-server that the gateway starts and keeps alive.
// What it is and what it can do is found by asking it. On the gateway's loop; nothing blocks.
#ifndef WATTLAW_GATEWAY_UPSTREAM_H
#define WATTLAW_GATEWAY_UPSTREAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"
#include "gateway/http_client.h"

enum upstream_kind {
    UPSTREAM_UNKNOWN, // not reached yet
    UPSTREAM_LLAMA_SERVER,
    UPSTREAM_OLLAMA,
    UPSTREAM_VLLM,
    UPSTREAM_OTHER
};
const char *upstream_kind_name(enum upstream_kind kind); // "llama-server", "ollama", "vllm"...

enum upstream_health {
    UPSTREAM_STARTING, // it answers, but loads its model; or we have started it
    UPSTREAM_UP,
    UPSTREAM_DOWN,   // refused, silent, or dead; looked at again
    UPSTREAM_ASLEEP, // we have stopped it because nobody asked; upstream_want starts it
    UPSTREAM_FAILED  // ours, and dead too often in a row: looked at again after the longest pause
};
const char *upstream_health_name(enum upstream_health health);

enum { UPSTREAM_URL_BYTES = 1024, UPSTREAM_TEXT_BYTES = 512, UPSTREAM_MAX_ARGS = 96 };

// A llama-server of our own. Strings are copied.
struct upstream_server {
    const char *program;          // llama-server
    const char *model, *mmproj;   // GGUF files; mmproj NULL: none
    const char *alias;            // the model's name for clients
    const char *const *more_args; // behind ours, so that they win; NULL at the end; NULL: none
    uint32_t threads, threads_batch, n_ctx, n_ubatch, n_slots; // 0: default (n_slots 1)
    int32_t image_min_tokens, image_max_tokens;                // 0: as the file says
    uint32_t cache_ram_mib;                                    // prompt cache of the server
    const char *load_mode, *type_k, *type_v, *flash_attn, *wait_policy; // NULL: default
    double idle_unload_s; // stopped after so long without a request; 0: never
    // A private Unix socket, made by us: ends in ".sock", in a folder of mode 0700 (made when it is
    // not there; the one above it must be).
    const char *socket_path;
};

struct upstream_options {
    uv_loop_t *loop;
    struct http_client *client;
    const char *url;                      // of a server that runs, or unix:/path; NULL: `server`
    const char *api_key;                  // sent to it as a bearer token; NULL: none
    const struct upstream_server *server; // NULL: `url`
    int64_t probe_ms;                     // between two looks while it is up; 0: 5000
    // It came up, went down, or turned out to be something else. On the loop, never from within a
    // call. May be NULL.
    void (*on_change)(void *context);
    // One line for the log. May be NULL.
    void (*on_log)(void *context, const char *line);
    void *context;
};

struct upstream_facts {
    enum upstream_kind kind;
    enum upstream_health health;
    char engine[64]; // "llama.cpp b11669", "0.9.2"; "" unknown
    char model[256]; // first or only one of /v1/models; ""
    uint32_t n_models;
    uint32_t n_slots;                  // requests at once; 0: unknown
    uint32_t n_ctx;                    // tokens of one slot; 0: unknown
    bool can_count;                    // input tokens, by asking it (counting.h)
    bool has_messages, has_responses;  // Anthropic's and OpenAI's newer form
    bool wants_rest;                   // ours: a change waits until no request is there
    bool sees_images;                  // as far as it says
    pid_t pid;                         // of our own server; 0
    uint64_t n_starts, n_deaths;       // of our own server
    char problem[UPSTREAM_TEXT_BYTES]; // why it is not up; "" when it is
    int64_t since_ns;                  // it is in this state (os_now_ns)
    int64_t load_ns;                   // of our own server: from start to up, the last time
};

struct upstream;

// INPUT: no address that can be asked. A server that is not there is no failure: it is down, and
// looked at again and again. Ours is started at once, with `dies_with_parent`.
enum wl_status upstream_open(const struct upstream_options *options, struct upstream **out,
                             struct wl_err *err);
// Ours is asked to end (SIGTERM), killed after 3 s. on_closed comes on the loop, after which the
// memory is gone. Requests must have left before.
void upstream_close(struct upstream *upstream, void (*on_closed)(void *context), void *context);

void upstream_facts(const struct upstream *upstream, struct upstream_facts *out);
// For http_call_options: "http://host:port" without a slash at the end; the socket's path or NULL;
// headers to send along (NULL-terminated, borrowed; Authorization where there is a key).
const char *upstream_url(const struct upstream *upstream);
const char *upstream_unix_socket(const struct upstream *upstream);
const char *const *upstream_headers(const struct upstream *upstream);

// A request begins or ends: while one is there ours is not unloaded. The first begins to wake an
// unloaded one; upstream_facts and on_change tell when it is up.
void upstream_enter(struct upstream *upstream);
void upstream_leave(struct upstream *upstream);
// The same for one that waits: it wakes the server and keeps it up, but lets a change be made.
void upstream_wait(struct upstream *upstream);
void upstream_unwait(struct upstream *upstream);
// A request could not reach it, or it died under one: it is looked at at once.
void upstream_suspect(struct upstream *upstream);
// Other settings (a new profile): ours is started anew when no request is there any more, or with
// the next waking. socket_path NULL: as it is. INPUT for one that is not ours, and for another
// socket.
enum wl_status upstream_change(struct upstream *upstream, const struct upstream_server *server,
                               struct wl_err *err);

#endif
