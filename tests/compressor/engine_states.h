// What llama.cpp itself has in the residual stream behind every block (its tensors l_out-<n>), for
// one text, with float32 keys and values and without flash attention.
#ifndef WATTLAW_TESTS_COMPRESSOR_ENGINE_STATES_H
#define WATTLAW_TESTS_COMPRESSOR_ENGINE_STATES_H

#include <llama.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engine_states {
    float **after; // [n_layer][n_tokens * n_embd]; NULL where llama.cpp showed none
    uint32_t n_layer, n_embd;
    size_t n_tokens;
};

static inline void engine_states_release(struct engine_states *states) {
    for (uint32_t i = 0; states->after && i < states->n_layer; i++) {
        free(states->after[i]);
    }
    free(states->after);
    *states = (struct engine_states){0};
}

static inline bool engine_states_layer(const struct engine_states *states, const char *name,
                                       uint32_t *layer) {
    static const char PREFIX[] = "l_out-";
    if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0) {
        return false;
    }
    char *end;
    unsigned long number = strtoul(name + sizeof PREFIX - 1, &end, 10);
    *layer = (uint32_t)number;
    return *end == '\0' && number < states->n_layer;
}

static inline bool engine_states_take(struct ggml_tensor *tensor, bool is_question,
                                      void *user_data) {
    struct engine_states *states = user_data;
    uint32_t layer;
    bool is_wanted = engine_states_layer(states, tensor->name, &layer);
    if (is_question) {
        return is_wanted;
    }
    size_t n = states->n_tokens * states->n_embd;
    if (is_wanted && tensor->type == GGML_TYPE_F32 && (size_t)ggml_nelements(tensor) == n) {
        free(states->after[layer]);
        states->after[layer] = calloc(n, sizeof(float));
        if (states->after[layer]) {
            ggml_backend_tensor_get(tensor, states->after[layer], 0, n * sizeof(float));
        }
    }
    return true;
}

// Tokens, or (when `embd` is not NULL) what would enter the first block, [n_tokens][n_embd], at
// positions [4][n_tokens].
struct engine_input {
    int32_t *tokens;
    float *embd;
    int32_t *positions;
    size_t n_tokens;
};

static inline bool engine_states_decode(struct llama_context *context,
                                        const struct engine_input *in) {
    struct llama_batch room = llama_batch_init((int32_t)in->n_tokens, 0, 1);
    for (size_t i = 0; i < in->n_tokens; i++) {
        room.pos[i] = (llama_pos)i;
        room.n_seq_id[i] = 1;
        room.seq_id[i][0] = 0;
        room.logits[i] = 1; // else the last block computes the last token only
    }
    struct llama_batch batch = room;
    batch.n_tokens = (int32_t)in->n_tokens;
    batch.token = in->embd ? NULL : in->tokens;
    batch.embd = in->embd;
    batch.pos = in->embd ? in->positions : room.pos;
    bool is_ok = llama_decode(context, batch) == 0;
    llama_batch_free(room);
    return is_ok;
}

// False when llama.cpp does not load or run the model, or does not show every block.
static inline bool engine_states_run(const char *path, const struct engine_input *in,
                                     struct engine_states *out) {
    *out = (struct engine_states){.n_tokens = in->n_tokens};
    struct llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = 0;
    model_params.use_extra_bufts = false; // no weights in another order, with another rounding
    struct llama_model *model = llama_model_load_from_file(path, model_params);
    if (!model) {
        return false;
    }
    out->n_layer = (uint32_t)llama_model_n_layer(model);
    out->n_embd = (uint32_t)llama_model_n_embd(model);
    out->after = calloc(out->n_layer, sizeof *out->after);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = (uint32_t)in->n_tokens;
    params.n_threads = params.n_threads_batch = 1;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.cb_eval = engine_states_take;
    params.cb_eval_user_data = out;
    struct llama_context *context = out->after ? llama_init_from_model(model, params) : NULL;
    bool is_ok = context && engine_states_decode(context, in);
    for (uint32_t i = 0; i < out->n_layer && is_ok; i++) {
        is_ok = out->after[i] != NULL;
    }
    if (context) {
        llama_free(context);
    }
    llama_model_free(model);
    if (!is_ok) {
        engine_states_release(out);
    }
    return is_ok;
}

#endif
