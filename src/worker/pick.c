#include "worker/pick.h"

#include <math.h>
#include <stdint.h>

#include "base/json.h"

enum { LANES = 32 }; // independent maxima, so that the compiler may use vector registers

// Index of the first greatest value. Two passes: the greatest value, then where it is.
static llama_token index_of_max(const float *values, int32_t n) {
    float lanes[LANES];
    for (int j = 0; j < LANES; j++) {
        lanes[j] = -INFINITY;
    }
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];
        }
    }
    float max = -INFINITY;
    for (; i < n; i++) {
        max = values[i] > max ? values[i] : max;
    }
    for (int j = 0; j < LANES; j++) {
        max = lanes[j] > max ? lanes[j] : max;
    }
    for (i = 0; i < n && values[i] != max; i++) {
    }
    return i < n ? i : 0;
}

enum wl_status picker_init(struct picker *picker, const json_t *request, struct wl_err *err) {
    *picker = (struct picker){.ignores_eos = wl_json_opt_bool(request, "ignore_eos", false)};
    double temperature = wl_json_opt_double(request, "temperature", 0);
    double top_p = wl_json_opt_double(request, "top_p", 1);
    double min_p = wl_json_opt_double(request, "min_p", 0);
    int64_t top_k = wl_json_opt_i64(request, "top_k", 0);
    if (!(temperature >= 0 && temperature <= 100) || !(top_p > 0 && top_p <= 1) ||
        !(min_p >= 0 && min_p <= 1) || top_k < 0 || top_k > INT32_MAX) {
        return wl_err_set(
            err, WL_INPUT,
            "run: expected temperature 0 to 100, top_p above 0 to 1, min_p 0 to 1 and "
            "top_k 0 or more");
    }
    if (temperature == 0) {
        return WL_OK;
    }
    picker->chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (top_k > 0) {
        llama_sampler_chain_add(picker->chain, llama_sampler_init_top_k((int32_t)top_k));
    }
    if (top_p < 1) {
        llama_sampler_chain_add(picker->chain, llama_sampler_init_top_p((float)top_p, 1));
    }
    if (min_p > 0) {
        llama_sampler_chain_add(picker->chain, llama_sampler_init_min_p((float)min_p, 1));
    }
    llama_sampler_chain_add(picker->chain, llama_sampler_init_temp((float)temperature));
    uint32_t seed = (uint32_t)wl_json_opt_i64(request, "seed", 1);
    llama_sampler_chain_add(picker->chain, llama_sampler_init_dist(seed));
    return WL_OK;
}

llama_token picker_next(const struct picker *picker, const struct session *session) {
    float *logits = llama_get_logits_ith(session->ctx, -1);
    if (!logits) {
        return -1;
    }
    for (size_t i = 0; picker->ignores_eos && i < session->n_eog; i++) {
        logits[session->eog[i]] = -INFINITY;
    }
    if (picker->chain) {
        return llama_sampler_sample(picker->chain, session->ctx, -1);
    }
    return index_of_max(logits, llama_vocab_n_tokens(session->vocab));
}

void picker_release(struct picker *picker) {
    if (picker->chain) {
        llama_sampler_free(picker->chain);
    }
    *picker = (struct picker){0};
}
