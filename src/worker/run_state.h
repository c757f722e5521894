// What the files of a RUN share: its state, and the steps that text and images have in common.
#ifndef WATTLAW_WORKER_RUN_STATE_H
#define WATTLAW_WORKER_RUN_STATE_H

#include "base/buf.h"
#include "worker/image_slots.h"
#include "worker/interrupt.h"
#include "worker/phase.h"
#include "worker/pick.h"
#include "worker/prompt.h"
#include "worker/run_image.h"
#include "worker/session.h"
#include "worker/utf8.h"

enum { MAX_RUN_PHASES = 64 }; // of images 3, of each image's prefill and of the text between 2

struct run {
    struct session *session;
    const struct reply *reply;
    struct prompt prompt;     // of a run without images
    struct run_images images; // of one with
    struct picker picker;
    struct interrupt interrupt;
    struct llama_batch batch;
    size_t n_prompt; // tokens; 0 until they are known
    size_t n_reused; // prompt tokens whose keys and values were still in the cache
    llama_pos n_past;
    size_t n_predict;
    bool is_to_context; // generate until the context is full
    bool has_stream;
    bool wants_times;
    struct utf8_stream utf8;
    struct buf text;
    int64_t *times; // of each generated token
    size_t n_generated;
    llama_token last;
    const char *stop; // NULL while going on
    struct phase phases[MAX_RUN_PHASES];
    size_t n_phases;
};

// The phase that is going on.
struct phase *run_phase(struct run *run);
// Ends it, if there is one, and begins another at the same instant.
void run_enter(struct run *run, const char *name);
// Whether the run must stop now (cancelled, out of time, hung up); run->stop says why.
bool run_must_stop(struct run *run);
// The same after a computation that may have been interrupted: no look, only the reason.
bool run_was_stopped(struct run *run);
// LIMIT when prompt and answer do not fit the context; makes room for the answer's times.
enum wl_status run_check_room(struct run *run, struct wl_err *err);
// Decodes tokens[0..n) at the next positions; logits of the last one when asked.
enum wl_status run_decode(struct run *run, const llama_token *tokens, size_t n, bool wants_logits,
                          struct wl_err *err);

#endif
