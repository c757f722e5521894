// What the parts of a model cost on this machine: a few blocks of it, and the same with less of
// each part, are timed with llama.cpp itself, in turns. Linear in what is left; a size that falls
// into a slow kernel shows as a step.
#ifndef WATTLAW_COMPRESSOR_COSTS_H
#define WATTLAW_COMPRESSOR_COSTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/plan.h"
#include "compressor/source.h"

// Seconds. What a term is of: prompt tokens in batches, or generated ones, one at a time.
struct cost_terms {
    double base;           // a token, whatever the blocks (the output matrix included)
    double block;          // of each block, besides:
    double per_head_kv;    // of each block and KV head with its query heads
    double per_neuron;     // of each block and neuron
    double per_vocabulary; // of each row of the output matrix; generated tokens only
    double residual_share; // of the fit; how far its parts can be trusted
};

struct costs {
    struct cost_terms prompt, decode;
    uint32_t n_runs; // of each variant
    double seconds;  // that measuring took
};

struct costs_options {
    uint32_t n_prompt; // tokens of the timed prompt, 128
    uint32_t n_decode; // 16
    uint32_t n_rounds; // 5
    int32_t threads;
    const char *scratch_dir;
    bool (*go_on)(void *context, double share_done);
    void *context;
};

enum wl_status costs_measure(const struct compress_source *source,
                             const struct costs_options *options, struct costs *out,
                             struct wl_err *err);
json_t *costs_json(const struct costs *costs); // NULL: no memory
enum wl_status costs_parse(const json_t *json, struct costs *out, struct wl_err *err);

// Seconds of one token under a plan.
double costs_prompt_s(const struct costs *costs, const struct plan *plan);
double costs_decode_s(const struct costs *costs, const struct plan *plan);

#endif
