// The one loaded model: its settings, what is known about it, and llama.cpp's objects.
#ifndef WATTLAW_WORKER_SESSION_H
#define WATTLAW_WORKER_SESSION_H

#include <jansson.h>
#include <llama.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/frame_io.h"
#include "worker/model_facts.h"

enum { MAX_EOG_TOKENS = 64 };

struct load_options {
    const char *path;
    int32_t threads;       // decode
    int32_t threads_batch; // prefill
    uint32_t n_ctx;
    uint32_t n_batch;
    uint32_t n_ubatch;
    enum llama_load_mode load_mode;
    enum ggml_type type_k;
    enum ggml_type type_v;
    enum llama_flash_attn_type flash_attn;
    bool has_repack;
    uint64_t max_ram_bytes; // 0 = no check
};

struct session {
    struct llama_model *model; // NULL while nothing is loaded
    struct llama_context *ctx;
    const struct llama_vocab *vocab;
    struct load_options options; // without the path
    struct model_facts facts;
    struct ram_prediction ram;
    llama_token eog[MAX_EOG_TOKENS]; // end-of-generation tokens
    size_t n_eog;
    llama_token *held; // tokens whose keys and values the cache holds, in order
    size_t n_held;
};

// LOAD: unloads what was loaded, checks the file, loads it. *result is {phase, model, memory}.
enum wl_status session_load(struct session *session, const struct reply *reply,
                            const json_t *request, json_t **result, struct wl_err *err);
void session_unload(struct session *session);
// USAGE when nothing is loaded.
enum wl_status session_require_model(const struct session *session, struct wl_err *err);
void session_forget_held(struct session *session);

#endif
