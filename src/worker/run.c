#include "worker/run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "os/clock.h"
#include "worker/log.h"
#include "worker/run_state.h"

enum { MAX_ANSWER_BYTES = 1 << 20, MAX_PIECE_BYTES = 1024, DEFAULT_N_PREDICT = 128 };

struct phase *run_phase(struct run *run) {
    return &run->phases[run->n_phases - 1];
}

void run_enter(struct run *run, const char *name) {
    if (run->n_phases == 0) {
        phase_begin(&run->phases[run->n_phases++], name, run->reply);
    } else if (run->n_phases < MAX_RUN_PHASES) {
        struct phase *before = run_phase(run);
        phase_switch(before, &run->phases[run->n_phases++], name, run->reply);
    }
}

enum wl_status run_check_room(struct run *run, struct wl_err *err) {
    size_t n_ctx = llama_n_ctx(run->session->ctx);
    if (run->is_to_context && run->n_prompt < n_ctx) {
        run->n_predict = n_ctx - run->n_prompt;
    }
    if (run->n_prompt + run->n_predict > n_ctx) {
        return wl_err_set(
            err, WL_LIMIT,
            "run: %zu prompt tokens + %zu to generate = %zu, but the context holds %zu; load the "
            "model with a larger n_ctx (it was trained for %" PRIu64 ") or ask for less%s",
            run->n_prompt, run->n_predict, run->n_prompt + run->n_predict, n_ctx,
            run->session->facts.n_ctx_train, run->images.n > 0 ? ", or send smaller images" : "");
    }
    run->times = calloc(run->n_predict ? run->n_predict : 1, sizeof *run->times);
    return run->times ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the run");
}

static enum wl_status check_generates(const struct session *session, struct wl_err *err) {
    if (!llama_model_has_decoder(session->model) || llama_model_has_encoder(session->model) ||
        !llama_get_memory(session->ctx)) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "run: a model of architecture '%s' does not generate text from a prompt",
                          session->facts.arch);
    }
    return WL_OK;
}

static enum wl_status take_prompt(struct run *run, const json_t *request, struct wl_err *err) {
    if (run->images.n > 0) {
        return WL_OK; // its tokens are not known before libmtmd has seen the images
    }
    enum wl_status status = prompt_from_run(run->session, request, &run->prompt, err);
    run->n_prompt = run->prompt.n_tokens;
    return status == WL_OK ? run_check_room(run, err) : status;
}

static enum wl_status run_init(struct run *run, const struct image_slots *slots,
                               const json_t *request, struct wl_err *err) {
    int64_t n_predict = wl_json_opt_i64(request, "n_predict", DEFAULT_N_PREDICT);
    run->is_to_context = n_predict < 0;
    run->n_predict = n_predict < 0 ? 0 : (size_t)n_predict;
    run->has_stream = wl_json_opt_bool(request, "stream", false);
    run->wants_times = wl_json_opt_bool(request, "token_times", false);
    buf_init(&run->text, MAX_ANSWER_BYTES);
    enum wl_status status;
    if ((status = check_generates(run->session, err)) ||
        (status = picker_init(&run->picker, request, err)) ||
        (status = run_images_init(&run->images, run->session, slots, request, err)) ||
        (status = take_prompt(run, request, err))) {
        return status;
    }
    run->batch = llama_batch_init((int32_t)llama_n_batch(run->session->ctx), 0, 1);
    return WL_OK;
}

static void run_release(struct run *run) {
    if (run->batch.token) {
        llama_batch_free(run->batch);
    }
    free(run->times);
    buf_release(&run->text);
    prompt_release(&run->prompt);
    run_images_release(&run->images);
    picker_release(&run->picker);
}

// How many of the prompt's tokens the cache already holds; the rest of the cache is dropped. At
// least one token is left to compute, for its logits.
static size_t reuse_prefix(struct session *s, const struct prompt *prompt, bool is_allowed) {
    llama_memory_t memory = llama_get_memory(s->ctx);
    size_t n = 0;
    while (is_allowed && n < s->n_held && n + 1 < prompt->n_tokens &&
           s->held[n] == prompt->tokens[n]) {
        n++;
    }
    // A sliding window or a recurrent state cannot go back.
    bool is_whole = n > 0 && llama_memory_seq_pos_min(memory, 0) == 0 &&
                    llama_memory_seq_rm(memory, 0, (llama_pos)n, -1);
    if (!is_whole) {
        llama_memory_clear(memory, false);
        n = 0;
    }
    s->n_held = n;
    return n;
}

bool run_was_stopped(struct run *run) {
    enum interrupt_reason reason = run->interrupt.reason;
    if (reason != INTERRUPT_NONE) {
        run->stop = reason == INTERRUPT_TIME ? "time" : "cancel";
    }
    return run->stop != NULL;
}

bool run_must_stop(struct run *run) {
    interrupt_look(&run->interrupt);
    return run_was_stopped(run);
}

enum wl_status run_decode(struct run *run, const llama_token *tokens, size_t n, bool wants_logits,
                          struct wl_err *err) {
    struct session *s = run->session;
    struct llama_batch *batch = &run->batch;
    batch->n_tokens = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        batch->token[i] = tokens[i];
        batch->pos[i] = run->n_past + (llama_pos)i;
        batch->n_seq_id[i] = 1;
        batch->seq_id[i][0] = 0;
        batch->logits[i] = wants_logits && i + 1 == n;
    }
    int32_t code = llama_decode(s->ctx, *batch);
    llama_synchronize(s->ctx);
    if (code == 2 && run_was_stopped(run)) {
        return WL_OK;
    }
    if (code != 0) {
        const char *reason = log_reason();
        return wl_err_set(err, code == 1 ? WL_LIMIT : WL_FAILED,
                          "run: llama_decode of %zu tokens at position %" PRId32
                          " returned %" PRId32 "%s%.400s",
                          n, run->n_past, code, *reason ? ": " : "", reason);
    }
    if (run->images.n == 0) { // a cache with an image in it is not reused
        memcpy(s->held + s->n_held, tokens, n * sizeof *tokens);
        s->n_held += n;
    }
    run->n_past += (llama_pos)n;
    run_phase(run)->n_tokens += (int64_t)n;
    return WL_OK;
}

static enum wl_status prefill_text(struct run *run, struct wl_err *err) {
    size_t n_batch = llama_n_batch(run->session->ctx);
    size_t n = run->prompt.n_tokens;
    run_enter(run, "prefill");
    for (size_t at = run->n_reused; at < n && !run->stop;) {
        size_t n_now = n - at < n_batch ? n - at : n_batch;
        bool is_last = at + n_now == n;
        enum wl_status status = run_decode(run, run->prompt.tokens + at, n_now, is_last, err);
        if (status != WL_OK) {
            return status;
        }
        at += n_now;
        if (!run->stop && !is_last) {
            run_must_stop(run);
        }
    }
    return WL_OK;
}

static void send_token(struct run *run, llama_token id, const char *text, int64_t t_ns) {
    json_t *event =
        json_pack("{s:i, s:s, s:I}", "id", (int)id, "text", text, "t_ns", (json_int_t)t_ns);
    frame_write_json(run->reply->io, ENGINE_TOKEN, run->reply->request_id, event);
}

// Appends the token's text to the answer and streams what became complete.
static void add_text(struct run *run, llama_token id, int64_t t_ns) {
    char piece[MAX_PIECE_BYTES];
    int32_t n = llama_token_to_piece(run->session->vocab, id, piece, sizeof piece, 0, false);
    size_t before = run->text.len;
    utf8_push(&run->utf8, piece, n > 0 ? (size_t)n : 0, &run->text);
    if (run->has_stream) {
        send_token(run, id, buf_text(&run->text) + before, t_ns);
    }
}

// Picks the next token and decides whether to go on.
static enum wl_status next_token(struct run *run, struct wl_err *err) {
    llama_token id = picker_next(&run->picker, run->session);
    if (id < 0) {
        return wl_err_set(err, WL_FAILED, "run: llama.cpp gave no logits");
    }
    int64_t t_ns = run->has_stream || run->wants_times ? os_now_ns() : 0;
    run->times[run->n_generated++] = t_ns;
    run->last = id;
    bool is_end = llama_vocab_is_eog(run->session->vocab, id);
    if (is_end && !run->picker.ignores_eos) {
        run->stop = "eos";
        return WL_OK;
    }
    add_text(run, id, t_ns);
    if (run->n_generated == run->n_predict) {
        run->stop = run->is_to_context ? "context" : "length";
    } else {
        run_must_stop(run);
    }
    return WL_OK;
}

static enum wl_status generate(struct run *run, struct wl_err *err) {
    while (!run->stop) {
        enum wl_status status = run_decode(run, &run->last, 1, true, err);
        if (status == WL_OK && !run->stop) {
            status = next_token(run, err);
        }
        if (status != WL_OK) {
            return status;
        }
    }
    return WL_OK;
}

static enum wl_status do_phases(struct run *run, struct wl_err *err) {
    enum wl_status status =
        run->images.n > 0 ? run_images_prefill(run, err) : prefill_text(run, err);
    if (status == WL_OK && !run->stop && run->n_predict > 0) {
        status = next_token(run, err);
    }
    if (status == WL_OK && !run->stop && run->n_predict > 0) {
        run_enter(run, "decode");
        status = generate(run, err);
    }
    run->stop = run->stop ? run->stop : "length";
    phase_end(run_phase(run), run->reply);
    return status;
}

static json_t *result_json(struct run *run) {
    utf8_finish(&run->utf8, &run->text);
    json_t *phases = json_array();
    for (size_t i = 0; i < run->n_phases; i++) {
        json_array_append_new(phases, phase_json(&run->phases[i]));
    }
    bool has_images = run->images.n > 0;
    json_t *result = json_pack("{s:s, s:b, s:I, s:I, s:I, s:b, s:s, s:o}", "text",
                               buf_text(&run->text), "is_text_cut", run->text.is_failed, "n_prompt",
                               (json_int_t)run->n_prompt, "n_reused", (json_int_t)run->n_reused,
                               "n_generated", (json_int_t)run->n_generated, "has_template",
                               has_images ? run->images.has_template : run->prompt.has_template,
                               "stop", run->stop, "phases", phases);
    if (has_images) {
        json_t *images = run_images_json(&run->images);
        json_object_update(result, images);
        json_decref(images);
    }
    return result;
}

static void send_times(const struct run *run) {
    unsigned char *bytes = malloc(8 * run->n_generated + 1);
    for (size_t i = 0; bytes && i < run->n_generated; i++) {
        uint64_t value = (uint64_t)run->times[i];
        for (size_t b = 0; b < 8; b++) {
            bytes[8 * i + b] = (unsigned char)(value >> (8 * b));
        }
    }
    if (bytes) {
        frame_write(run->reply->io, ENGINE_TOKEN_TIMES, run->reply->request_id, bytes,
                    8 * run->n_generated);
    }
    free(bytes);
}

static enum wl_status run_all(struct run *run, const json_t *request, struct wl_err *err) {
    struct session *session = run->session;
    log_clear();
    interrupt_init(&run->interrupt, run->reply->io, wl_json_opt_double(request, "max_seconds", 0));
    llama_set_abort_callback(session->ctx, interrupt_callback, &run->interrupt);
    bool is_reuse_allowed = run->images.n == 0 && wl_json_opt_bool(request, "reuse_prefix", false);
    run->n_reused = reuse_prefix(session, &run->prompt, is_reuse_allowed);
    run->n_past = (llama_pos)run->n_reused;
    enum wl_status status = do_phases(run, err);
    llama_set_abort_callback(session->ctx, NULL, NULL);
    log_mute(false);
    if (status != WL_OK || run->interrupt.reason != INTERRUPT_NONE) {
        session->n_held = 0; // an aborted decode leaves the cache half written
        llama_memory_clear(llama_get_memory(session->ctx), false);
    }
    return status;
}

enum wl_status run_request(struct session *session, const struct image_slots *slots,
                           const struct reply *reply, const json_t *request, json_t **result,
                           struct wl_err *err) {
    struct run run = {.session = session, .reply = reply};
    enum wl_status status = session_require_model(session, err);
    if (status == WL_OK) {
        status = run_init(&run, slots, request, err);
    }
    if (status == WL_OK) {
        status = run_all(&run, request, err);
    }
    if (status == WL_OK) {
        if (run.wants_times) {
            send_times(&run);
        }
        *result = result_json(&run);
    }
    run_release(&run);
    return status;
}
