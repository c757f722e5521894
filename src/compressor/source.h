// The blocks of a text model as float arrays, one at a time, from the mapped file: what compression
// reads. Architectures are rows of src/compressor/arch.def; anything else is refused by name.
#ifndef WATTLAW_COMPRESSOR_SOURCE_H
#define WATTLAW_COMPRESSOR_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compress/block.h"
#include "compressor/arch.h"
#include "worker/gguf_file.h"

struct compress_source {
    struct gguf_file file;
    const struct compress_arch *arch;
    uint32_t n_layer, n_embd, n_vocab, n_ctx_train;
    bool is_tied;          // the output matrix is the embedding
    float embedding_scale; // 1, or sqrt(n_embd)
    float *rope_factors;   // of rope_freqs.weight; NULL without
};

enum compress_force { COMPRESS_CAREFUL, COMPRESS_FORCE };

// UNSUPPORTED: an architecture, a mixture of experts, or a layer with tensors of its own that are
// not known (the message names it). INPUT: tensors that do not fit each other. Weights of fewer
// bits than Q6_K are refused (with the advice to take the larger file) unless `force`; split files
// always.
enum wl_status compress_source_open(struct compress_source *source, const char *path,
                                    enum compress_force force, struct wl_err *err);
void compress_source_close(struct compress_source *source); // zeroed ones are fine

// The shape of one block; rope_factors point into the source.
enum wl_status compress_source_shape(const struct compress_source *source, uint32_t layer,
                                     struct block_shape *out, struct wl_err *err);

// A block's tensors as float32; `weights` points into `memory`, one allocation.
struct compress_block {
    struct block_shape shape;
    struct block_weights weights;
    float *memory;
};
enum wl_status compress_source_load(const struct compress_source *source, uint32_t layer,
                                    struct compress_block *out, struct wl_err *err);
void compress_block_release(struct compress_block *block); // zeroed ones are fine

// What enters block 0: x [n_tokens][n_embd]. INPUT for a token outside of the vocabulary.
enum wl_status compress_source_embed(const struct compress_source *source, const int32_t *tokens,
                                     size_t n_tokens, float *x, struct wl_err *err);

// NULL when there is no such tensor. `layer` -1: a tensor of the whole model, as "output.weight";
// else "ffn_down.weight" of that block.
const struct gguf_tensor *compress_source_tensor(const struct compress_source *source,
                                                 int32_t layer, const char *name);
// Rows first .. first + n_rows as float32 [n_rows][ne[0]].
void compress_source_rows(const struct compress_source *source, const struct gguf_tensor *tensor,
                          uint64_t first, uint64_t n_rows, float *out);

#endif
