// Another architecture name under which stock llama.cpp computes the same, and which takes sizes of
// its own for each layer, where the model's own architecture takes those of layer 0 for all:
//
//   llama -> deci       the same logits, bit for bit
//   qwen3 -> openelm    the same, bit for bit; Q, K, V become one matrix; only where the output
//                       matrix is the embedding
//   qwen2 -> deci       the halves of each head of Q and K are interleaved, so the products of q k
//                       are summed in another order: 2e-7 of the largest logit in float32; where
//                       a rounding to float16 or Q8_0 then falls differently, up to 5e-4
//
// The others have none.
#ifndef WATTLAW_COMPRESSOR_RELABEL_H
#define WATTLAW_COMPRESSOR_RELABEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/target.h"
#include "worker/gguf_file.h"

enum { RELABEL_MAX_LAYERS = 512 };

// Only deci takes a layer without attention (no head at all; not the first), or with a matrix
// [n_embd][n_embd] in its place, attn_output (heads, but no KV heads). No layer can do without
// feed-forward part: 32 neurons with zeros are the least.
struct relabel_layer {
    uint32_t n_head, n_head_kv, n_ff;
};

struct relabel_notes {
    uint32_t n_odd_ff;     // layers whose n_ff is no multiple of 256: slower, and quantised worse
    uint32_t first_odd_ff; // one of them
};

// The name of that architecture. UNSUPPORTED with the reason when there is none, or when a tensor
// or a key of this file would be lost under it.
enum wl_status relabel_find(const struct gguf_file *source, const char **arch, struct wl_err *err);

// The sizes that the source has, to begin with; *n_layers of them.
enum wl_status relabel_sizes(const struct gguf_file *source,
                             struct relabel_layer out[RELABEL_MAX_LAYERS], size_t *n_layers,
                             struct wl_err *err);

// The last change before compress_target_write. Layers are those that will be written, blk.0 to
// blk.<n_layers - 1>; their tensors must have been cut to these sizes, only the tensors of removed
// attention are dropped here. INPUT names the first tensor or size that does not fit, or that
// llama.cpp would not load or not compute as said; the target is then of no use any more.
enum wl_status relabel_apply(struct compress_target *target, const struct relabel_layer *layers,
                             size_t n_layers, struct relabel_notes *notes, struct wl_err *err);

#endif
