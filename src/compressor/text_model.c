#include "compressor/text_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/clock.h"
#include "os/machine.h"
#include "worker/gguf_file.h"
#include "worker/log.h"

// The logits of a batch are kept at once: [batch][vocabulary] float32.
enum { MAX_LOGITS_BYTES = 64 << 20, MIN_BATCH = 16, MAX_BATCH = 512, MAX_CONTEXT = 1 << 20 };
#define ASK_EVERY_NS 100000000

bool text_watch_stops(struct text_watch *watch) {
    int64_t now_ns = os_now_ns();
    bool is_time = watch->last_ns == 0 || now_ns - watch->last_ns >= ASK_EVERY_NS;
    if (watch->go_on && !watch->is_stopped && is_time) {
        watch->last_ns = now_ns;
        watch->is_stopped = !watch->go_on(watch->context, watch->share_done);
    }
    return watch->is_stopped;
}

static bool on_load_progress(float done, void *context) {
    (void)done;
    return !text_watch_stops(context);
}

// llama.cpp reports a computation that we stopped as an error.
static bool on_node(void *context) {
    bool is_stopped = text_watch_stops(context);
    if (is_stopped) {
        log_mute(true);
    }
    return is_stopped;
}

static enum wl_status stopped(const struct text_model *m, struct wl_err *err) {
    return wl_err_set(err, WL_INTERRUPTED, "'%s': cancelled", m->path);
}

// A damaged file is refused by our own reader first: llama.cpp may abort on it.
static enum wl_status read_keys(struct text_model *m, struct wl_err *err) {
    struct gguf_file file;
    char arch[64] = "";
    char key[128];
    enum wl_status status = gguf_file_open(&file, m->path, err);
    if (status == WL_OK) {
        gguf_file_string(&file, "general.architecture", arch, sizeof arch);
        snprintf(key, sizeof key, "%s.context_length", arch);
        uint64_t n_ctx_train = gguf_file_uint(&file, key, 0, 0);
        m->n_ctx_train = n_ctx_train < INT32_MAX ? (uint32_t)n_ctx_train : INT32_MAX;
        gguf_file_close(&file);
    }
    return status;
}

static enum wl_status load(struct text_model *m, enum text_model_part part, struct wl_err *err) {
    static ggml_backend_dev_t no_devices[] = {NULL}; // the CPU is always there
    struct llama_model_params params = llama_model_default_params();
    params.devices = no_devices;
    params.n_gpu_layers = 0;
    params.vocab_only = part == TEXT_MODEL_VOCABULARY;
    params.progress_callback = on_load_progress;
    params.progress_callback_user_data = m->watch;
    log_clear();
    log_mute(false);
    m->model = llama_model_load_from_file(m->path, params);
    if (!m->model && m->watch->is_stopped) {
        return stopped(m, err);
    }
    if (!m->model) {
        const char *reason = log_reason();
        return wl_err_set(err, WL_INPUT, "cannot load the model '%.300s': %s", m->path,
                          *reason ? reason : "llama.cpp gave no reason");
    }
    m->vocab = llama_model_get_vocab(m->model);
    int32_t n_vocab = llama_vocab_n_tokens(m->vocab);
    m->n_vocab = n_vocab > 0 ? (uint32_t)n_vocab : 0;
    m->n_embd = (uint32_t)llama_model_n_embd_inp(m->model);
    bool is_text =
        m->n_vocab > 0 && llama_model_has_decoder(m->model) && !llama_model_has_encoder(m->model);
    return is_text ? WL_OK
                   : wl_err_set(err, WL_UNSUPPORTED,
                                "'%s' is no model that writes text token by token", m->path);
}

enum wl_status text_model_load(struct text_model *m, const char *path, enum text_model_part part,
                               struct text_watch *watch, struct wl_err *err) {
    *m = (struct text_model){.path = path, .watch = watch};
    enum wl_status status = read_keys(m, err);
    if (status == WL_OK) {
        status = load(m, part, err);
    }
    if (status != WL_OK) {
        text_model_unload(m);
    }
    return status;
}

static uint32_t choose_batch(uint32_t n_vocab) {
    uint32_t n = (uint32_t)(MAX_LOGITS_BYTES / sizeof(float)) / n_vocab;
    n = n < MIN_BATCH ? MIN_BATCH : n;
    return n > MAX_BATCH ? MAX_BATCH : n;
}

static enum wl_status check_context(const struct text_model *m, uint32_t n_sequences,
                                    uint32_t length, struct wl_err *err) {
    if (m->n_ctx_train > 0 && length > m->n_ctx_train) {
        return wl_err_set(err, WL_LIMIT,
                          "'%s' was trained on at most %" PRIu32 " tokens at once, but a sequence "
                          "has %" PRIu32 "; use shorter sequences",
                          m->path, m->n_ctx_train, length);
    }
    return (uint64_t)n_sequences * length <= MAX_CONTEXT
               ? WL_OK
               : wl_err_set(err, WL_LIMIT,
                            "%" PRIu32 " sequences of %" PRIu32
                            " tokens at once: expected at most %d tokens in all",
                            n_sequences, length, MAX_CONTEXT);
}

static enum wl_status make_batch(struct text_model *m, struct wl_err *err) {
    enum llama_rope_type rope = llama_model_rope_type(m->model);
    bool is_mrope = rope == LLAMA_ROPE_TYPE_MROPE || rope == LLAMA_ROPE_TYPE_IMROPE;
    m->n_axes = is_mrope ? 4 : 1;
    m->row_axes = calloc(m->max_batch, m->n_axes * sizeof *m->row_axes);
    m->batch = llama_batch_init((int32_t)m->max_batch, 0, 1);
    m->batch.n_tokens = 0;
    return m->batch.token && m->row_axes ? WL_OK
                                         : wl_err_set(err, WL_MEMORY, "no memory for a batch");
}

enum wl_status text_model_start(struct text_model *m, uint32_t n_sequences,
                                uint32_t sequence_length, int32_t threads, struct wl_err *err) {
    enum wl_status status = check_context(m, n_sequences, sequence_length, err);
    if (status != WL_OK) {
        return status;
    }
    m->max_batch = choose_batch(m->n_vocab);
    m->max_batch = m->max_batch < n_sequences ? n_sequences : m->max_batch;
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = n_sequences * ((sequence_length + 255) / 256 * 256);
    params.n_batch = m->max_batch;
    params.n_ubatch = m->max_batch;
    params.n_seq_max = n_sequences;
    params.n_threads = threads > 0 ? threads : os_n_usable_cores();
    params.n_threads_batch = params.n_threads;
    params.abort_callback = on_node;
    params.abort_callback_data = m->watch;
    params.swa_full = false;
    params.no_perf = true;
    log_clear();
    m->ctx = llama_init_from_model(m->model, params);
    if (!m->ctx) {
        const char *reason = log_reason();
        return wl_err_set(err, WL_MEMORY, "cannot make a context for the model '%.300s': %s",
                          m->path, *reason ? reason : "llama.cpp gave no reason");
    }
    return make_batch(m, err);
}

void text_model_unload(struct text_model *m) {
    if (m->ctx) {
        llama_batch_free(m->batch);
        llama_free(m->ctx);
    }
    free(m->row_axes);
    if (m->model) {
        llama_model_free(m->model);
    }
    *m = (struct text_model){0};
}

void text_model_add(struct text_model *m, int32_t token, uint32_t position, uint32_t sequence,
                    bool has_logits) {
    struct llama_batch *batch = &m->batch;
    int32_t i = batch->n_tokens++;
    batch->token[i] = token;
    batch->pos[i] = (llama_pos)position;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = (llama_seq_id)sequence;
    batch->logits[i] = has_logits;
}

static enum wl_status compute(struct text_model *m, struct llama_batch batch, struct wl_err *err) {
    if (text_watch_stops(m->watch)) {
        return stopped(m, err);
    }
    log_clear();
    int32_t code = llama_decode(m->ctx, batch);
    log_mute(false);
    if (m->watch->is_stopped) {
        return stopped(m, err);
    }
    if (code != 0) {
        const char *reason = log_reason();
        return wl_err_set(err, WL_FAILED,
                          "'%.300s': llama.cpp could not compute %d tokens (code %d): %s", m->path,
                          batch.n_tokens, code, *reason ? reason : "it gave no reason");
    }
    return WL_OK;
}

enum wl_status text_model_run(struct text_model *m, struct wl_err *err) {
    enum wl_status status = compute(m, m->batch, err);
    m->batch.n_tokens = 0;
    return status;
}

enum wl_status text_model_run_rows(struct text_model *m, const struct text_rows *rows,
                                   struct wl_err *err) {
    struct llama_batch batch = m->batch; // its arrays but for tokens and positions
    batch.n_tokens = (int32_t)rows->n;
    batch.token = NULL;
    batch.embd = (float *)rows->rows; // only read
    batch.pos = m->row_axes;
    for (uint32_t i = 0; i < rows->n; i++) {
        for (uint32_t axis = 0; axis < m->n_axes; axis++) {
            batch.pos[axis * rows->n + i] = rows->positions[axis * rows->stride + i];
        }
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = rows->has_logits && i + 1 == rows->n;
    }
    return compute(m, batch, err);
}

enum wl_status text_model_logits(const struct text_model *m, uint32_t i, const float **out,
                                 struct wl_err *err) {
    *out = llama_get_logits_ith(m->ctx, (int32_t)i);
    return *out ? WL_OK : wl_err_set(err, WL_FAILED, "'%s': llama.cpp gave no logits", m->path);
}

void text_model_forget(struct text_model *m, uint32_t sequence) {
    llama_memory_seq_rm(llama_get_memory(m->ctx), (llama_seq_id)sequence, -1, -1);
}
