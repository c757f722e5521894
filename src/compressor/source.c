#include "compressor/source.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/source_keys.h"
#include "compressor/source_tensors.h"

// What ggml reads in place begins at least so aligned (the format asks for it).
enum { LEAST_ALIGNMENT = 8 };

static enum wl_status find_arch(struct compress_source *source, struct wl_err *err) {
    char name[64] = "", names[256];
    gguf_file_string(&source->file, "general.architecture", name, sizeof name);
    source->arch = compress_arch_find(name);
    if (!source->arch) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "key 'general.architecture' is '%s', expected one of %s", name,
                          compress_arch_names(names, sizeof names));
    }
    return WL_OK;
}

// A count that changes what the model is.
static enum wl_status check_without(const struct compress_source *source, const char *key,
                                    const char *what, struct wl_err *err) {
    char full[SOURCE_KEY_BYTES];
    if (gguf_file_uint(&source->file, source_key(source, key, full), 0, 0) != 0) {
        return wl_err_set(err, WL_UNSUPPORTED, "it has %s (key '%s'), which cannot be compressed",
                          what, full);
    }
    return WL_OK;
}

// Sentence encoders are made of decoders whose tokens see those after them too.
static enum wl_status check_is_causal(const struct compress_source *source, struct wl_err *err) {
    char key[SOURCE_KEY_BYTES];
    source_key(source, "attention.causal", key);
    if (gguf_file_find(&source->file, key) && !gguf_file_bool(&source->file, key)) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "key '%s' is not true: only models that write text can be compressed",
                          key);
    }
    return WL_OK;
}

static enum wl_status check_kind(const struct compress_source *source, struct wl_err *err) {
    const struct gguf_file *file = &source->file;
    uint64_t n_splits = gguf_file_uint(file, "split.count", 0, 1);
    if (n_splits > 1) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "it is one of %" PRIu64 " parts; join them first: llama-gguf-split "
                          "--merge <first part> <file>",
                          n_splits);
    }
    if (file->alignment % LEAST_ALIGNMENT != 0) {
        return wl_err_set(err, WL_INPUT,
                          "key 'general.alignment' is %" PRIu64 ", expected a multiple of %d",
                          file->alignment, LEAST_ALIGNMENT);
    }
    enum wl_status status;
    if ((status = check_without(source, "expert_count", "a mixture of experts", err)) ||
        (status = check_without(source, "nextn_predict_layers", "layers that guess ahead", err))) {
        return status;
    }
    return check_is_causal(source, err);
}

static enum wl_status read_vocab(struct compress_source *source, struct wl_err *err) {
    const struct gguf_tensor *embedding = compress_source_tensor(source, -1, "token_embd.weight");
    const struct gguf_kv *tokens = gguf_file_find(&source->file, "tokenizer.ggml.tokens");
    if (!embedding || embedding->ne[1] > INT32_MAX) {
        return wl_err_set(err, WL_INPUT,
                          "tensor 'token_embd.weight' is missing or too large for a vocabulary");
    }
    if (tokens && tokens->n != embedding->ne[1]) {
        return wl_err_set(err, WL_INPUT,
                          "key 'tokenizer.ggml.tokens' has %" PRIu64 " tokens, expected %" PRIu64
                          " as 'token_embd.weight' has rows",
                          tokens->n, embedding->ne[1]);
    }
    source->n_vocab = (uint32_t)embedding->ne[1];
    source->is_tied = !compress_source_tensor(source, -1, "output.weight");
    return WL_OK;
}

static enum wl_status read_keys(struct compress_source *source, struct wl_err *err) {
    enum wl_status status;
    if ((status =
             source_size(source, "block_count", 0, SOURCE_MAX_LAYERS, &source->n_layer, err)) ||
        (status =
             source_size(source, "embedding_length", 0, SOURCE_MAX_WIDTH, &source->n_embd, err)) ||
        (status = source_size(source, "context_length", 0, INT32_MAX, &source->n_ctx_train, err))) {
        return status;
    }
    source->embedding_scale = source->arch->scales_embedding ? sqrtf((float)source->n_embd) : 1;
    return read_vocab(source, err);
}

static enum wl_status read_rope_factors(struct compress_source *source, struct wl_err *err) {
    const struct gguf_tensor *tensor = compress_source_tensor(source, -1, "rope_freqs.weight");
    if (!tensor) {
        return WL_OK;
    }
    source->rope_factors = calloc((size_t)tensor->ne[0], sizeof(float));
    if (!source->rope_factors) {
        return wl_err_set(err, WL_MEMORY, "no memory for the rope factors");
    }
    enum wl_status status = source_read_rows(source, tensor, 0, 1, source->rope_factors, err);
    for (uint64_t i = 0; status == WL_OK && i < tensor->ne[0]; i++) {
        if (!(source->rope_factors[i] > 0)) {
            return wl_err_set(err, WL_INPUT,
                              "tensor 'rope_freqs.weight' holds %g, expected numbers above 0",
                              (double)source->rope_factors[i]);
        }
    }
    return status;
}

enum wl_status compress_source_open(struct compress_source *source, const char *path,
                                    enum compress_force force, struct wl_err *err) {
    *source = (struct compress_source){0};
    enum wl_status status = gguf_file_open(&source->file, path, err);
    if (status != WL_OK) {
        return status;
    }
    if ((status = find_arch(source, err)) || (status = check_kind(source, err)) ||
        (status = read_keys(source, err)) || (status = source_check_tensors(source, force, err)) ||
        (status = read_rope_factors(source, err))) {
        compress_source_close(source);
        wl_err_prefix(err, "cannot compress '%s'", path);
    }
    return status;
}

void compress_source_close(struct compress_source *source) {
    gguf_file_close(&source->file);
    free(source->rope_factors);
    *source = (struct compress_source){0};
}

enum wl_status compress_source_embed(const struct compress_source *source, const int32_t *tokens,
                                     size_t n_tokens, float *x, struct wl_err *err) {
    const struct gguf_tensor *embedding = compress_source_tensor(source, -1, "token_embd.weight");
    for (size_t i = 0; i < n_tokens; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= source->n_vocab) {
            return wl_err_set(err, WL_INPUT,
                              "token %zu is %" PRId32 ", expected 0 to %" PRIu32
                              ": it is not of this model's vocabulary",
                              i, tokens[i], source->n_vocab - 1);
        }
        float *row = x + i * source->n_embd;
        enum wl_status status =
            source_read_rows(source, embedding, (uint64_t)tokens[i], 1, row, err);
        if (status != WL_OK) {
            return status;
        }
        for (uint32_t j = 0; j < source->n_embd; j++) {
            row[j] *= source->embedding_scale;
        }
    }
    return WL_OK;
}
