// What the parts of a model cost on this machine: a few blocks of it, and the same with less of
// each part, are timed with llama.cpp itself, in turns. Linear in what is left, but for widths that
// fall into a slow kernel.
//
// Threads wait as OMP_WAIT_POLICY of this process says. Of a model of a few million weights that
// decides over the times (sleeping threads took up to six times as long for a generated token on
// two virtual cores); of one of a billion it does not.
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
    double base;           // a token, whatever the blocks: the whole output matrix is in it
    double block;          // of each block, besides:
    double per_head_kv;    // of each block and KV head with its query heads; 0 where there is one
    double per_neuron;     // of each block and neuron
    double slow_share;     // more for a neuron where n_ff is no multiple of 256; 0: none measured
    double per_vocabulary; // of each row of the output matrix, within base; generated tokens only
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
    int32_t threads;   // 0: as many as there are cores
    const char *scratch_dir;
    bool (*go_on)(void *context, double share_done); // false: stop with INTERRUPTED
    void *context;
};

// The back ends must be there (worker/backends.h). The files that are timed are in a folder of
// their own in the scratch folder, and gone at the end; IO when there is no room for them.
enum wl_status costs_measure(const struct compress_source *source,
                             const struct costs_options *options, struct costs *out,
                             struct wl_err *err);
json_t *costs_json(const struct costs *costs); // NULL: no memory
enum wl_status costs_parse(const json_t *json, struct costs *out, struct wl_err *err);

// Seconds of one token under a plan.
double costs_prompt_s(const struct costs *costs, const struct plan *plan);
double costs_decode_s(const struct costs *costs, const struct plan *plan);

#endif
