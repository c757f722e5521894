// The keys of a synthetic text model.
#include <stdio.h>

#include "base/json.h"
#include "worker/synth_file.h"
#include "worker/synth_shape.h"
#include "worker/synth_types.h"
#include "worker/synth_vocab.h"

// The sliding window of Gemma 3, by the width of the model.
enum { GEMMA3_WINDOW = 512, GEMMA3_WIDE_WINDOW = 1024, GEMMA3_WIDE_EMBD = 2560 };

struct keys {
    struct gguf_context *gguf;
    const struct synth_shape *shape;
};

static void set_u32(const struct keys *keys, const char *key, uint32_t value) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", keys->shape->arch_name, key);
    gguf_set_val_u32(keys->gguf, full, value);
}

static void set_f32(const struct keys *keys, const char *key, float value) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", keys->shape->arch_name, key);
    gguf_set_val_f32(keys->gguf, full, value);
}

// How the pairs of a head are shared between time, height and width, in the models' proportions:
// 16:24:24 of 64 for Qwen2-VL, 24:20:20 for Qwen3-VL.
static void set_rope_sections(const struct keys *keys) {
    char full[128];
    int32_t pairs = (int32_t)keys->shape->head_dim / 2;
    int32_t side = keys->shape->arch == SYNTH_QWEN2VL ? pairs * 3 / 8 : pairs * 5 / 16;
    const int32_t sections[4] = {pairs - 2 * side, side, side, 0};
    snprintf(full, sizeof full, "%s.rope.dimension_sections", keys->shape->arch_name);
    gguf_set_arr_data(keys->gguf, full, GGUF_TYPE_INT32, sections, 4);
}

static void set_arch_keys(const struct keys *keys) {
    const struct synth_shape *shape = keys->shape;
    if (shape->arch == SYNTH_GEMMA3) {
        set_u32(keys, "attention.sliding_window",
                shape->n_embd < GEMMA3_WIDE_EMBD ? GEMMA3_WINDOW : GEMMA3_WIDE_WINDOW);
    }
    if (shape->arch == SYNTH_QWEN2VL || shape->arch == SYNTH_QWEN3VL) {
        set_rope_sections(keys);
    }
    if (shape->arch == SYNTH_QWEN3VL) {
        set_u32(keys, "n_deepstack_layers", shape->n_deepstack);
    }
}

static void set_keys(const struct keys *keys) {
    const struct synth_shape *shape = keys->shape;
    set_u32(keys, "context_length", shape->n_ctx);
    set_u32(keys, "embedding_length", shape->n_embd);
    set_u32(keys, "block_count", shape->n_layer);
    set_u32(keys, "feed_forward_length", shape->n_ff);
    set_u32(keys, "attention.head_count", shape->n_head);
    set_u32(keys, "attention.head_count_kv", shape->n_head_kv);
    set_u32(keys, "attention.key_length", shape->head_dim);
    set_u32(keys, "attention.value_length", shape->head_dim);
    set_u32(keys, "rope.dimension_count", shape->head_dim);
    set_u32(keys, "vocab_size", shape->n_vocab);
    set_f32(keys, "attention.layer_norm_rms_epsilon", 1e-6f);
    set_f32(keys, "rope.freq_base", shape->rope_freq_base);
    set_arch_keys(keys);
}

enum wl_status synth_text_plan(const json_t *request, struct synth_file *file, struct wl_err *err) {
    struct synth_shape shape;
    struct synth_mix mix;
    enum wl_status status;
    const char *type = wl_json_opt_string(request, "type", "f16");
    bool is_pure = wl_json_opt_bool(request, "pure", false);
    if ((status = synth_shape_parse(request, &shape, err)) ||
        (status = synth_mix_by_name(type, is_pure, &mix, err)) ||
        (status = synth_tensors_make(&shape, &mix, &file->tensors, err))) {
        return status;
    }
    file->seed = shape.seed;
    synth_file_set_general(file, shape.arch_name, "model", shape.name, mix.ftype);
    set_keys(&(struct keys){file->gguf, &shape});
    const char *splitter = shape.arch == SYNTH_LLAMA ? "smollm" : "qwen2";
    return synth_vocab_write(file->gguf, shape.n_vocab, splitter, err);
}
