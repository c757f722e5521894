#include "worker/stand_in.h"

#include <gguf.h>
#include <stdio.h>

#include "worker/log.h"
#include "worker/synth_vocab.h"

enum { WIDTH = 64, N_HEAD = 2, HEAD_DIM = 32 };

static void set_u32(struct gguf_context *gguf, const char *arch, const char *key, uint32_t value) {
    char full[64];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    gguf_set_val_u32(gguf, full, value);
}

// The least that llama.cpp wants of a file of which it reads the vocabulary.
static enum wl_status describe(struct gguf_context *gguf, bool is_mrope, struct wl_err *err) {
    static const int32_t SECTIONS[4] = {HEAD_DIM / 8, 3 * HEAD_DIM / 16, 3 * HEAD_DIM / 16, 0};
    const char *arch = is_mrope ? "qwen2vl" : "llama";
    gguf_set_val_str(gguf, "general.architecture", arch);
    gguf_set_val_str(gguf, "general.name", "stand-in");
    set_u32(gguf, arch, "context_length", 4096);
    set_u32(gguf, arch, "embedding_length", WIDTH);
    set_u32(gguf, arch, "feed_forward_length", WIDTH);
    set_u32(gguf, arch, "block_count", 1);
    set_u32(gguf, arch, "attention.head_count", N_HEAD);
    set_u32(gguf, arch, "attention.head_count_kv", N_HEAD);
    char key[64];
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    gguf_set_val_f32(gguf, key, 1e-6f);
    if (is_mrope) {
        gguf_set_arr_data(gguf, "qwen2vl.rope.dimension_sections", GGUF_TYPE_INT32, SECTIONS, 4);
    }
    return synth_vocab_write(gguf, SYNTH_VOCAB_MIN, "qwen2", err);
}

static void leave_tensor(struct ggml_tensor *tensor, void *context) {
    (void)tensor;
    (void)context;
}

enum wl_status stand_in_make(const struct vision_family *family, struct llama_model **out,
                             struct wl_err *err) {
    *out = NULL;
    struct gguf_context *gguf = gguf_init_empty();
    if (!gguf) {
        return wl_err_set(err, WL_MEMORY, "no memory for a stand-in text model");
    }
    enum wl_status status = describe(gguf, family->is_mrope, err);
    if (status == WL_OK) {
        struct llama_model_params params = llama_model_default_params();
        params.vocab_only = true;
        log_clear();
        *out = llama_model_init_from_user(gguf, leave_tensor, NULL, params);
        status = *out ? WL_OK
                      : wl_err_set(err, WL_FAILED, "cannot make a stand-in text model: %s",
                                   log_reason());
    }
    gguf_free(gguf);
    return status;
}
