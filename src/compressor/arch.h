// The architectures that compression knows, and in what they differ.
#ifndef WATTLAW_COMPRESSOR_ARCH_H
#define WATTLAW_COMPRESSOR_ARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "compress/block.h"

// What "takes" something is what stock llama.cpp loads for that architecture, beyond what every
// model has.
struct compress_arch {
    const char *name;
    enum block_rope rope;
    bool has_rope_sections; // positions of several kinds (M-RoPE)
    bool has_windows;       // most layers see a window only, with a rope base of their own
    bool has_qk_norm, has_post_norms, is_gelu;
    bool scales_embedding;   // of text, by sqrt(n_embd)
    bool sees_whole_images;  // an image's tokens see those behind them too
    bool keeps_all_heads;    // llama.cpp wants attn_q to be as wide as the stream
    bool takes_rope_factors; // rope_freqs.weight
    bool takes_down_bias;    // attn_output.bias and ffn_down.bias
    bool takes_layer_sizes;  // feed_forward_length and head counts may be arrays
    const char *flexible;    // architecture that takes layer sizes and computes the same; "" = none
};

// NULL when there is no such row.
const struct compress_arch *compress_arch_find(const char *name);
// "llama, qwen2, ...", cut to `size`; returns `out`.
const char *compress_arch_names(char *out, size_t size);

#endif
