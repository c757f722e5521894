// What a GGUF file says about the model in it, gathered before it is loaded: its shape, the bytes
// that one decoded token reads, and a prediction of the RAM it will need.
#ifndef WATTLAW_WORKER_MODEL_FACTS_H
#define WATTLAW_WORKER_MODEL_FACTS_H

#include <ggml.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { FACTS_NAME_BYTES = 128 };

struct model_facts {
    char arch[FACTS_NAME_BYTES];
    char name[FACTS_NAME_BYTES];
    bool is_synthetic; // wattlaw's own random weights
    uint64_t file_bytes;
    uint64_t meta_bytes; // tables and tokenizer, before the data section
    uint64_t tensor_bytes;
    uint64_t n_params;
    uint64_t n_layer;
    uint64_t n_embd;
    uint64_t n_head;
    uint64_t n_head_kv;
    uint64_t n_ff;
    uint64_t n_vocab;
    uint64_t n_ctx_train;
    uint64_t k_per_token; // elements that the K cache grows by per token, all layers
    uint64_t v_per_token;
    uint64_t bytes_per_token; // of weights, read to decode one token
    uint64_t active_params;   // multiplied per token
    uint64_t n_of_type[GGML_TYPE_COUNT];
};

// What the KV cache and the work buffers depend on.
struct ram_question {
    enum ggml_type type_k;
    enum ggml_type type_v;
    uint64_t n_ctx;
    uint64_t n_ubatch;
    bool has_flash_attn;
    uint64_t vision_bytes; // tensors of the image encoder
};

struct ram_prediction {
    uint64_t weights_bytes; // of the text model
    uint64_t vision_bytes;  // weights of the image encoder; its work buffers depend on the image
    uint64_t kv_bytes;
    uint64_t compute_bytes;
    uint64_t other_bytes; // libraries, tokenizer
    uint64_t total_bytes;
};

// Opens, checks and reads the file and, if it is split, its other parts.
enum wl_status model_facts_read(const char *path, struct model_facts *facts, struct wl_err *err);
uint64_t model_facts_kv_bytes(const struct model_facts *facts, enum ggml_type type_k,
                              enum ggml_type type_v, uint64_t n_tokens);
struct ram_prediction model_facts_predict_ram(const struct model_facts *facts,
                                              const struct ram_question *question);

#endif
