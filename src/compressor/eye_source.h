// Parts of eye.c: an image encoder's file (mmproj), read block by block as floats. What is known of
// the families is in eye_family.def.
#ifndef WATTLAW_COMPRESSOR_EYE_SOURCE_H
#define WATTLAW_COMPRESSOR_EYE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "compress/tower.h"
#include "worker/gguf_file.h"
#include "worker/vision_file.h"

struct eye_family {
    const char *projector;
    bool has_rope;
    const char *last_weight, *last_bias;
    bool is_last_transposed; // [n_in][n_out] instead of [n_out][n_in]
};

struct eye_source {
    struct gguf_file file;
    struct vision_facts facts;
    const struct eye_family *family; // NULL: what it computes is not known
    uint32_t head_dim;
    float eps;
    enum tower_act act;
    bool is_swapped; // its ffn_down is what is called up here, and the other way round
};

// INPUT: no image encoder, or damaged. Any projector is fine.
enum wl_status eye_source_open(struct eye_source *source, const char *path, struct wl_err *err);
void eye_source_close(struct eye_source *source); // zeroed ones are fine
// UNSUPPORTED names the projector, the key or the tensor that is not known.
enum wl_status eye_source_check(const struct eye_source *source, struct wl_err *err);

// "ffn_down.weight" of a block, by what it does (see is_swapped); NULL: there is none.
const struct gguf_tensor *eye_source_tensor(const struct eye_source *source, uint32_t layer,
                                            const char *name);
// By its name in the file.
const struct gguf_tensor *eye_source_named(const struct eye_source *source, const char *name);
// The name in the file of what is called `name` in this block.
void eye_source_name(const struct eye_source *source, uint32_t layer, const char *name,
                     char out[GGUF_NAME_BYTES]);
// Rows first .. first + n_rows as float32 [n_rows][ne[0]]. INPUT when one is not finite.
enum wl_status eye_source_rows(const struct eye_source *source, const struct gguf_tensor *tensor,
                               uint64_t first, uint64_t n_rows, float *out, struct wl_err *err);

// A block's tensors as float32; `weights` points into `memory`, one allocation.
struct eye_block {
    struct tower_shape shape;
    struct tower_weights weights;
    float *memory;
};
enum wl_status eye_source_load(const struct eye_source *source, uint32_t layer,
                               struct eye_block *out, struct wl_err *err);
void eye_block_release(struct eye_block *block); // zeroed ones are fine
uint32_t eye_source_n_ff(const struct eye_source *source, uint32_t layer);
// Matrices of a block apart from the feed-forward part.
uint64_t eye_source_attention_weights(const struct eye_source *source);

#endif
