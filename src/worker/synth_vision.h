// The image encoder that a SYNTH request asks for, checked, and the list of its tensors.
#ifndef WATTLAW_WORKER_SYNTH_VISION_H
#define WATTLAW_WORKER_SYNTH_VISION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/synth_tensors.h"
#include "worker/synth_types.h"

// What a tower has besides attention and a feed-forward part, and which projector ends it.
enum synth_part {
    PATCH_PAIR = 1 << 0, // two patch convolutions, for two frames of a film
    PATCH_FLAT = 1 << 1, // the convolution is stored as a matrix
    PATCH_BIAS = 1 << 2,
    CLASS = 1 << 3,
    POSITIONS = 1 << 4,      // one learned vector per patch of the grid
    WIDE_POSITIONS = 1 << 5, // of 70 x 70 patches, whatever the image size
    AXIS_POSITIONS = 1 << 6, // one table for each axis
    PRE_NORM = 1 << 7,
    POST_NORM = 1 << 8,
    NORM_BIAS = 1 << 9,
    BIAS = 1 << 10, // of the matrices in the blocks
    FUSED_QKV = 1 << 11,
    QK_NORM = 1 << 12,
    OUTER_NORMS = 1 << 13, // after attention and after the feed-forward part too
    LAYER_SCALE = 1 << 14,
    GATE = 1 << 15,
    WINDOWS = 1 << 16, // most blocks see a window of the image only
    DEEPSTACK = 1 << 17,
    MERGES = 1 << 18, // follows from the request: more than one patch per token
    TILES = 1 << 19,  // follows from the request: pinpoints are given
    MERGER = 1 << 20,
    IDEFICS3 = 1 << 21,
    GEMMA3 = 1 << 22,
    GEMMA4 = 1 << 23,
    INTERNVL = 1 << 24,
    LFM2 = 1 << 25,
    PIXTRAL = 1 << 26,
    MLP = 1 << 27,
    RESAMPLER = 1 << 28,
    LLAMA4 = 1 << 29,
    SIGLIP = PATCH_BIAS | POSITIONS | BIAS | NORM_BIAS | POST_NORM,
};

enum synth_activation { QUICK_GELU, GELU, SILU };

enum { SYNTH_MAX_PINPOINTS = 64, SYNTH_MAX_VISION_LAYERS = 512, SYNTH_RESAMPLER_QUERIES = 64 };

struct synth_vision {
    const char *projector;
    uint32_t parts;
    enum synth_activation activation;
    const char *merge_key; // NULL = none
    uint32_t n_layer, n_embd, n_head, n_ff;
    uint32_t patch_size, image_size;
    uint32_t n_merge; // this many patches squared become one token
    uint32_t n_embd_out;
    uint32_t preproc_image_size, min_pixels, max_pixels, min_tiles, max_tiles; // 0 = no such key
    uint32_t n_deepstack;
    uint32_t window_pattern; // every so many blocks one sees the whole image
    int32_t pinpoints[2 * SYNTH_MAX_PINPOINTS];
    size_t n_pinpoints; // numbers in it
    struct synth_mix mix;
    uint64_t seed;
    const char *name; // belongs to the request
};

enum wl_status synth_vision_parse(const json_t *request, struct synth_vision *vision,
                                  struct wl_err *err);
enum wl_status synth_vision_tensors(const struct synth_vision *vision, struct synth_tensors *out,
                                    struct wl_err *err);
// The block that the i-th deepstack projector reads: they divide the tower evenly.
uint32_t synth_vision_deep_layer(const struct synth_vision *vision, uint32_t i);

#endif
