#include "worker/model_facts.h"

#include <inttypes.h>
#include <llama.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "os/file.h"
#include "worker/gguf_file.h"

enum { MAX_SPLITS = 512, MAX_LAYERS = 4096 };

static uint64_t arch_uint(const struct gguf_file *file, const char *arch, const char *key,
                          uint64_t i, uint64_t fallback) {
    char full[FACTS_NAME_BYTES * 2];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    return gguf_file_uint(file, full, i, fallback);
}

// A per-layer array or one number for all layers.
static uint64_t layer_uint(const struct gguf_file *file, const char *arch, const char *key,
                           uint64_t layer, uint64_t fallback) {
    uint64_t first = arch_uint(file, arch, key, 0, fallback);
    return arch_uint(file, arch, key, layer, first);
}

static void read_kv_growth(const struct gguf_file *file, struct model_facts *f) {
    uint64_t head_dim = f->n_head ? f->n_embd / f->n_head : 0;
    uint64_t k = arch_uint(file, f->arch, "attention.key_length", 0, head_dim);
    uint64_t v = arch_uint(file, f->arch, "attention.value_length", 0, head_dim);
    for (uint64_t layer = 0; layer < f->n_layer && layer < MAX_LAYERS; layer++) {
        uint64_t heads = layer_uint(file, f->arch, "attention.head_count_kv", layer, f->n_head);
        f->k_per_token += heads * k;
        f->v_per_token += heads * v;
    }
}

static void read_shape(const struct gguf_file *file, struct model_facts *f) {
    f->n_layer = arch_uint(file, f->arch, "block_count", 0, 0);
    f->n_embd = arch_uint(file, f->arch, "embedding_length", 0, 0);
    f->n_head = arch_uint(file, f->arch, "attention.head_count", 0, 0);
    f->n_head_kv = arch_uint(file, f->arch, "attention.head_count_kv", 0, f->n_head);
    f->n_ff = arch_uint(file, f->arch, "feed_forward_length", 0, 0);
    f->n_ctx_train = arch_uint(file, f->arch, "context_length", 0, 0);
    const struct gguf_kv *tokens = gguf_file_find(file, "tokenizer.ggml.tokens");
    f->n_vocab =
        tokens && tokens->is_array ? tokens->n : arch_uint(file, f->arch, "vocab_size", 0, 0);
    f->is_synthetic = gguf_file_bool(file, "wattlaw.synth");
    gguf_file_string(file, "general.name", f->name, sizeof f->name);
    read_kv_growth(file, f);
}

// Tables from which a token only looks up a row.
static bool is_lookup_table(const char *name) {
    static const char *const NAMES[] = {"per_layer_token_embd.weight", "position_embd.weight",
                                        "token_types.weight"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strcmp(name, NAMES[i]) == 0) {
            return true;
        }
    }
    return false;
}

struct tensor_rules {
    bool is_tied; // the output matmul reads the embedding table
    uint64_t n_expert;
    uint64_t n_expert_used;
};

static void count_tensor(const struct gguf_tensor *t, const struct tensor_rules *rules,
                         struct model_facts *f) {
    f->tensor_bytes += t->n_bytes;
    f->n_params += t->n_elements;
    f->n_of_type[t->type]++;
    bool is_embedding = strcmp(t->name, "token_embd.weight") == 0;
    if (is_lookup_table(t->name) || (is_embedding && !rules->is_tied)) {
        return;
    }
    uint64_t used = 1;
    uint64_t of = 1;
    if (rules->n_expert > 0 && rules->n_expert_used > 0 && strstr(t->name, "_exps.")) {
        used = rules->n_expert_used;
        of = rules->n_expert;
    }
    f->bytes_per_token += t->n_bytes / of * used;
    f->active_params += t->n_elements / of * used;
}

static bool has_tensor(const struct gguf_file *file, const char *name) {
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void count_tensors(const struct gguf_file *file, const struct tensor_rules *rules,
                          struct model_facts *f) {
    f->file_bytes += file->file_bytes;
    f->meta_bytes += file->data_offset;
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        count_tensor(&file->tensors[i], rules, f);
    }
}

// llama.cpp names the parts <prefix>-00002-of-00005.gguf.
static enum wl_status count_other_parts(const char *path, uint64_t n_splits,
                                        const struct tensor_rules *rules, struct model_facts *f,
                                        struct wl_err *err) {
    char prefix[OS_PATH_BYTES];
    if (n_splits > MAX_SPLITS ||
        llama_split_prefix(prefix, sizeof prefix, path, 0, (int32_t)n_splits) <= 0) {
        return wl_err_set(err, WL_INPUT,
                          "the model '%s' is split into %" PRIu64 " parts: give the first part, "
                          "named ...-00001-of-%05" PRIu64 ".gguf",
                          path, n_splits, n_splits);
    }
    for (uint64_t i = 1; i < n_splits; i++) {
        char part[OS_PATH_BYTES];
        struct gguf_file file;
        llama_split_path(part, sizeof part, prefix, (int32_t)i, (int32_t)n_splits);
        enum wl_status status = gguf_file_open(&file, part, err);
        if (status != WL_OK) {
            return status;
        }
        count_tensors(&file, rules, f);
        gguf_file_close(&file);
    }
    return WL_OK;
}

static enum wl_status check_arch(const char *path, const struct model_facts *f,
                                 const struct gguf_file *file, struct wl_err *err) {
    if (f->arch[0] == '\0') {
        return wl_err_set(err, WL_INPUT,
                          "cannot use the model '%s': key 'general.architecture' is "
                          "missing, expected a name such as 'llama'",
                          path);
    }
    if (strcmp(f->arch, "clip") == 0) {
        return wl_err_set(err, WL_INPUT,
                          "'%s' is a vision projector (mmproj, architecture 'clip'), "
                          "not a text model: give the text model here and this file as the "
                          "projector",
                          path);
    }
    char type[32];
    if (gguf_file_string(file, "general.type", type, sizeof type) && strcmp(type, "adapter") == 0) {
        return wl_err_set(err, WL_INPUT, "'%s' is a LoRA adapter, not a model", path);
    }
    if (file->n_tensors == 0) {
        return wl_err_set(err, WL_INPUT, "'%s' has no tensors: it is a vocabulary, not a model",
                          path);
    }
    return WL_OK;
}

enum wl_status model_facts_read(const char *path, struct model_facts *facts, struct wl_err *err) {
    *facts = (struct model_facts){0};
    struct gguf_file file;
    enum wl_status status = gguf_file_open(&file, path, err);
    if (status != WL_OK) {
        return status;
    }
    gguf_file_string(&file, "general.architecture", facts->arch, sizeof facts->arch);
    status = check_arch(path, facts, &file, err);
    if (status == WL_OK) {
        read_shape(&file, facts);
        uint64_t n_splits = gguf_file_uint(&file, "split.count", 0, 1);
        struct tensor_rules rules = {
            .is_tied = !has_tensor(&file, "output.weight") && n_splits <= 1,
            .n_expert = arch_uint(&file, facts->arch, "expert_count", 0, 0),
            .n_expert_used = arch_uint(&file, facts->arch, "expert_used_count", 0, 0),
        };
        count_tensors(&file, &rules, facts);
        if (n_splits > 1) {
            status = count_other_parts(path, n_splits, &rules, facts, err);
        }
    }
    gguf_file_close(&file);
    return status;
}

uint64_t model_facts_kv_bytes(const struct model_facts *facts, enum ggml_type type_k,
                              enum ggml_type type_v, uint64_t n_tokens) {
    double k = (double)ggml_type_size(type_k) / (double)ggml_blck_size(type_k);
    double v = (double)ggml_type_size(type_v) / (double)ggml_blck_size(type_v);
    double per_token = k * (double)facts->k_per_token + v * (double)facts->v_per_token;
    return (uint64_t)(per_token * (double)n_tokens);
}

struct ram_prediction model_facts_predict_ram(const struct model_facts *facts,
                                              const struct ram_question *question) {
    // Work buffers: a few activations of a micro-batch, one row of logits, and without flash
    // attention the scores of a micro-batch against the whole context. Measured, see
    // docs/protocol.md.
    uint64_t row = 6 * facts->n_embd + 3 * facts->n_ff;
    uint64_t scores = question->has_flash_attn ? 0 : facts->n_head * question->n_ctx;
    struct ram_prediction p = {
        .weights_bytes = facts->tensor_bytes,
        .vision_bytes = question->vision_bytes,
        .kv_bytes =
            model_facts_kv_bytes(facts, question->type_k, question->type_v, question->n_ctx),
        .compute_bytes = 4 * (question->n_ubatch * (row + scores) + 4 * facts->n_vocab),
        .other_bytes = (UINT64_C(16) << 20) + 5 * facts->meta_bytes,
    };
    p.total_bytes = p.weights_bytes + p.vision_bytes + p.kv_bytes + p.compute_bytes + p.other_bytes;
    return p;
}
