#include "worker/session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "os/clock.h"
#include "os/machine.h"
#include "worker/describe.h"
#include "worker/load_options.h"
#include "worker/log.h"
#include "worker/phase.h"

enum { DEFAULT_N_CTX = 4096 };
#define PROGRESS_EVERY_NS 100000000

enum wl_status session_require_model(const struct session *session, struct wl_err *err) {
    return session->ctx ? WL_OK : wl_err_set(err, WL_USAGE, "no model is loaded; send LOAD first");
}

void session_forget_held(struct session *session) {
    if (session->ctx && session->n_held > 0) {
        llama_memory_clear(llama_get_memory(session->ctx), false);
    }
    session->n_held = 0;
}

void session_unload(struct session *session) {
    vision_close(&session->vision);
    if (session->ctx) {
        llama_free(session->ctx);
    }
    if (session->model) {
        llama_model_free(session->model);
    }
    free(session->held);
    *session = (struct session){0};
}

// The context: what was asked, never more than the model was trained for.
static uint32_t choose_n_ctx(uint32_t asked, uint64_t n_ctx_train) {
    uint32_t n_ctx = asked ? asked : DEFAULT_N_CTX;
    return n_ctx_train > 0 && n_ctx > n_ctx_train ? (uint32_t)n_ctx_train : n_ctx;
}

static enum wl_status refuse_ram(const struct session *s, const char *path, struct wl_err *err) {
    const struct load_options *o = &s->options;
    char need[UNITS_TEXT_BYTES];
    char have[UNITS_TEXT_BYTES];
    char weights[UNITS_TEXT_BYTES];
    char vision[UNITS_TEXT_BYTES];
    char kv[UNITS_TEXT_BYTES];
    units_bytes(need, (double)s->ram.total_bytes);
    units_bytes(have, (double)o->max_ram_bytes);
    units_bytes(weights, (double)s->ram.weights_bytes);
    units_bytes(vision, (double)s->ram.vision_bytes);
    units_bytes(kv, (double)s->ram.kv_bytes);
    bool has_vision = s->ram.vision_bytes > 0;
    const char *advice = s->ram.weights_bytes > o->max_ram_bytes
                             ? "choose a smaller or more strongly quantised model"
                             : "lower n_ctx, use a q8_0 KV cache, or choose a smaller model";
    return wl_err_set(err, WL_MEMORY,
                      "the model '%s' needs about %s of RAM (weights %s, %s%s%sKV cache of %" PRIu32
                      " tokens %s), but %s may be used; %s",
                      path, need, weights, has_vision ? "image encoder " : "",
                      has_vision ? vision : "", has_vision ? ", " : "", o->n_ctx, kv, have, advice);
}

enum wl_status session_check_ram(struct session *s, const char *path, uint64_t vision_bytes,
                                 struct wl_err *err) {
    const struct load_options *o = &s->options;
    struct ram_question question = {
        .type_k = o->type_k,
        .type_v = o->type_v,
        .n_ctx = o->n_ctx,
        .n_ubatch = o->n_ubatch,
        .has_flash_attn = o->flash_attn != LLAMA_FLASH_ATTN_TYPE_DISABLED,
        .vision_bytes = vision_bytes,
    };
    s->ram = model_facts_predict_ram(&s->facts, &question);
    bool is_allowed = o->max_ram_bytes == 0 || s->ram.total_bytes <= o->max_ram_bytes;
    return is_allowed ? WL_OK : refuse_ram(s, path, err);
}

struct load_watch {
    const struct reply *reply;
    int64_t last_ns;
};

static bool on_load_progress(float done, void *context) {
    struct load_watch *watch = context;
    int64_t now_ns = os_now_ns();
    if (now_ns - watch->last_ns >= PROGRESS_EVERY_NS) {
        watch->last_ns = now_ns;
        reply_progress(watch->reply, "load", (double)done);
        frame_poll_control(watch->reply->io);
    }
    return !watch->reply->io->is_closed && !watch->reply->io->is_cancelled;
}

static enum wl_status load_failed(const char *what, const char *path, struct wl_err *err) {
    const char *reason = log_reason();
    return wl_err_set(err, WL_INPUT, "%s '%.300s': %s", what, path,
                      *reason ? reason : "llama.cpp gave no reason");
}

static enum wl_status load_model(struct session *s, const char *path, const struct reply *reply,
                                 struct wl_err *err) {
    static ggml_backend_dev_t no_devices[] = {NULL}; // the CPU is always there
    struct load_watch watch = {.reply = reply, .last_ns = os_now_ns()};
    struct llama_model_params params = llama_model_default_params();
    params.devices = no_devices;
    params.n_gpu_layers = 0;
    params.load_mode = s->options.load_mode;
    params.use_extra_bufts = s->options.has_repack;
    params.progress_callback = on_load_progress;
    params.progress_callback_user_data = &watch;
    s->model = llama_model_load_from_file(path, params);
    if (!s->model && reply->io->is_cancelled) {
        return wl_err_set(err, WL_INTERRUPTED, "loading '%s' was cancelled", path);
    }
    return s->model ? WL_OK : load_failed("cannot load the model", path, err);
}

enum wl_status session_make_context(struct session *s, const char *path, struct wl_err *err) {
    const struct load_options *o = &s->options;
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = o->n_ctx;
    params.n_batch = o->n_batch;
    params.n_ubatch = o->n_ubatch;
    params.n_seq_max = 1;
    params.n_outputs_max = 1; // only the last position's logits are ever asked for
    params.n_threads = o->threads;
    params.n_threads_batch = o->threads_batch;
    params.flash_attn_type = o->flash_attn;
    params.type_k = o->type_k;
    params.type_v = o->type_v;
    params.swa_full = false; // a sliding window keeps its window only, as llama-server does
    params.no_perf = true;
    if (s->ctx) {
        llama_free(s->ctx);
        s->n_held = 0;
    }
    s->ctx = llama_init_from_model(s->model, params);
    return s->ctx ? WL_OK : load_failed("cannot make a context for the model", path, err);
}

static void find_eog_tokens(struct session *s) {
    int32_t n_vocab = llama_vocab_n_tokens(s->vocab);
    for (llama_token id = 0; id < n_vocab && s->n_eog < MAX_EOG_TOKENS; id++) {
        if (llama_vocab_is_eog(s->vocab, id)) {
            s->eog[s->n_eog++] = id;
        }
    }
}

static enum wl_status open_session(struct session *s, const struct load_options *options,
                                   const struct vision_facts *vision, const struct reply *reply,
                                   struct wl_err *err) {
    enum wl_status status = load_model(s, options->path, reply, err);
    if (status == WL_OK && *options->vision.mmproj) {
        status = session_open_vision(s, &options->vision, vision, err);
    }
    if (status == WL_OK) {
        log_clear();
        status = session_make_context(s, options->path, err);
    }
    if (status != WL_OK) {
        return status;
    }
    s->vocab = llama_model_get_vocab(s->model);
    s->held = calloc(llama_n_ctx(s->ctx), sizeof *s->held);
    return s->held ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the token list");
}

static enum wl_status load_all(struct session *s, const struct load_options *options,
                               const struct reply *reply, struct wl_err *err) {
    struct vision_facts vision = {0};
    enum wl_status status = model_facts_read(options->path, &s->facts, err);
    if (status == WL_OK && *options->vision.mmproj) {
        status = vision_file_read(options->vision.mmproj, &vision, err);
    }
    if (status == WL_OK) {
        s->options.n_ctx = choose_n_ctx(options->n_ctx, s->facts.n_ctx_train);
        status = session_check_ram(s, options->path, vision.tensor_bytes, err);
    }
    return status == WL_OK ? open_session(s, options, &vision, reply, err) : status;
}

enum wl_status session_load(struct session *session, const struct reply *reply,
                            const json_t *request, json_t **result, struct wl_err *err) {
    struct load_options options;
    enum wl_status status = load_options_parse(request, &options, err);
    if (status != WL_OK) {
        return status;
    }
    session_unload(session);
    log_clear();
    session->options = options;
    session->options.path = NULL; // belongs to the request
    session->options.vision.mmproj = NULL;
    struct phase phase;
    phase_begin(&phase, "load", reply);
    status = load_all(session, &options, reply, err);
    phase_end(&phase, reply);
    if (status != WL_OK) {
        session_unload(session);
        return status;
    }
    find_eog_tokens(session);
    *result = json_pack("{s:o, s:o, s:o}", "phase", phase_json(&phase), "model",
                        describe_model(session), "memory", describe_memory(&session->ram));
    if (session->vision.mtmd) {
        json_object_set_new(*result, "vision", vision_json(&session->vision));
    }
    return WL_OK;
}
