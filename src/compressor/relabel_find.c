#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "compressor/arch.h"
#include "compressor/relabel_plan.h"

static const char NO_OTHER[] = "give all layers the same sizes";

const char *const RELABEL_TWIN_NAMES[RELABEL_TWINS] = {"deci", "openelm"};

const char *relabel_key(const char *arch, const char *key, char out[RELABEL_KEY_BYTES]) {
    snprintf(out, RELABEL_KEY_BYTES, "%s.%s", arch, key);
    return out;
}

static uint64_t number(const struct gguf_file *source, const char *arch, const char *key,
                       uint64_t fallback) {
    char full[RELABEL_KEY_BYTES];
    return gguf_file_uint(source, relabel_key(arch, key, full), 0, fallback);
}

// ---- the architecture ----

static enum wl_status find_twin(const struct gguf_file *source, struct relabel_model *model,
                                struct wl_err *err) {
    if (!gguf_file_string(source, "general.architecture", model->arch, sizeof model->arch)) {
        return wl_err_set(err, WL_INPUT, "the model does not say its architecture");
    }
    const struct compress_arch *arch = compress_arch_find(model->arch);
    for (int i = 0; arch && i < RELABEL_TWINS; i++) {
        if (strcmp(arch->flexible, RELABEL_TWIN_NAMES[i]) == 0) {
            model->twin = (enum relabel_twin)i;
            model->has_halves = arch->rope == BLOCK_ROPE_HALVES;
            return WL_OK;
        }
    }
    return wl_err_set(err, WL_UNSUPPORTED,
                      "layers of a '%s' cannot have sizes of their own: llama.cpp has no "
                      "architecture that computes the same and takes them; %s",
                      model->arch, NO_OTHER);
}

// ---- keys ----

// Keys that change what the model computes and that the other architecture does not read.
static enum wl_status check_keys(const struct gguf_file *source, const char *arch,
                                 struct wl_err *err) {
    static const struct {
        const char *key;
        uint64_t harmless;
    } KEYS[] = {
        {"expert_count", 0},
        {"pooling_type", 0},
        {"nextn_predict_layers", 0},
        {"attention.causal", 1},
    };
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        uint64_t value = number(source, arch, KEYS[i].key, KEYS[i].harmless);
        if (value != KEYS[i].harmless) {
            return wl_err_set(err, WL_UNSUPPORTED,
                              "layers cannot have sizes of their own: key '%s.%s' is %" PRIu64
                              ", which would be lost; %s",
                              arch, KEYS[i].key, value, NO_OTHER);
        }
    }
    return WL_OK;
}

static enum wl_status read_number(const struct gguf_file *source, const char *arch, const char *key,
                                  uint64_t fallback, uint32_t *out, struct wl_err *err) {
    uint64_t value = number(source, arch, key, fallback);
    if (value == 0 || value > RELABEL_MAX_SIZE) {
        return wl_err_set(err, WL_INPUT, "key '%s.%s' is %" PRIu64 ", expected 1 to %d", arch, key,
                          value, RELABEL_MAX_SIZE);
    }
    *out = (uint32_t)value;
    return WL_OK;
}

// The graphs of all of them want one size for keys, values and rotation.
static enum wl_status check_head(const struct gguf_file *source, const struct relabel_model *model,
                                 struct wl_err *err) {
    static const char *const KEYS[] = {"attention.value_length", "rope.dimension_count"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        uint64_t value = number(source, model->arch, KEYS[i], model->head_dim);
        if (value != model->head_dim) {
            return wl_err_set(err, WL_UNSUPPORTED,
                              "layers cannot have sizes of their own: key '%s.%s' is %" PRIu64
                              " but a head has %" PRIu32 "; %s",
                              model->arch, KEYS[i], value, model->head_dim, NO_OTHER);
        }
    }
    if (model->head_dim % 2 != 0) {
        return wl_err_set(err, WL_INPUT, "a head has %" PRIu32 " elements, expected an even number",
                          model->head_dim);
    }
    return WL_OK;
}

static enum wl_status read_keys(const struct gguf_file *source, struct relabel_model *model,
                                struct wl_err *err) {
    const char *arch = model->arch;
    uint32_t n_head = 1;
    enum wl_status status;
    if ((status = check_keys(source, arch, err)) ||
        (status = read_number(source, arch, "block_count", 0, &model->n_layers, err)) ||
        (status = read_number(source, arch, "embedding_length", 0, &model->n_embd, err)) ||
        (status = read_number(source, arch, "attention.head_count", 0, &n_head, err)) ||
        (status = read_number(source, arch, "attention.key_length", model->n_embd / n_head,
                              &model->head_dim, err))) {
        return status;
    }
    if (model->n_layers > RELABEL_MAX_LAYERS) {
        return wl_err_set(err, WL_INPUT, "key '%s.block_count' is %" PRIu32 ", expected 1 to %d",
                          arch, model->n_layers, RELABEL_MAX_LAYERS);
    }
    return check_head(source, model, err);
}

// ---- tensors ----

static enum wl_status check_tensor(const struct relabel_model *model,
                                   const struct gguf_tensor *tensor, struct wl_err *err) {
    size_t layer;
    const struct relabel_rule *rule = relabel_rule_of(tensor->name, &layer);
    bool is_output = strcmp(tensor->name, "output.weight") == 0;
    if (rule && rule->need[model->twin] != RELABEL_UNKNOWN && layer < model->n_layers) {
        return WL_OK;
    }
    return wl_err_set(
        err, WL_UNSUPPORTED, "layers cannot have sizes of their own: '%s' %s '%s'; %s",
        RELABEL_TWIN_NAMES[model->twin],
        is_output ? "takes the embedding as output matrix and has no" : "has no tensor",
        tensor->name, NO_OTHER);
}

static const struct gguf_tensor *find_tensor(const struct gguf_file *source, const char *name) {
    for (uint64_t i = 0; i < source->n_tensors; i++) {
        if (strcmp(source->tensors[i].name, name) == 0) {
            return &source->tensors[i];
        }
    }
    return NULL;
}

// One matrix has one type.
static enum wl_status check_joined_types(const struct gguf_file *source, uint32_t layer,
                                         struct wl_err *err) {
    const struct gguf_tensor *first = NULL;
    for (size_t i = 0; i < RELABEL_N_JOINED; i++) {
        char name[RELABEL_NAME_BYTES];
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", layer, RELABEL_JOINED[i]);
        const struct gguf_tensor *t = find_tensor(source, name);
        first = first ? first : t;
        if (t && t->type != first->type) {
            return wl_err_set(err, WL_UNSUPPORTED,
                              "layers cannot have sizes of their own: '%s' is %s but '%s' is %s, "
                              "and they become one matrix; take a file where they are alike, or %s",
                              t->name, ggml_type_name(t->type), first->name,
                              ggml_type_name(first->type), NO_OTHER);
        }
    }
    return WL_OK;
}

enum wl_status relabel_read(const struct gguf_file *source, struct relabel_model *model,
                            struct wl_err *err) {
    *model = (struct relabel_model){0};
    enum wl_status status;
    if ((status = find_twin(source, model, err)) || (status = read_keys(source, model, err))) {
        return status;
    }
    for (uint64_t i = 0; i < source->n_tensors && status == WL_OK; i++) {
        status = check_tensor(model, &source->tensors[i], err);
    }
    return status;
}

enum wl_status relabel_find(const struct gguf_file *source, const char **arch, struct wl_err *err) {
    struct relabel_model model;
    enum wl_status status = relabel_read(source, &model, err);
    for (uint32_t i = 0; i < model.n_layers && status == WL_OK; i++) {
        status = model.twin == RELABEL_OPENELM ? check_joined_types(source, i, err) : WL_OK;
    }
    if (status == WL_OK) {
        *arch = RELABEL_TWIN_NAMES[model.twin];
    }
    return status;
}

enum wl_status relabel_sizes(const struct gguf_file *source,
                             struct relabel_layer out[RELABEL_MAX_LAYERS], size_t *n_layers,
                             struct wl_err *err) {
    struct relabel_model model;
    struct relabel_layer all = {0};
    enum wl_status status;
    if ((status = relabel_read(source, &model, err)) ||
        (status = read_number(source, model.arch, "attention.head_count", 0, &all.n_head, err)) ||
        (status = read_number(source, model.arch, "attention.head_count_kv", all.n_head,
                              &all.n_head_kv, err)) ||
        (status = read_number(source, model.arch, "feed_forward_length", 0, &all.n_ff, err))) {
        return status;
    }
    *n_layers = model.n_layers;
    for (size_t i = 0; i < *n_layers; i++) {
        out[i] = all;
    }
    return WL_OK;
}
