// The shape that a SYNTH request asks for, checked.
#ifndef WATTLAW_WORKER_SYNTH_SHAPE_H
#define WATTLAW_WORKER_SYNTH_SHAPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum synth_arch {
    SYNTH_LLAMA,
    SYNTH_QWEN2,
    SYNTH_QWEN3,
    SYNTH_GEMMA3,
    SYNTH_QWEN2VL,
    SYNTH_QWEN3VL,
};

struct synth_shape {
    enum synth_arch arch;
    const char *arch_name;
    uint32_t n_layer;
    uint32_t n_embd;
    uint32_t n_head;
    uint32_t n_head_kv;
    uint32_t head_dim;
    uint32_t n_ff;
    uint32_t n_vocab;
    uint32_t n_ctx;
    uint32_t n_deepstack; // first blocks that image features are added to (qwen3vl)
    bool is_tied;
    float rope_freq_base;
    uint64_t seed;
    const char *name; // belongs to the request
};

enum wl_status synth_shape_parse(const json_t *request, struct synth_shape *shape,
                                 struct wl_err *err);

#endif
