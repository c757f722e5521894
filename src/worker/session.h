// The one loaded model: its settings, what is known about it, and llama.cpp's objects; with it an
// image encoder, or only that, for counting.
#ifndef WATTLAW_WORKER_SESSION_H
#define WATTLAW_WORKER_SESSION_H

#include <jansson.h>
#include <llama.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/frame_io.h"
#include "worker/model_facts.h"
#include "worker/vision.h"

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
    struct vision_options vision;
};

struct session {
    struct llama_model *model; // NULL while nothing is loaded
    struct llama_context *ctx;
    const struct llama_vocab *vocab;
    struct vision vision;        // its mtmd is NULL while no image encoder is loaded
    struct load_options options; // without the paths
    struct model_facts facts;
    struct ram_prediction ram;
    llama_token eog[MAX_EOG_TOKENS]; // end-of-generation tokens
    size_t n_eog;
    llama_token *held; // tokens whose keys and values the cache holds, in order
    size_t n_held;
};

// LOAD: unloads what was loaded, checks the file, loads it. *result is {phase, model, memory} and
// {vision} when there is an image encoder.
enum wl_status session_load(struct session *session, const struct reply *reply,
                            const json_t *request, json_t **result, struct wl_err *err);
// VISION: another image encoder or image budget. *result is {phase, vision}. After a failure past
// the checks of the file there is no image encoder.
enum wl_status session_vision(struct session *session, const struct reply *reply,
                              const json_t *request, json_t **result, struct wl_err *err);
// COUNTER: instead of a LOAD, what counting needs. *result is {vision}.
enum wl_status session_counter(struct session *session, const json_t *request, json_t **result,
                               struct wl_err *err);
void session_unload(struct session *session);
// USAGE when nothing is loaded.
enum wl_status session_require_model(const struct session *session, struct wl_err *err);
void session_forget_held(struct session *session);

// Parts that LOAD and VISION share. MEMORY when model and image encoder together are predicted to
// need more than the LOAD allowed.
enum wl_status session_check_ram(struct session *session, const char *path, uint64_t vision_bytes,
                                 struct wl_err *err);
// Loads the encoder. A family that sees an image in one piece (non-causal) gets a micro-batch that
// holds the largest one; a context that is there is then made again.
enum wl_status session_open_vision(struct session *session, const struct vision_options *options,
                                   const struct vision_facts *facts, struct wl_err *err);
// From session->options, instead of the one there is.
enum wl_status session_make_context(struct session *session, const char *path, struct wl_err *err);

#endif
