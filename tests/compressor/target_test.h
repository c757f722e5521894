// What the tests of changed files share: a source with its target, and the logits of a file.
#ifndef TARGET_TEST_H
#define TARGET_TEST_H

#include <llama.h>
#include <math.h>
#include <stdint.h>

#include "base/rng.h"
#include "compressor/target.h"
#include "made_model.h"
#include "text_model_test.h"

enum { TEST_TOKENS = 40 };
enum test_precision { TEST_DEFAULT, TEST_FLOAT }; // keys and values as llama.cpp likes, or float32

struct change {
    struct gguf_file source;
    struct compress_target *target;
};

static inline bool change_begin(struct change *change, const char *path) {
    struct wl_err err = {0};
    *change = (struct change){0};
    if (gguf_file_open(&change->source, path, &err) == WL_OK &&
        compress_target_new(&change->source, &change->target, &err) == WL_OK) {
        return true;
    }
    printf("%s\n", err.message);
    n_wrong++;
    return false;
}

static inline void change_end(struct change *change) {
    compress_target_free(change->target);
    gguf_file_close(&change->source);
}

static inline void change_write(struct change *change, const char *path) {
    struct wl_err err = {0};
    bool is_done = false;
    uint64_t n_bytes = 0;
    CHECK_OK(compress_target_write(change->target, path, NULL, NULL, &is_done, &err), err);
    CHECK(is_done);
    CHECK_OK(os_file_size(path, &n_bytes, &err), err);
    CHECK(n_bytes == compress_target_bytes(change->target));
}

static inline const struct gguf_tensor *tensor_of(const struct gguf_file *file, const char *name) {
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) {
            return &file->tensors[i];
        }
    }
    return NULL;
}

static inline const char *bytes_of(const struct gguf_file *file, const struct gguf_tensor *tensor) {
    return (const char *)file->map + file->data_offset + tensor->offset;
}

// [TEST_TOKENS][n_vocab] for the same random tokens whatever the file; NULL when it does not load.
static inline float *logits_of(const char *path, enum test_precision precision, size_t *n) {
    struct llama_model *model = llama_model_load_from_file(path, llama_model_default_params());
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = 2 * TEST_TOKENS;
    params.n_threads = params.n_threads_batch = 1;
    if (precision == TEST_FLOAT) {
        params.type_k = params.type_v = GGML_TYPE_F32;
        params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    struct llama_context *context = model ? llama_init_from_model(model, params) : NULL;
    float *out = NULL;
    if (context) {
        int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
        struct llama_batch batch = llama_batch_init(TEST_TOKENS, 0, 1);
        struct rng rng;
        rng_seed(&rng, 5);
        batch.n_tokens = TEST_TOKENS;
        for (int32_t i = 0; i < TEST_TOKENS; i++) {
            batch.token[i] = (llama_token)(rng_next(&rng) % (uint64_t)n_vocab);
            batch.pos[i] = i;
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = 0;
            batch.logits[i] = 1;
        }
        *n = (size_t)TEST_TOKENS * (size_t)n_vocab;
        out = llama_decode(context, batch) == 0 ? malloc(*n * sizeof *out) : NULL;
        for (int32_t i = 0; i < TEST_TOKENS && out; i++) {
            memcpy(out + (size_t)i * (size_t)n_vocab, llama_get_logits_ith(context, i),
                   (size_t)n_vocab * sizeof *out);
        }
        llama_batch_free(batch);
        llama_free(context);
    }
    if (model) {
        llama_model_free(model);
    }
    return out;
}

// The largest difference of a logit as a share of the largest logit; infinite when one of the files
// does not load.
static inline double compare_logits(const char *path, const char *other_path,
                                    enum test_precision precision) {
    size_t n = 0;
    size_t other_n = 0;
    float *a = logits_of(path, precision, &n);
    float *b = logits_of(other_path, precision, &other_n);
    double worst = a && b && n == other_n ? 0 : (double)INFINITY;
    double top = 0;
    for (size_t i = 0; i < n && isfinite(worst); i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        worst = d >= 0 && d <= worst ? worst : d; // a NaN stays
        top = fmax(top, fabs((double)a[i]));
    }
    free(a);
    free(b);
    return worst == 0 ? 0 : worst / top;
}

#endif
