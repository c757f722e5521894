// What llama.cpp itself says about a changed file, for comparison with an
// analysis.
#ifndef WATTLAW_TESTS_COMPRESSOR_ANALYSIS_TEST_H
#define WATTLAW_TESTS_COMPRESSOR_ANALYSIS_TEST_H

#include <llama.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

// log p of every token at every position, [n][n_vocab]; NULL when it does not
// load or run.
static inline double *plain_log_p(const char *path, const int32_t *tokens, size_t n,
                                  size_t *n_vocab) {
    struct llama_context_params params = llama_context_default_params();
    struct llama_model_params model_params = llama_model_default_params();
    model_params.use_extra_bufts = false;
    params.n_ctx = params.n_batch = params.n_ubatch = (uint32_t)n;
    params.n_threads = params.n_threads_batch = 1;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    struct llama_model *model = llama_model_load_from_file(path, model_params);
    struct llama_context *context = model ? llama_init_from_model(model, params) : NULL;
    struct llama_batch batch = llama_batch_init((int32_t)n, 0, 1);
    double *out = NULL;
    batch.n_tokens = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = (llama_pos)i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (context && llama_decode(context, batch) == 0) {
        *n_vocab = (size_t)llama_vocab_n_tokens(llama_model_get_vocab(model));
        out = calloc(n, *n_vocab * sizeof *out);
    }
    for (size_t i = 0; out && i < n; i++) {
        const float *logits = llama_get_logits_ith(context, (int32_t)i);
        double sum = 0;
        for (size_t v = 0; v < *n_vocab; v++) {
            sum += exp((double)logits[v]);
        }
        for (size_t v = 0; v < *n_vocab; v++) {
            out[i * *n_vocab + v] = (double)logits[v] - log(sum);
        }
    }
    llama_batch_free(batch);
    if (context) {
        llama_free(context);
    }
    if (model) {
        llama_model_free(model);
    }
    return out;
}

// Mean Kullback-Leibler divergence of positions first to n - 1; NaN when a file
// does not run.
static inline double plain_kl(const char *original, const char *changed, const int32_t *tokens,
                              size_t n, size_t first) {
    size_t n_vocab = 0, n_again = 0;
    double *p = plain_log_p(original, tokens, n, &n_vocab);
    double *q = plain_log_p(changed, tokens, n, &n_again);
    double sum = p && q && n_vocab == n_again ? 0 : NAN;
    for (size_t i = first * n_vocab; isfinite(sum) && i < n * n_vocab; i++) {
        sum += exp(p[i]) * (p[i] - q[i]);
    }
    free(p);
    free(q);
    return sum / (double)(n - first);
}

#endif
